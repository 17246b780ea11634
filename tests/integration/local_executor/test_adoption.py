"""Attempts outlive their zygote and their executor, and the next one finds out what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from execplane.contract.observations import Acknowledged, Gone, LaunchRefused
from execplane.contract.process import all_processes
from execplane.executors.local import LocalExecutor
from execplane.executors.local_options import LocalOptions
from tests.integration.local_executor.conftest import Facts, handle, intent, sleeper
from tests.unit.worker.stub_api import StubApi

ROOT = Path(__file__).parents[3]


def test_the_zygotes_death_is_survived(executor: LocalExecutor, facts: Facts, api: StubApi, stop_file: Path) -> None:
    executor.launch([intent(executor, 1, "waits")])
    sleeper(api, 1)
    (zygote,) = [info.pid for info in all_processes() if info.ppid == os.getpid() and _is_zygote(info.pid)]
    os.kill(zygote, signal.SIGKILL)
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
    intents = [intent(executor, 1, "waits"), intent(executor, 2, "quick")]
    argument = msgspec.json.encode((options, intents)).decode()
    first = subprocess.Popen(
        [sys.executable, "-c", script, argument], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdout is not None
        uids = {}
        for _ in range(3):  # two acknowledged, one gone
            number, uid = first.stdout.readline().split()
            uids[int(number)] = uid
        sleeper(api, 1)
        first.kill()
    waits, quick = (handle(one, uids[one.attempt_id]) for one in intents)
    executor.adopt([waits, quick])
    assert facts.await_one(Acknowledged, 1).adopted
    assert facts.await_one(Gone, 2).finished  # A process of this boot that is not there is dead.
    stop_file.touch()
    assert facts.await_one(Gone, 1).diagnosis.category == "ended_unseen"
    assert api.ends[1].outcome == "success"


def test_adopting_a_launch_that_was_never_answered_asks_for_another(executor: LocalExecutor, facts: Facts) -> None:
    executor.adopt([handle(intent(executor, 1, "quick"), "")])
    refused = facts.await_one(LaunchRefused, 1)
    assert refused.retry
    assert not refused.new_attempt


def test_a_reused_pid_is_not_adopted(executor: LocalExecutor, facts: Facts) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    executor.adopt([handle(intent(executor, 1, "quick"), f"{boot}:{os.getpid()}:1")])
    assert facts.await_one(Gone, 1).finished


def _is_zygote(pid: int) -> bool:
    return b"execplane.worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
