"""Bundles: fetched once, verified, and unable to write anywhere else."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.folder import Folder
from execplane.bundles.manifest import bundle_digest, make_manifest
from execplane.bundles.options import BundleOptions
from execplane.bundles.places import BundlePlaces
from execplane.bundles.snapshot import Snapshotter
from execplane.contract.clock import SystemClock
from execplane.worker.bundles import FilesMissing, digest_found, fetch, files_for, unpack
from execplane.worker.client import Client, Refused
from execplane.worker.options import WorkerOptions
from tests.unit.worker.stub_api import StubApi, claim_answer
from tests.unit.worker.tarballs import bundle_of, manifest_of, tar_of

FILES = {"dag.py": b"print('hello')\n", "lib/helper.py": b"X = 1\n"}
DIGEST = bundle_digest(make_manifest(manifest_of(FILES)))


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi(claim_answer()) as api:
        api.bundles[DIGEST] = bundle_of(FILES)
        yield api


@pytest.fixture
def client(api: StubApi) -> Iterator[Client]:
    client = Client(api.url, lambda: "t", clock=SystemClock(), wait=lambda seconds: True)
    yield client
    client.close()


def test_a_bundle_is_fetched_once(api: StubApi, client: Client, tmp_path: Path) -> None:
    for _ in range(2):
        folder = fetch(DIGEST, client, tmp_path / "bundles", patience_seconds=1)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.py")} == set(FILES)
    assert (folder / "dag.py").read_bytes() == FILES["dag.py"]
    assert api.requests["bundles"] == 1
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [DIGEST]


def test_other_files_than_the_digest_says_are_refused(api: StubApi, client: Client, tmp_path: Path) -> None:
    api.bundles[DIGEST] = bundle_of({**FILES, "dag.py": b"print('other')\n"})
    with pytest.raises(FilesMissing, match="came with other files"):
        fetch(DIGEST, client, tmp_path, patience_seconds=1)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_bundle_is_refused_by_the_api(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        fetch("0" * 64, client, tmp_path, patience_seconds=1)


@pytest.mark.parametrize("case", ["parent", "absolute", "link", "device"])
def test_an_archive_cannot_leave_its_folder(tmp_path: Path, case: str) -> None:
    info = tarfile.TarInfo({"parent": "../out", "absolute": "/../../tmp/../out"}.get(case, "entry"))
    if case == "link":
        info.type, info.linkname = tarfile.SYMTYPE, "../../out"
    if case == "device":
        info.type = tarfile.CHRTYPE
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_of([(info, b"")]))
    with pytest.raises(FilesMissing, match="cannot be unpacked"):
        unpack(archive, tmp_path / "in")
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "out").exists()


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(bundle_of(FILES)[:60])
    with pytest.raises(FilesMissing):
        unpack(archive, tmp_path / "in")


def test_the_makers_archive_and_folder_have_the_digest_that_the_worker_computes(
    client: Client, api: StubApi, tmp_path: Path
) -> None:
    """Both sides of the house agree on real snapshots, executables and ignored files included."""
    source = tmp_path / "source"
    for path, data in {**FILES, "run.sh": b"#!/bin/sh\n", "ignored/x.py": b"", ".airflowignore": b"ignored\n"}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    (source / "run.sh").chmod(0o755)
    blobs = FileBlobStore(FileBlobOptions(folder=tmp_path / "blobs"))
    options = BundleOptions()
    snapshot = Snapshotter(Folder(source, options), blobs=blobs, options=options, clock=SystemClock()).take()
    places = BundlePlaces(tmp_path / "places", blobs)
    api.bundles[snapshot.digest] = places.archive(snapshot.digest).read_bytes()
    fetched = fetch(snapshot.digest, client, tmp_path / "fetched", patience_seconds=1)
    assert (fetched / "run.sh").stat().st_mode & 0o100
    assert digest_found(source, "glob") == snapshot.digest
    places.materialise(snapshot.digest)
    calls = api.requests["bundles"]
    claim = claim_answer(source="bundle", bundle=snapshot.digest)
    worker = WorkerOptions(bundles_dir=str(tmp_path / "places"))
    assert files_for(claim, client, worker, patience_seconds=1) == (tmp_path / "places" / snapshot.digest, "")
    assert api.requests["bundles"] == calls


def test_a_folder_that_is_a_symlink_is_pinned_to_what_it_pointed_at(client: Client, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    link = tmp_path / "current"
    link.symlink_to("one")
    claim = claim_answer(source="volume", dags_folder=str(link))
    folder, digest = files_for(claim, client, WorkerOptions(), patience_seconds=1)
    assert folder == tmp_path / "one"
    assert len(digest) == 64


def test_a_missing_folder_says_what_to_do(client: Client) -> None:
    claim = msgspec.structs.replace(claim_answer(), dags_folder="/no/such/folder")
    with pytest.raises(FilesMissing, match="Mount the volume"):
        files_for(claim, client, WorkerOptions(), patience_seconds=1)
