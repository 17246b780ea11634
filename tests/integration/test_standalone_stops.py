"""A stopped standalone leaves the truth behind: its loops have stopped, and its leases are free."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.loops import IDLE, Next
from execplane.loops.status import StatusLoop
from execplane.loops.supervisor import Report, Runner, Supervisor
from execplane.loops.wake import WakeBus
from execplane.store.models import LoopStatus
from tests.parts.eventually import eventually
from tests.parts.standalone import Standalone


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_status_after_a_stop_says_that_every_loop_has_stopped(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "dags").mkdir()
    one = Standalone(tmp_path / "home", tmp_path / "dags")
    one.start()
    process = one.process
    assert process is not None
    eventually(
        lambda: any(lease["held"] for lease in _status(one)["leases"]), 30, on_failure=one.tail, interval_seconds=0.5
    )

    one.stop(number)

    assert process.returncode == code, one.tail()
    assert _states(one) == {"stopped"}
    assert not [lease["name"] for lease in _status(one)["leases"] if lease["held"]]
    assert "No process runs the loop scheduler." in _status(one)["problems"]
    assert "Traceback" not in one.tail(), one.tail()


def _status(one: Standalone) -> Any:
    return json.loads(one.run("status", "-o", "json", ok=False))


def _states(one: Standalone) -> set[str]:
    return {loop["state"] for loop in _status(one)["loops"]}


class Slow:
    """A loop that takes its time to close."""

    name = "slow"
    topics: frozenset[str] = frozenset()
    leased = False
    poll_seconds = 60.0

    def __init__(self) -> None:
        self.may_close = threading.Event()

    def tick(self, now: datetime) -> Next:
        return IDLE

    def close(self) -> None:
        self.may_close.wait(0.5)


def test_a_start_that_failed_half_way_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, bus = SystemClock(), WakeBus()
    loops = [Slow(), Slow(), Slow()]
    for number, loop in enumerate(loops):
        loop.name = f"slow {number}"
        loop.may_close.set()
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if thread.name == "loop slow 1":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more)
    supervisor = Supervisor([Runner(loop=loop, clock=clock, bus=bus) for loop in loops])
    with pytest.raises(RuntimeError, match="new thread"):
        supervisor.start()
    supervisor.stop()
    assert [report.state for report in supervisor.reports()] == ["stopped", "starting", "starting"]


@pytest.mark.django_db(transaction=True)
def test_the_last_report_waits_for_the_loops_that_it_tells_of() -> None:
    clock, bus = SystemClock(), WakeBus()
    slow = Runner(loop=Slow(), clock=clock, bus=bus)
    reports: Sequence[Report] = [slow.report]
    status = Runner(loop=StatusLoop("host:1", lambda: reports), clock=clock, bus=bus)
    supervisor = Supervisor([slow, status])
    supervisor.start()
    eventually(lambda: LoopStatus.objects.filter(state="running").exists(), 10)
    before = datetime.now(UTC)

    supervisor.stop()

    row = LoopStatus.objects.get()
    assert (row.name, row.state) == ("slow", "stopped")
    assert row.seen_at > before
