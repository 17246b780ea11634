"""Content-addressed bytes: what rooms ask of a blob store, wherever the bytes lie.

A blob's name is the SHA-256 of its bytes, so writing one twice is harmless, a copy can be checked, and a
lost answer is repaired by asking again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

MAX_BLOB_BYTES = 1 << 30


class BlobInfo(msgspec.Struct, frozen=True, kw_only=True):
    sha256: str
    size_bytes: int


class BlobStore(Protocol):
    """Raises NotFound (no such blob), InvalidInput (not a blob's name) and Unavailable (storage refuses)."""

    name: str
    """Where it is kept, for messages: a folder, a bucket."""

    def put(self, data: bytes) -> str:
        """Keep `data`; its SHA-256."""

    def put_stream(self, chunks: Iterable[bytes], *, expect: str = "", limit_bytes: int = MAX_BLOB_BYTES) -> BlobInfo:
        """Keep a stream. Nothing is kept when it is longer than the limit or is not what `expect` says
        (InvalidInput)."""

    def get(self, sha256: str, *, verify: bool = False) -> bytes:
        """The whole blob; with `verify` its bytes are checked against its name."""

    def stream(self, sha256: str, *, start: int = 0, verify: bool = False) -> Iterator[bytes]:
        """The blob in chunks from byte `start`; `verify` (only from 0) raises at the end if it is damaged."""

    def size(self, sha256: str) -> int | None:
        """Its size in bytes; None: absent."""

    def has(self, sha256: str) -> bool: ...

    def delete(self, sha256: str) -> bool:
        """Forget it; False: it was not there."""
