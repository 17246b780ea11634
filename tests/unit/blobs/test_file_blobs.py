"""Blobs in files: what is put comes back, what is damaged is noticed, and a refusing disk is named."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.contract.blobs import BlobStore
from execplane.contract.errors import InvalidInput, NotFound, Unavailable, storage_error


@pytest.fixture
def store(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(FileBlobOptions(folder=tmp_path / "blobs"))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@given(chunks=st.lists(st.binary(max_size=50)))
def test_a_stream_comes_back_as_it_went_in(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    store: BlobStore = FileBlobStore(FileBlobOptions(folder=tmp_path_factory.mktemp("blobs")))
    data = b"".join(chunks)
    info = store.put_stream(chunks)
    assert (info.sha256, info.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert store.get(info.sha256, verify=True) == data
    assert b"".join(store.stream(info.sha256, start=len(data) // 2)) == data[len(data) // 2 :]


def test_the_same_bytes_are_kept_once(store: FileBlobStore, tmp_path: Path) -> None:
    assert store.put(b"one") == store.put(b"one") == store.put_stream([b"o", b"ne"]).sha256
    assert len(files_in(tmp_path)) == 1


def test_a_put_of_known_bytes_starts_their_age_anew(store: FileBlobStore) -> None:
    sha256 = store.put(b"old")
    os.utime(store.path(sha256), (0, 0))
    store.put(b"old")
    assert store.path(sha256).stat().st_mtime > 1_000_000


def test_an_absent_blob_is_not_found(store: FileBlobStore) -> None:
    absent = "0" * 64
    assert (store.has(absent), store.size(absent), store.delete(absent)) == (False, None, False)
    with pytest.raises(NotFound, match="no blob 000000000000"):
        store.get(absent)
    with pytest.raises(NotFound):
        list(store.stream(absent))


def test_a_deleted_blob_is_gone(store: FileBlobStore) -> None:
    sha256 = store.put(b"x")
    assert store.has(sha256)
    assert store.delete(sha256)
    assert not store.has(sha256)


@pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", "A" * 64, "0" * 63 + "/"])
def test_a_name_that_is_no_digest_never_becomes_a_path(store: FileBlobStore, name: str) -> None:
    with pytest.raises(InvalidInput, match="does not name a blob"):
        store.get(name)


def test_damaged_bytes_are_noticed_when_asked_for(store: FileBlobStore) -> None:
    sha256 = store.put(b"right")
    store.path(sha256).chmod(0o600)
    store.path(sha256).write_bytes(b"wrong")
    assert store.get(sha256) == b"wrong"
    with pytest.raises(Unavailable, match="damaged"):
        store.get(sha256, verify=True)
    with pytest.raises(Unavailable, match="damaged"):
        list(store.stream(sha256, verify=True))


def test_bytes_other_than_announced_are_refused_and_leave_nothing(store: FileBlobStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="SHA-256"):
        store.put_stream([b"abc"], expect="0" * 64)
    assert files_in(tmp_path) == []


def test_a_stream_above_the_limit_is_refused_and_leaves_nothing(store: FileBlobStore, tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(InvalidInput, match="limit of 5000 bytes"):
        store.put_stream(endless(), limit_bytes=5000)
    assert files_in(tmp_path) == []


def test_a_stream_that_breaks_off_leaves_nothing(store: FileBlobStore, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionResetError

    with pytest.raises(Unavailable):
        store.put_stream(broken())
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only"), (errno.ENOSPC, "disk is full"), (errno.EACCES, "permission")],
)
def test_a_refusing_disk_is_named(
    store: FileBlobStore, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(Unavailable, match=words) as caught:
        store.put(b"data")
    assert caught.value.hint
    assert store.name in caught.value.message


def test_a_full_disk_is_named_by_a_real_full_disk() -> None:
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert "disk is full" in str(storage_error("Writing", "/dev/full", caught.value))
