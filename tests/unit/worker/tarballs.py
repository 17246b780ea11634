"""Bundles as the API serves them, made from a dict of files."""

from __future__ import annotations

import hashlib
import io
import tarfile

from execplane.bundles.manifest import ManifestFile


def manifest_of(files: dict[str, bytes]) -> dict[str, ManifestFile]:
    return {
        path: ManifestFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for path, data in files.items()
    }


def bundle_of(files: dict[str, bytes]) -> bytes:
    """A tar.gz of plain files."""
    return tar_of([(_entry(path, len(data)), data) for path, data in files.items()])


def tar_of(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _entry(path: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size = size
    info.mode = 0o644
    return info
