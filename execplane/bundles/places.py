"""Bundles as folders and archives on this machine, made from blobs when somebody needs them.

A materialised bundle is for local workers and the parser, an archive for pods. Both can be deleted at any time: the
blobs make them again. Files are copies, not hard links, because a task that runs as root could write through a link
into the blob.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import secrets
import shutil
import stat
import tarfile
import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from execplane.bundles.manifest import Manifest, ManifestFile, decode_manifest
from execplane.contract.blobs import BlobStore
from execplane.contract.errors import InvalidInput, NotFound, storage_error

_DIGEST = re.compile(r"[0-9a-f]{64}")
_EPOCH = 315532800
"""1980-01-01: the same time on every file, and one that zip-minded tools accept."""


class BundlePlaces:
    """Materialised bundles and archives below one folder; safe for several processes."""

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        self.folder = folder
        self._blobs = blobs
        self._making = threading.Lock()

    def manifest(self, digest: str) -> Manifest:
        """Raises NotFound when the bundle is not (or no longer) kept, Unavailable when it is damaged."""
        try:
            return decode_manifest(self._blobs.get(_checked(digest), verify=True))
        except NotFound:
            raise NotFound(
                f"The bundle {digest[:12]} is not kept any more.",
                hint="Clear the run with the latest version of its DAG.",
            ) from None

    def read(self, digest: str, path: str) -> bytes:
        """One file of the bundle, which is not materialised for it. Raises NotFound, and Unavailable as `manifest`."""
        file = self.manifest(digest).by_path.get(path)
        if file is None:
            raise NotFound(f"The bundle {digest[:12]} has no file {path}.")
        return self._blobs.get(file.sha256, verify=True)

    def materialise(self, digest: str) -> Path:
        """The bundle as a read-only folder, made when it is not there."""
        target = self.folder / _checked(digest)
        with self._making:
            if target.is_dir():
                return target
            manifest = self.manifest(digest)
            temporary = self._temporary(digest)
            try:
                self._fill(temporary, manifest)
                self._settle(temporary, target)
            except OSError as error:
                raise storage_error(f"Unpacking bundle {digest[:12]}", self.folder, error) from error
            finally:
                remove_tree(temporary)
        return target

    def archive(self, digest: str) -> Path:
        """The bundle as a tar.gz whose bytes depend on the bundle alone, made when it is not there."""
        target = self.folder / f"{_checked(digest)}.tar.gz"
        with self._making:
            if target.is_file():
                return target
            manifest = self.manifest(digest)
            temporary = self._temporary(digest)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._pack(temporary, manifest)
                os.rename(temporary, target)
            except OSError as error:
                raise storage_error(f"Packing bundle {digest[:12]}", self.folder, error) from error
            finally:
                temporary.unlink(missing_ok=True)
        return target

    def prune(self, keep: Collection[str], *, now: datetime, unused_for: timedelta) -> tuple[str, ...]:
        """Delete folders and archives of bundles that are not in `keep`, and leftovers, made before
        `now - unused_for`. Their blobs stay. The names deleted."""
        limit = (now - unused_for).timestamp()
        deleted = []
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(self.folder)):
                # The inode's change time is the time of the rename; the mtime is the same on all.
                made = entry.stat(follow_symlinks=False).st_ctime
                if entry.name.partition(".")[0] in keep or made > limit:
                    continue
                path = Path(entry.path)
                remove_tree(path) if entry.is_dir(follow_symlinks=False) else path.unlink(missing_ok=True)
                deleted.append(entry.name)
        return tuple(sorted(deleted))

    def _temporary(self, digest: str) -> Path:
        return self.folder / f".{digest[:12]}.{os.getpid()}-{secrets.token_hex(4)}"

    def _fill(self, folder: Path, manifest: Manifest) -> None:
        folder.mkdir(parents=True)
        folders = {folder}
        for file in manifest.files:
            path = folder / file.path
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.update(parent for parent in path.parents if folder in parent.parents)
            with open(path, "xb") as output:
                for chunk in self._blobs.stream(file.sha256, verify=True):
                    output.write(chunk)
            path.chmod(0o555 if file.mode & stat.S_IXUSR else 0o444)
            os.utime(path, (_EPOCH, _EPOCH))
        for made in sorted(folders, reverse=True):
            made.chmod(0o555)

    def _settle(self, temporary: Path, target: Path) -> None:
        try:
            os.rename(temporary, target)
        except OSError as error:
            # Another process was faster; what it made is the same.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise

    def _pack(self, path: Path, manifest: Manifest) -> None:
        with (
            open(path, "xb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for file in manifest.files:
                chunks = self._blobs.stream(file.sha256, verify=True)
                tar.addfile(_tar_info(file), _Chunks(chunks))
                # tarfile reads exactly the size it was told; the verification comes after the last chunk.
                deque(chunks, maxlen=0)


def remove_tree(folder: Path) -> None:
    """Delete a folder whose folders may be read-only; absent is fine."""
    if not folder.exists():
        return
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"{digest[:80]!r} does not name a bundle: 64 lower-case hex digits do.")
    return digest


def _tar_info(file: ManifestFile) -> tarfile.TarInfo:
    info = tarfile.TarInfo(file.path)
    info.size, info.mode, info.mtime = file.size_bytes, file.mode, _EPOCH
    return info


class _Chunks(io.RawIOBase):
    """An iterator of chunks as the file that tarfile wants to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = size if size >= 0 else 1 << 62
        parts: list[bytes] = []
        while wanted > 0:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[:wanted], self._rest[wanted:]
            wanted -= len(part)
            parts.append(part)
        return b"".join(parts)
