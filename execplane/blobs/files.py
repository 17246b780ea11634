"""Blobs as files below one folder: two levels of fan-out, written beside their place and renamed into it.

A reader therefore sees a whole blob or none, and two writers of the same bytes do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from execplane.contract.blobs import MAX_BLOB_BYTES, BlobInfo
from execplane.contract.errors import InvalidInput, NotFound, Unavailable, storage_error

_NAME = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FileBlobOptions:
    folder: Path
    fsync: bool = False
    """Wait for the disk at each put: survives a power cut, costs milliseconds. A crash of ours needs none."""


class FileBlobStore:
    """A `contract.blobs.BlobStore` on a local disk, safe for any number of processes."""

    def __init__(self, options: FileBlobOptions) -> None:
        self.name = str(options.folder)
        self._folder = options.folder
        self._fsync = options.fsync

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if not self._refresh(sha256):
            self.put_stream((data,), expect=sha256, limit_bytes=max(len(data), 1))
        return sha256

    def put_stream(self, chunks: Iterable[bytes], *, expect: str = "", limit_bytes: int = MAX_BLOB_BYTES) -> BlobInfo:
        temporary = self._folder / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            self._make_folder(temporary.parent)
            info = self._write(temporary, chunks, limit_bytes)
            if expect and info.sha256 != expect:
                raise InvalidInput(
                    f"The bytes sent as blob {expect[:12]} have the SHA-256 {info.sha256[:12]}.",
                    hint="They were damaged on the way; send them again.",
                )
            target = self.path(info.sha256)
            self._make_folder(target.parent)
            os.rename(temporary, target)
        except OSError as error:
            raise storage_error("Writing a blob", self._folder, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return info

    def get(self, sha256: str, *, verify: bool = False) -> bytes:
        try:
            data = self.path(sha256).read_bytes()
        except OSError as error:
            raise self._read_error(sha256, error) from error
        if verify:
            self._check(sha256, hashlib.sha256(data).hexdigest())
        return data

    def stream(self, sha256: str, *, start: int = 0, verify: bool = False) -> Iterator[bytes]:
        if verify and start:
            raise InvalidInput(f"Blob {sha256[:12]} can be verified only when it is read from its beginning.")
        digest = hashlib.sha256() if verify else None
        try:
            with open(self.path(sha256), "rb") as file:
                file.seek(start)
                while chunk := file.read(_CHUNK_BYTES):
                    if digest is not None:
                        digest.update(chunk)
                    yield chunk
        except OSError as error:
            raise self._read_error(sha256, error) from error
        if digest is not None:
            self._check(sha256, digest.hexdigest())

    def size(self, sha256: str) -> int | None:
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._read_error(sha256, error) from error

    def has(self, sha256: str) -> bool:
        return self.size(sha256) is not None

    def delete(self, sha256: str) -> bool:
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(f"Deleting blob {sha256[:12]}", self._folder, error) from error
        return True

    def path(self, sha256: str) -> Path:
        """The file of a blob, whether it is there or not. Nobody but this store writes to it."""
        if not _NAME.fullmatch(sha256):
            raise InvalidInput(f"{sha256[:80]!r} does not name a blob: 64 lower-case hex digits do.")
        return self._folder / sha256[:2] / sha256[2:4] / sha256

    def _refresh(self, sha256: str) -> bool:
        """True when the blob is there; its age starts anew: a collector spares what was just wanted."""
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        except OSError:
            # A read-only disk still has the bytes.
            return self.has(sha256)
        return True

    def _write(self, temporary: Path, chunks: Iterable[bytes], limit_bytes: int) -> BlobInfo:
        digest, size = hashlib.sha256(), 0
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > limit_bytes:
                    raise InvalidInput(f"The blob is larger than the limit of {limit_bytes} bytes.")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
        return BlobInfo(sha256=digest.hexdigest(), size_bytes=size)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _check(self, sha256: str, found: str) -> None:
        if found != sha256:
            raise Unavailable(
                f"Blob {sha256[:12]} in {self.name} is damaged: its bytes have the SHA-256 {found[:12]}.",
                hint="Restore it from a backup, or delete it so that it is written again.",
            )

    def _read_error(self, sha256: str, error: OSError) -> NotFound | Unavailable:
        if isinstance(error, FileNotFoundError):
            return NotFound(f"There is no blob {sha256[:12]} in {self.name}.")
        return storage_error(f"Reading blob {sha256[:12]}", self._folder, error)
