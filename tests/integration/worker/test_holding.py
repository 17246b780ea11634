"""A failed worker that was told to stay: its container lives on until its time is over or somebody ends it."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec

from execplane.contract.messages import Verdict
from execplane.contract.process import ExitCode
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi
from tests.unit.worker.workers import Workers


def test_a_failed_pod_stays_after_its_report_until_it_is_terminated(
    api: StubApi, start_worker: Workers, tmp_path: Path
) -> None:
    api.hold_seconds = 600.0
    words = tmp_path / "termination-log"
    words.touch()
    worker = start_worker("kill_self", in_pod=True, termination_log=str(words))

    eventually(lambda: words.read_bytes() and msgspec.json.decode(words.read_bytes(), type=Verdict).reported, 20)

    assert api.ends[1].outcome == "failed"
    assert worker.stderr is not None
    eventually(lambda: "its container is kept until" in worker.stderr.readline(), 20)  # type: ignore[union-attr]
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == ExitCode.FAILED


def test_a_hold_ends_by_itself(api: StubApi, start_worker: Workers) -> None:
    api.hold_seconds = 0.3
    worker = start_worker("kill_self", in_pod=True)

    assert worker.wait(20) == ExitCode.FAILED
    assert "its container is kept until" in worker.communicate()[1]


def test_a_process_is_not_held_whatever_the_api_says(api: StubApi, start_worker: Workers) -> None:
    api.hold_seconds = 600.0
    worker = start_worker("kill_self")

    assert worker.wait(20) == ExitCode.FAILED
