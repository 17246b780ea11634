"""A DAG folder, a blob store and a clock that are one test's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from execplane.blobs.files import FileBlobOptions, FileBlobStore


class FarClock:
    """A clock far ahead of the files' times, so that no file counts as written just now."""

    def now(self) -> datetime:
        return datetime(2100, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def clock() -> FarClock:
    return FarClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    return folder


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(FileBlobOptions(folder=tmp_path / "blobs"))
