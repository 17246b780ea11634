"""Attempts outlive their zygote and their executor, and the next one finds out what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from execplane.contract.observations import Acknowledged, Gone, LaunchRefused
from execplane.contract.process import all_processes, living_pid, process_info
from execplane.contract.states import AttemptState
from execplane.contract.workload import Intent
from execplane.executors.local import LocalExecutor
from execplane.executors.local_options import LocalOptions
from tests.integration.local_executor.conftest import Facts, handle, intent, is_dead, sleeper, sleepers
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi

ROOT = Path(__file__).parents[3]


@contextmanager
def executor_process(options: LocalOptions, intents: Sequence[Intent]) -> Iterator[Iterator[tuple[int, str]]]:
    """Another executor in a process of its own, killed hard at the end; gives each fact's (attempt, uid)."""
    script = (
        "import sys, msgspec\n"
        "from execplane.contract.clock import SystemClock\n"
        "from execplane.contract.workload import Intent\n"
        "from execplane.executors.local import LocalExecutor\n"
        "from execplane.executors.local_options import LocalOptions\n"
        "options, intents = msgspec.json.decode(sys.argv[1], type=tuple[LocalOptions, list[Intent]])\n"
        "e = LocalExecutor(options, clock=SystemClock(), mint_token=lambda s: 't')\n"
        "e.start(lambda facts: [print(f.attempt_id, f.uid, flush=True) for f in facts])\n"
        "e.launch(intents)\n"
        "sys.stdin.read()\n"
    )
    argument = msgspec.json.encode((options, intents)).decode()
    with subprocess.Popen(
        [sys.executable, "-c", script, argument], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        words = (line.split() for line in process.stdout)
        try:
            yield ((int(number), uid) for number, uid in words)
        finally:
            process.kill()


def test_the_zygotes_death_is_survived(executor: LocalExecutor, facts: Facts, api: StubApi, stop_file: Path) -> None:
    executor.launch([intent(executor, 1, "waits")])
    sleeper(api, 1)
    os.kill(zygote_of(os.getpid()), signal.SIGKILL)
    executor.launch([intent(executor, 2, "quick")])
    facts.await_one(Gone, 2)
    assert api.ends[2].outcome == "success"
    assert not facts.of(Gone, 1)
    stop_file.touch()
    assert facts.await_one(Gone, 1).diagnosis.category == "ended_unseen"
    assert api.ends[1].outcome == "success"
    assert executor.check() == ""


def test_another_executor_adopts_what_lives_and_tells_what_died(
    executor: LocalExecutor, facts: Facts, api: StubApi, options: LocalOptions, stop_file: Path
) -> None:
    """The first executor's process is killed hard; its workers go on, end, and are watched by the next one."""
    intents = [intent(executor, 1, "waits"), intent(executor, 2, "quick")]
    with executor_process(options, intents) as lines:
        uids = dict([next(lines) for _ in range(3)])  # two acknowledged, one gone
        sleeper(api, 1)
    waits, quick = (handle(one, uids[one.attempt_id]) for one in intents)
    executor.adopt([waits, quick])
    assert facts.await_one(Acknowledged, 1).adopted
    assert facts.await_one(Gone, 2).finished  # A process of this boot that is not there is dead.
    stop_file.touch()
    assert facts.await_one(Gone, 1).diagnosis.category == "ended_unseen"
    assert api.ends[1].outcome == "success"


@pytest.mark.parametrize("learnt", ["adopt", "stop", "clean"])
def test_what_a_worker_left_that_died_between_two_executors_is_dead_before_its_end_is_told(
    executor: LocalExecutor, facts: Facts, api: StubApi, options: LocalOptions, learnt: str
) -> None:
    family = intent(executor, 1, "family")
    with executor_process(options, [family]) as lines:
        _, uid = next(lines)
        left = sleepers(api, 1)
        worker = living_pid(uid)
        assert worker is not None
    # Only then: the first one's zygote would kill them itself.
    eventually(lambda: not _is_zygote(_parent(worker)))
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: is_dead(worker))
    assert not any(is_dead(pid) for pid in left)
    known = [handle(family, uid)]
    {
        "adopt": lambda: executor.adopt(known),
        "stop": lambda: executor.stop(known, grace_seconds=0),
        "clean": lambda: executor.clean(known, outcome=AttemptState.FAILED),
    }[learnt]()
    gone = facts.await_one(Gone, 1)
    assert [is_dead(pid) for pid in left] == [True, True]
    assert (gone.diagnosis.category, gone.finished) == ("vanished", True)


def test_what_an_adopted_worker_leaves_is_dead_before_its_end_is_told(
    executor: LocalExecutor, facts: Facts, api: StubApi
) -> None:
    executor.launch([intent(executor, 1, "family")])
    left = sleepers(api, 1)
    zygote = zygote_of(os.getpid())
    os.kill(zygote, signal.SIGKILL)
    executor.launch([intent(executor, 2, "quick")])
    facts.await_one(Gone, 2)
    worker = living_pid(facts.await_one(Acknowledged, 1).uid)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    gone = facts.await_one(Gone, 1)
    assert [is_dead(pid) for pid in left] == [True, True]
    assert (gone.diagnosis.category, gone.finished) == ("ended_unseen", True)


def test_a_worker_that_dies_with_its_zygote_leaves_nothing(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    executor.launch([intent(executor, 1, "family")])
    left = sleepers(api, 1)
    worker = living_pid(facts.await_one(Acknowledged, 1).uid)
    assert worker is not None
    zygote = zygote_of(os.getpid())
    os.kill(zygote, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    os.kill(zygote, signal.SIGKILL)
    facts.await_one(Gone, 1)
    assert [is_dead(pid) for pid in left] == [True, True]


def test_adopting_a_launch_that_was_never_answered_asks_for_another(executor: LocalExecutor, facts: Facts) -> None:
    executor.adopt([handle(intent(executor, 1, "quick"), "")])
    refused = facts.await_one(LaunchRefused, 1)
    assert refused.retry
    assert not refused.new_attempt


def test_a_reused_pid_is_not_adopted(executor: LocalExecutor, facts: Facts) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    executor.adopt([handle(intent(executor, 1, "quick"), f"{boot}:{os.getpid()}:1")])
    assert facts.await_one(Gone, 1).finished


def zygote_of(pid: int) -> int:
    (found,) = [info.pid for info in all_processes() if info.ppid == pid and _is_zygote(info.pid)]
    return found


def _parent(pid: int) -> int:
    info = process_info(pid)
    assert info is not None
    return info.ppid


def _is_zygote(pid: int) -> bool:
    return b"execplane.worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
