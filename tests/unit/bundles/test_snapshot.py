"""A snapshot is consistent, or it is not taken; its digest depends on nothing but the files."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.folder import Folder
from execplane.bundles.manifest import ManifestFile, bundle_digest, decode_manifest, make_manifest
from execplane.bundles.options import BundleOptions
from execplane.bundles.snapshot import Snapshotter
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Unavailable
from tests.unit.bundles.conftest import FarClock

TREES = st.dictionaries(
    st.text("ab", min_size=1, max_size=3).map(lambda name: f"{name}.d/{name}.py"),
    st.tuples(st.binary(max_size=20), st.booleans()),
    max_size=6,
)


def snapshotter(folder: Path, blobs: FileBlobStore, clock: Clock) -> Snapshotter:
    options = BundleOptions()
    return Snapshotter(Folder(folder, options), blobs=blobs, options=options, clock=clock)


def write_tree(folder: Path, tree: dict[str, tuple[bytes, bool]], mtime: int) -> None:
    for path, (data, executable) in tree.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o700 if executable else 0o604)
        os.utime(target, (mtime, mtime))


@given(tree=TREES)
def test_equal_folders_have_equal_digests_wherever_and_whenever_they_were_made(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, tuple[bytes, bool]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    blobs = FileBlobStore(FileBlobOptions(folder=home / "blobs"))
    digests = set()
    for number, items in enumerate([list(tree.items()), list(tree.items())[::-1]]):
        folder = home / str(number)
        folder.mkdir()
        write_tree(folder, dict(items), mtime=number * 1000)
        digests.add(snapshotter(folder, blobs, FarClock()).take().digest)
    assert len(digests) == 1


@given(tree=TREES.filter(bool), data=st.data())
def test_any_changed_byte_path_or_mode_changes_the_digest(
    tree: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    files = {
        path: ManifestFile(path=path, sha256=content.hex(), size_bytes=len(content), mode=0o755 if mode else 0o644)
        for path, (content, mode) in tree.items()
    }
    path = data.draw(st.sampled_from(sorted(files)))
    file = files[path]
    changed = data.draw(
        st.sampled_from(
            [
                {path: ManifestFile(path=path, sha256="other", size_bytes=file.size_bytes, mode=file.mode)},
                {path: ManifestFile(path=path, sha256=file.sha256, size_bytes=99, mode=file.mode)},
                {path: ManifestFile(path=path, sha256=file.sha256, size_bytes=file.size_bytes, mode=file.mode ^ 0o111)},
                {"new": file},
            ]
        )
    )
    assert bundle_digest(make_manifest(files)) != bundle_digest(make_manifest(files | changed))


def test_the_manifest_is_kept_under_the_digest_and_every_file_under_its_own(
    folder: Path, blobs: FileBlobStore, clock: FarClock
) -> None:
    (folder / "a.py").write_bytes(b"x = 1\n")
    snapshot = snapshotter(folder, blobs, clock).take()
    assert decode_manifest(blobs.get(snapshot.digest, verify=True)) == snapshot.manifest
    (file,) = snapshot.manifest.files
    assert (file.path, file.size_bytes, file.mode) == ("a.py", 6, 0o644)
    assert blobs.get(file.sha256) == b"x = 1\n"


def test_a_large_file_is_streamed_into_the_bundle(folder: Path, blobs: FileBlobStore, clock: FarClock) -> None:
    data = os.urandom(3 << 20)
    (folder / "model.bin").write_bytes(data)
    (file,) = snapshotter(folder, blobs, clock).take().manifest.files
    assert blobs.get(file.sha256) == data


class Meddling(FileBlobStore):
    """A blob store during whose writes something happens to the folder."""

    def __init__(self, folder: Path, meddle: Callable[[], object]) -> None:
        super().__init__(FileBlobOptions(folder=folder))
        self._meddle = meddle
        self.puts = 0

    def put(self, data: bytes) -> str:
        self.puts += 1
        self._meddle()
        return super().put(data)


def test_a_file_that_changes_while_others_are_read_makes_the_snapshot_start_again(
    folder: Path, tmp_path: Path, clock: FarClock
) -> None:
    (folder / "a.py").write_text("VERSION = 1")
    (folder / "b.py").write_text("VERSION = 1")

    def rsync() -> None:
        if blobs.puts == 2:  # a.py has been read, b.py is being read
            (folder / "a.py").write_text("VERSION = 2")

    blobs = Meddling(tmp_path / "blobs", rsync)
    snapshot = snapshotter(folder, blobs, clock).take()
    assert blobs.get(snapshot.manifest.by_path["a.py"].sha256) == b"VERSION = 2"


def test_a_symlink_swapped_while_files_are_read_makes_the_snapshot_start_again(tmp_path: Path, clock: FarClock) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("a.py", "b.py"):
            (tmp_path / name / file).write_text(name)
    link = tmp_path / "current"
    link.symlink_to("one")

    def swap() -> None:
        if os.readlink(link) == "one":
            (tmp_path / "next").symlink_to("two")
            os.rename(tmp_path / "next", link)

    blobs = Meddling(tmp_path / "blobs", swap)
    snapshot = snapshotter(link, blobs, clock).take()
    assert {blobs.get(file.sha256) for file in snapshot.manifest.files} == {b"two"}


def test_a_folder_that_never_holds_still_is_named_and_not_taken(folder: Path, tmp_path: Path, clock: FarClock) -> None:
    (folder / "a.py").write_text("x")
    sizes = iter(range(1, 1000))
    blobs = Meddling(tmp_path / "blobs", lambda: (folder / "a.py").write_text("x" * next(sizes)))
    with pytest.raises(Unavailable, match="changed each of the 5 times"):
        snapshotter(folder, blobs, clock).take()


def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path, clock: FarClock) -> None:
    for number in range(20):
        (folder / f"{number}.py").write_text(str(number))
    blobs = Meddling(tmp_path / "blobs", lambda: None)
    taker = snapshotter(folder, blobs, clock)
    taker.take()
    (folder / "3.py").write_text("changed")
    before = blobs.puts
    taker.take()
    assert blobs.puts - before == 2  # the file and the manifest


class At:
    """A clock that stands at one moment."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_a_file_written_just_before_it_was_read_is_read_once_more(folder: Path, tmp_path: Path) -> None:
    (folder / "a.py").write_text("x = 1")
    written = (folder / "a.py").stat().st_ctime
    blobs = Meddling(tmp_path / "blobs", lambda: None)
    taker = snapshotter(folder, blobs, At(written + 0.01))
    assert taker.take().racy
    assert blobs.puts == 2
    assert not taker.take().racy
    assert blobs.puts == 4
    taker.take()
    assert blobs.puts == 5  # only the manifest


def test_an_unreadable_file_is_reported_and_left_out(
    folder: Path, blobs: FileBlobStore, clock: FarClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.py").write_text("a")
    (folder / "b.py").write_text("b")
    taker = snapshotter(folder, blobs, clock)
    read = taker._read

    def refuse(root: str, path: str, key: tuple[int, int, int, int, bool]) -> ManifestFile:
        if path == "a.py":  # permissions do not stop root, whom tests may run as
            raise PermissionError(13, "Permission denied")
        return read(root, path, key)

    monkeypatch.setattr(taker, "_read", refuse)
    snapshot = taker.take()
    assert set(snapshot.manifest.by_path) == {"b.py"}
    assert snapshot.unreadable == {"a.py": "a.py cannot be read: permission is denied."}


def test_a_snapshot_taken_by_the_real_clock_is_found_again_unchanged(folder: Path, blobs: FileBlobStore) -> None:
    (folder / "a.py").write_text("a")
    taker = snapshotter(folder, blobs, SystemClock())
    assert taker.take().digest == taker.take().digest
