"""A bundle becomes a read-only folder or an archive, from its blobs alone."""

from __future__ import annotations

import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from execplane.blobs.files import FileBlobStore
from execplane.bundles.folder import Folder
from execplane.bundles.options import BundleOptions
from execplane.bundles.places import BundlePlaces
from execplane.bundles.snapshot import Snapshotter
from execplane.contract.errors import InvalidInput, NotFound, Unavailable
from tests.unit.bundles.conftest import FarClock

FILES = {"a.py": b"x = 1\n", "pkg/__init__.py": b"", "pkg/deep/run.sh": b"#!/bin/sh\n", "ünï.sql": b"select 1"}


@pytest.fixture
def digest(folder: Path, blobs: FileBlobStore, clock: FarClock) -> str:
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "pkg/deep/run.sh").chmod(0o755)
    options = BundleOptions()
    return Snapshotter(Folder(folder, options), blobs=blobs, options=options, clock=clock).take().digest


@pytest.fixture
def places(tmp_path: Path, blobs: FileBlobStore) -> BundlePlaces:
    return BundlePlaces(tmp_path / "bundles", blobs)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_materialised_bundle_holds_the_files_read_only(places: BundlePlaces, digest: str) -> None:
    place = places.materialise(digest)
    assert contents(place) == FILES
    assert (place / "a.py").stat().st_mode & 0o777 == 0o444
    assert (place / "pkg/deep/run.sh").stat().st_mode & 0o777 == 0o555
    assert all(path.stat().st_mode & 0o222 == 0 for path in [place, *place.rglob("*")])


def test_it_is_made_once_and_survives_its_source(places: BundlePlaces, digest: str, folder: Path) -> None:
    first = places.materialise(digest)
    identity = first.stat().st_ino
    (folder / "a.py").unlink()
    assert places.materialise(digest) == first
    assert first.stat().st_ino == identity


def test_several_processes_may_make_it_at_once(places: BundlePlaces, digest: str, blobs: FileBlobStore) -> None:
    others = [BundlePlaces(places.folder, blobs) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda other: other.materialise(digest), others))) == 1
    assert [entry.name for entry in places.folder.iterdir()] == [digest]


def test_an_archive_holds_the_same_files_and_modes(places: BundlePlaces, digest: str, tmp_path: Path) -> None:
    target = tmp_path / "unpacked"
    with tarfile.open(places.archive(digest)) as tar:
        tar.extractall(target, filter="data")
    assert contents(target) == FILES
    assert os.access(target / "pkg/deep/run.sh", os.X_OK)


def test_an_archive_depends_on_the_bundle_alone(
    places: BundlePlaces, digest: str, tmp_path: Path, blobs: FileBlobStore
) -> None:
    other = BundlePlaces(tmp_path / "elsewhere", blobs)
    assert places.archive(digest).read_bytes() == other.archive(digest).read_bytes()


def test_a_bundle_that_is_not_kept_is_named(places: BundlePlaces) -> None:
    with pytest.raises(NotFound, match="bundle 000000000000 is not kept any more"):
        places.materialise("0" * 64)
    with pytest.raises(InvalidInput, match="does not name a bundle"):
        places.archive("../../etc")


def test_a_damaged_blob_makes_no_bundle(places: BundlePlaces, digest: str, blobs: FileBlobStore) -> None:
    sha256 = places.manifest(digest).by_path["a.py"].sha256
    blobs.path(sha256).write_bytes(b"x = 2\n")
    for make in (places.materialise, places.archive):
        with pytest.raises(Unavailable, match="damaged"):
            make(digest)
    assert list(places.folder.iterdir()) == []


def test_what_nothing_refers_to_is_pruned_and_comes_back_when_asked_for(places: BundlePlaces, digest: str) -> None:
    places.materialise(digest)
    places.archive(digest)
    soon = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert places.prune({digest}, now=soon + 2 * hour, unused_for=hour) == ()
    assert places.prune(set(), now=soon, unused_for=hour) == ()
    assert places.prune(set(), now=soon + 2 * hour, unused_for=hour) == (digest, f"{digest}.tar.gz")
    assert contents(places.materialise(digest)) == FILES
