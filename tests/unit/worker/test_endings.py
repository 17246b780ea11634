"""How an attempt ended: the whole table, from what the supervisor can know."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from execplane.contract.messages import ErrorInfo
from execplane.contract.process import ExitCode, memory_limit_bytes
from execplane.worker.channel import Result
from execplane.worker.endings import Death, conclude, exit_code

SUCCESS = Result(outcome="success", map_length=2)
FAILED = Result(outcome="failed", reason="ValueError: no", error=ErrorInfo(type="ValueError", message="no"))
TERMINATED = Result(outcome="terminated", reason="by a signal")
KILLED = int(signal.SIGKILL)


def exited(code: int) -> int:
    return code << 8


@pytest.mark.parametrize(
    ("death", "outcome", "said"),
    [
        (Death(status=exited(0), result=SUCCESS), "success", ""),
        (Death(status=exited(0), result=FAILED), "failed", "ValueError: no"),
        # The result was left whole: how the process died afterwards changes nothing.
        (Death(status=KILLED, result=SUCCESS), "success", ""),
        (Death(status=KILLED, result=SUCCESS, killed="linger"), "success", ""),
        (Death(status=exited(0), result=SUCCESS, stopped="cancelled by alice"), "success", ""),
        (Death(status=exited(0), result=FAILED, stopped="cancelled by alice"), "terminated", "cancelled by alice"),
        (Death(status=exited(0), result=TERMINATED, stopped="cancelled by alice"), "terminated", "cancelled by alice"),
        (Death(status=exited(0), result=TERMINATED), "terminated", "by a signal"),
        (
            Death(status=KILLED, stopped="cancelled by alice", killed="grace", limit_seconds=24),
            "terminated",
            "cancelled by alice; it did not stop within 24 s and was killed",
        ),
        (Death(status=int(signal.SIGTERM), stopped="cancelled by alice"), "terminated", "cancelled by alice"),
        (Death(status=KILLED, killed="lost", limit_seconds=600), "terminated", "no contact with the API for 600 s"),
        (
            Death(status=KILLED, killed="lost", limit_seconds=600, stopped="cancelled by alice"),
            "terminated",
            "no contact with the API for 600 s",
        ),
        (Death(status=KILLED, killed="timeout", limit_seconds=70), "timeout", "killed after 70 s"),
        (Death(status=KILLED, killed="import", limit_seconds=300), "failed", "Importing the DAG file"),
        (Death(status=int(signal.SIGSEGV)), "failed", "killed by SIGSEGV."),
        (Death(status=int(signal.SIGSEGV) | 0x80), "failed", "killed by SIGSEGV."),
        (Death(status=KILLED), "failed", "killed by SIGKILL, not by execplane"),
        (Death(status=KILLED, out_of_memory=True), "failed", "ran out of memory."),
        (Death(status=KILLED, out_of_memory=True, memory_limit_bytes=64 << 20), "failed", "may use 64 MiB)."),
        (Death(status=exited(0)), "failed", "exited with code 0 in the middle of the task"),
        (Death(status=exited(7)), "failed", "exited with code 7"),
        (Death(status=64), "failed", "killed by SIGRTMAX"),
        (Death(status=40), "failed", "killed by signal 40"),
    ],
)
def test_the_end_follows_from_result_order_and_death(death: Death, outcome: str, said: str) -> None:
    result = conclude(death)
    assert result.outcome == outcome
    assert said in result.reason


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("success", ExitCode.SUCCESS),
        ("skipped", ExitCode.SUCCESS),
        ("reschedule", ExitCode.SUCCESS),
        ("failed", ExitCode.FAILED),
        ("fail_without_retry", ExitCode.FAILED),
        ("terminated", ExitCode.FAILED),
        ("timeout", ExitCode.FAILED),
    ],
)
def test_the_exit_code_says_whether_the_task_did_well(outcome: str, code: ExitCode) -> None:
    assert exit_code(Result(outcome=outcome)) is code


@pytest.mark.parametrize(
    ("said", "limit"), [("67108864", 64 << 20), ("max", None), ("9223372036854771712", None), (None, None)]
)
def test_a_containers_memory_limit_is_what_its_cgroup_says(tmp_path: Path, said: str | None, limit: int | None) -> None:
    file = tmp_path / "memory.max"
    if said is not None:
        file.write_text(f"{said}\n")
    assert memory_limit_bytes((str(tmp_path / "absent"), str(file))) == limit
