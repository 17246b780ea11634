"""What an exit status says, as a table."""

from __future__ import annotations

import signal

import pytest

from execplane.contract.observations import Diagnosis
from execplane.contract.process import ExitCode
from execplane.executors.local_diagnosis import diagnose

KILLED = int(signal.SIGKILL)


@pytest.mark.parametrize(
    ("found", "category", "exit_code", "infrastructure"),
    [
        (diagnose(0), "completed", 0, False),
        (diagnose(ExitCode.FAILED << 8), "completed", 1, False),
        (diagnose(ExitCode.REFUSED << 8), "refused", 64, True),
        (diagnose(ExitCode.UNREPORTED << 8), "unreported", 65, True),
        (diagnose(ExitCode.NO_CLAIM << 8), "no_claim", 66, True),
        (diagnose(2 << 8), "exit", 2, True),
        (diagnose(KILLED), "signal", 137, True),
        (diagnose(KILLED, out_of_memory=True), "oom_killed", 137, True),
        (diagnose(KILLED, killed_by_us=True, out_of_memory=True), "stopped", 137, False),
        (diagnose(int(signal.SIGSEGV), out_of_memory=True), "signal", 139, True),
        (diagnose(40), "signal", 168, True),
    ],
)
def test_a_status_becomes_a_diagnosis(found: Diagnosis, category: str, exit_code: int, infrastructure: bool) -> None:
    assert (found.category, found.exit_code, found.infrastructure) == (category, exit_code, infrastructure)
    assert found.sentence.endswith(".")
