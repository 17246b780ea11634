"""A worker that cannot get its DAG files says so at once; nobody's code ran, and the author does not pay for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from execplane.contract.process import ExitCode
from tests.unit.worker.stub_api import StubApi, claim_answer
from tests.unit.worker.workers import Workers


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi(claim_answer(source="bundle", bundle="0" * 64, self_fence_seconds=0.5)) as api:
        yield api


def test_a_bundle_that_the_api_does_not_serve_ends_the_attempt_without_files(
    api: StubApi, start_worker: Workers, tmp_path: Path
) -> None:
    api.statuses["bundles"] = [503] * 1000
    witness = tmp_path / "witness"

    worker = start_worker("touch", str(witness))

    assert worker.wait(20) == ExitCode.FAILED, worker.communicate()
    end = api.ends[1]
    assert end.outcome == "no_files"
    assert "did not serve us within 0.5 s (503" in end.reason
    assert not witness.exists()


def test_a_bundle_that_does_not_exist_ends_the_attempt_with_the_apis_words(
    api: StubApi, start_worker: Workers, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"

    worker = start_worker("touch", str(witness))

    assert worker.wait(20) == ExitCode.FAILED, worker.communicate()
    end = api.ends[1]
    assert end.outcome == "no_files"
    assert "refused by the test with 404" in end.reason
    assert not witness.exists()
