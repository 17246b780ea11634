"""Exact bytes in rows, by digest and compressed: serialised DAGs, sent pods, sources.

For what is small and read with its row; large XComs and bundle files live in the blob store's files.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from execplane.contract.errors import NotFound
from execplane.store.models import Blob
from execplane.store.prepared import Insert

_INSERT = Insert(Blob, or_ignore=True)
_LEVEL = 3
"""Nearly as small as the default for what is a few kilobytes, in half the time."""


def put_all(contents: Iterable[bytes], now: datetime, *, packed: bool = False) -> list[str]:
    """Store each content once; gives their SHA-256 digests in order. One statement, inside the caller's `write()`.
    What is `packed` already is not compressed again."""
    digests: list[str] = []
    rows: dict[str, dict[str, Any]] = {}
    for content in contents:
        digest = hashlib.sha256(content).hexdigest()
        digests.append(digest)
        if digest not in rows:
            rows[digest] = {
                "sha256": digest,
                "codec": "none" if packed else "zlib",
                "size_bytes": len(content),
                "data": content if packed else zlib.compress(content, _LEVEL),
                "created_at": now,
            }
    # In one order: two writers of the same contents must not wait for each other.
    _INSERT.many([rows[digest] for digest in sorted(rows)])
    return digests


def put(content: bytes, now: datetime) -> str:
    """Store one content; gives its SHA-256 digest."""
    return put_all([content], now)[0]


def get(sha256: str) -> bytes:
    """The bytes behind a digest. Raises NotFound."""
    row = Blob.objects.filter(sha256=sha256).values_list("codec", "data").first()
    data = None if row is None else row[1]
    if row is None or data is None:
        raise NotFound(f"No stored content has the digest {sha256[:12]}….", hint="It may be past its retention.")
    codec = row[0]
    content = bytes(data)  # SQLite gives bytes, psycopg a memoryview
    return zlib.decompress(content) if codec == "zlib" else content
