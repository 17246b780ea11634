"""Workers as processes of their own, and the stub of the API that hears them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.worker.stub_api import StubApi, claim_answer
from tests.unit.worker.workers import Workers


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubApi]:
    folder = tmp_path / "dags"
    folder.mkdir()
    with StubApi(claim_answer(dags_folder=str(folder))) as api:
        yield api


@pytest.fixture
def start_worker(api: StubApi, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(api.url, tmp_path)
    yield workers
    workers.close()
