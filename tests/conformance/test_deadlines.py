"""A worker that hangs, so that it neither works nor fences itself: it is killed, its slot is free, the task goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from execplane.contract.process import all_processes, descendants
from tests.conformance.conftest import EXECUTORS
from tests.conformance.deployed import Deployed, process_of
from tests.parts.eventually import eventually

SHORT = {
    "EXECPLANE_WORKER__SELF_FENCE_SECONDS": "3",
    "EXECPLANE_DEADLINES__TASK_INSTANCE_HEARTBEAT_TIMEOUT_SECONDS": "1",
    "EXECPLANE_SCHEDULER__INFRA_BACKOFF_SECONDS": "0",
    "EXECPLANE_LOCAL__SLOTS": "1",
}


# The sequential executor is the local one with this one slot.
@pytest.mark.parametrize("deployed", [name for name in EXECUTORS if name != "sequential"], indirect=True)
def test_a_worker_that_hangs_is_killed_and_its_task_goes_on_at_infrastructures_cost(deployed: Deployed) -> None:
    with restarted_with(deployed, SHORT):
        run = deployed.trigger("retried", "hold")
        first = deployed.visit(run)
        eventually(lambda: deployed.attempts(run)[0].heartbeat_at != deployed.attempts(run)[0].running_at)

        hang(deployed, run)

        ended = deployed.attempt_ended(run, timeout_seconds=90)
        assert (ended.state, ended.category) == ("failed", "heartbeat_lost")
        assert "no heartbeat for" in ended.reason
        second = deployed.visit(run, 2)
        assert deployed.dead(first) <= second.began
        instance = deployed.instance(run)
        assert (instance.author_failures, instance.infra_failures) == (0, 1)
        second.release()
        assert deployed.ended(run) == "success"


@contextmanager
def restarted_with(deployed: Deployed, settings: dict[str, str]) -> Iterator[None]:
    standalone = deployed.standalone
    before = dict(standalone.environment)
    standalone.stop()
    standalone.environment.update(settings)
    standalone.start()
    try:
        yield
    finally:
        standalone.stop()
        standalone.environment = before
        standalone.start()


def hang(deployed: Deployed, run: str) -> None:
    """SIGSTOP to the supervisor and the task: neither beats, works or notices that it should fence itself."""
    uid = deployed.attempts(run)[0].pod_uid
    pids = in_pod(uid) if deployed.makes_pods else [process_of(uid), *descendants(process_of(uid))]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def in_pod(uid: str) -> list[int]:
    """The container's processes, as this machine sees them: the test cluster's node is this machine."""
    found = []
    for info in all_processes():
        with suppress(OSError):
            if f"EXECPLANE_POD_UID={uid}".encode() in Path(f"/proc/{info.pid}/environ").read_bytes().split(b"\0"):
                found.append(info.pid)
    return found
