"""A consistent snapshot of a folder that others write to: read, then look again.

git-sync swaps a symlink and rsync writes file by file, both while we read. So the root is resolved first, every file
is compared with its stat after reading, and the whole folder is listed again at the end: a snapshot in which
anything moved is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from execplane.bundles.folder import Folder, Listing, StatKey
from execplane.bundles.manifest import (
    EXECUTABLE_MODE,
    PLAIN_MODE,
    Manifest,
    ManifestFile,
    encode_manifest,
    make_manifest,
)
from execplane.bundles.options import BundleOptions
from execplane.contract.blobs import BlobStore
from execplane.contract.clock import Clock
from execplane.contract.errors import Unavailable

_CHUNK_BYTES = 1 << 20
_RACY_NANOSECONDS = 50_000_000
"""A file changed this shortly before it was read may change again within the same tick of the file system's clock,
unseen by any stat."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    digest: str
    manifest: Manifest
    listing: Listing
    unreadable: dict[str, str]
    """Files that could not be read, and are not in the manifest: path -> one sentence."""
    racy: bool
    """Some file was written just before it was read: take another snapshot soon, even if nothing seems changed."""


class _Torn(Exception):
    """Something moved while it was read."""


class Snapshotter:
    """Takes snapshots of one folder; only what changed since the last one is read and hashed again."""

    def __init__(self, folder: Folder, *, blobs: BlobStore, options: BundleOptions, clock: Clock) -> None:
        self.folder = folder
        self._blobs = blobs
        self._options = options
        self._clock = clock
        self._hashed: dict[str, tuple[StatKey, ManifestFile]] = {}
        self._suspects: dict[str, StatKey] = {}

    def take(self) -> Snapshot:
        """A snapshot in which nothing moved; its blobs and its manifest (under the digest) are stored.

        Raises Unavailable when the folder would not hold still, else what `Folder.scan` raises.
        """
        for _ in range(self._options.snapshot_tries):
            try:
                return self._take_once()
            except _Torn:
                continue
        raise Unavailable(
            f"The DAG folder {self.folder.path} changed each of the {self._options.snapshot_tries} times that it "
            "was read.",
            hint="Is something writing to it all the time? DAG files should change by a rename or a symlink swap.",
        )

    def _take_once(self) -> Snapshot:
        listing = self.folder.scan()
        racy_from = int(self._clock.now().timestamp() * 1e9) - _RACY_NANOSECONDS
        files: dict[str, ManifestFile] = {}
        hashed: dict[str, tuple[StatKey, ManifestFile]] = {}
        suspects: dict[str, StatKey] = {}
        unreadable: dict[str, str] = {}
        for path, key in listing.files.items():
            known = self._hashed.get(path)
            if known is None or known[0] != key:
                try:
                    known = (key, self._read(listing.root, path, key))
                except PermissionError:
                    unreadable[path] = f"{path} cannot be read: permission is denied."
                    continue
                # Seen racy twice with one stat, it was read after the file system's clock had moved on.
                if max(key[0], key[1]) >= racy_from and self._suspects.get(path) != key:
                    suspects[path] = key
            files[path] = known[1]
            if path not in suspects:
                hashed[path] = known
        again = self.folder.scan()
        if again.root != listing.root or again.files != listing.files:
            raise _Torn
        manifest = make_manifest(files)
        digest = self._blobs.put(encode_manifest(manifest))
        self._hashed, self._suspects = hashed, suspects
        return Snapshot(digest=digest, manifest=manifest, listing=again, unreadable=unreadable, racy=bool(suspects))

    def _read(self, root: str, path: str, key: StatKey) -> ManifestFile:
        size, mode = key[2], EXECUTABLE_MODE if key[4] else PLAIN_MODE
        try:
            with open(Path(root, path), "rb") as file:
                if size <= _CHUNK_BYTES:
                    data = file.read(size + 1)
                    sha256, found = self._blobs.put(data), len(data)
                else:
                    info = self._blobs.put_stream(_chunks(file.fileno()), limit_bytes=self._options.max_bytes)
                    sha256, found = info.sha256, info.size_bytes
                after = os.fstat(file.fileno())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _Torn from None
        if found != size or (after.st_mtime_ns, after.st_ctime_ns, after.st_size) != key[:3]:
            raise _Torn
        return ManifestFile(path=path, sha256=sha256, size_bytes=size, mode=mode)


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        yield chunk
