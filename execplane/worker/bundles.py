"""Where an attempt's DAG files are: a bundle fetched by digest and unpacked once per machine, or a folder that the
image, a volume or git-sync brought (then the worker says which digest it found there)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from execplane.contract.errors import ExecplaneError
from execplane.contract.messages import ClaimAnswer
from execplane.worker.client import Client, path_of
from execplane.worker.options import WorkerOptions


class FilesMissing(ExecplaneError):
    """The attempt's DAG files could not be had."""


def files_for(
    claim: ClaimAnswer, client: Client, options: WorkerOptions, *, patience_seconds: float
) -> tuple[Path, str]:
    """The folder of the attempt's DAG files, and for image and volume the digest of what is there."""
    if claim.source == "bundle":
        return fetch(claim.bundle, client, options.bundles_folder, patience_seconds=patience_seconds), ""
    folder = Path(claim.dags_folder)
    if not folder.is_dir():
        raise FilesMissing(
            f"The DAG folder {claim.dags_folder!r} does not exist here, although the worker's source is "
            f"{claim.source!r}.",
            hint="Mount the volume (or build the image) so that the folder exists in the container `base`.",
        )
    # The folder may be a symlink that git-sync swaps while the task runs: stay in the tree that was found.
    resolved = folder.resolve()
    return resolved, digest_found(resolved, claim.ignore_syntax or options.ignore_syntax)


def fetch(digest: str, client: Client, cache: Path, *, patience_seconds: float) -> Path:
    """The unpacked bundle. Whoever comes first unpacks it under a temporary name and renames it."""
    folder = cache / digest
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
        archive = Path(scratch, "bundle.tar.gz")
        with open(archive, "w+b") as file:

            def write(chunk: bytes) -> None:
                if chunk:
                    file.write(chunk)
                else:
                    file.seek(0)
                    file.truncate()

            client.download(path_of("bundles", digest), write, patience_seconds=patience_seconds)
        fresh = Path(scratch, "files")
        unpack(archive, fresh)
        if (found := _digest_of(fresh, _paths_below(fresh))) != digest:
            raise FilesMissing(
                f"The bundle {digest[:12]} came with other files (their digest is {found[:12]}).",
                hint="A proxy or a disk may have damaged it; the next try fetches it again.",
            )
        # Another worker was faster when the target exists: its files are the same.
        with contextlib.suppress(OSError):
            os.rename(fresh, folder)
    if not folder.is_dir():
        raise FilesMissing(f"The bundle {digest[:12]} could not be put in place at {folder}.")
    return folder


def digest_found(folder: Path, ignore_syntax: str) -> str:
    """The digest that a snapshot of `folder` would have; "" when the folder cannot be read as one."""
    from execplane.bundles.folder import Folder
    from execplane.bundles.options import BundleOptions

    try:
        listing = Folder(folder, BundleOptions(ignore_syntax=ignore_syntax)).scan()
        return _digest_of(Path(listing.root), listing.files)
    except (ExecplaneError, OSError):
        return ""


def _paths_below(folder: Path) -> list[str]:
    return [
        os.path.relpath(os.path.join(path, name), folder).replace(os.sep, "/")
        for path, _, names in os.walk(folder)
        for name in names
    ]


def _digest_of(folder: Path, paths: Iterable[str]) -> str:
    from execplane.bundles.manifest import (
        EXECUTABLE_MODE,
        PLAIN_MODE,
        ManifestFile,
        bundle_digest,
        make_manifest,
    )

    files = {}
    for path in paths:
        with open(folder / path, "rb") as file:
            status = os.fstat(file.fileno())
            files[path] = ManifestFile(
                path=path,
                sha256=hashlib.file_digest(file, "sha256").hexdigest(),
                size_bytes=status.st_size,
                mode=EXECUTABLE_MODE if status.st_mode & stat.S_IXUSR else PLAIN_MODE,
            )
    return bundle_digest(make_manifest(files))


def _unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Plain files and folders only. (tarfile's own filters came with Python 3.11.4; Debian 12 has 3.11.2.)"""
    parts = Path(member.name).parts
    if not parts or ".." in parts or Path(member.name).is_absolute() or not (member.isreg() or member.isdir()):
        raise tarfile.TarError(f"the member {member.name!r} is not a plain file below the folder")
    target = folder.joinpath(*parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None
    with source, open(target, "xb") as file:
        shutil.copyfileobj(source, file)
    from execplane.bundles.manifest import EXECUTABLE_MODE, PLAIN_MODE

    target.chmod(EXECUTABLE_MODE if member.mode & stat.S_IXUSR else PLAIN_MODE)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a bundle; nothing may leave `folder` or bring devices, owners or set-id bits."""
    folder.mkdir()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                _unpack_one(tar, member, folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise FilesMissing(
            f"The bundle's archive cannot be unpacked: {error}.", hint="Refresh the DAG's bundle."
        ) from error
