"""The local executor with its real zygote, the real worker and the real sdk, against a stub of the worker API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Acknowledged, Cleaned, Fact, Gone, LaunchRefused
from execplane.contract.process import all_processes, living_pid, process_info
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.local import LocalExecutor
from execplane.executors.local_options import LocalOptions
from execplane.executors.local_zygote import environment
from execplane.executors.sequential import SequentialExecutor
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi, claim_answer

ROOT = Path(__file__).parents[2]
F = TypeVar("F")
DAG_FILE = """
import os, signal, subprocess, sys, time
from datetime import timedelta
from execplane import DAG, task
from execplane.sdk import BaseOperator, BashOperator

with DAG("dag", schedule=None):

    @task
    def quick():
        print("quick is process", os.getpid())
        return {"answer": 42}

    @task
    def fails():
        raise ValueError("a bad day")

    @task
    def crashes():
        os.kill(os.getpid(), signal.SIGSEGV)

    @task
    def waits(path):
        sleeper = subprocess.Popen(["sleep", "1000"])
        print("sleeper", sleeper.pid)
        while not os.path.exists(path):
            time.sleep(0.02)
        sleeper.kill()
        sleeper.wait()

    @task
    def deaf():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        print("sleeper", sleeper.pid)
        while True:
            time.sleep(1)

    @task
    def environment():
        print(sorted(name for name in os.environ if name.startswith("EXECPLANE_")))
        print("args", open("/proc/self/cmdline").read(), open("/proc/self/environ").read())

    @task(execution_timeout=timedelta(seconds=0.3))
    def slow():
        while True:
            time.sleep(1)

    @task
    def leaves(how):
        {"sys.exit": sys.exit, "os._exit": os._exit}[how](3)

    class Careful(BaseOperator):
        def execute(self, context):
            self.log.info("sleeper %s", os.getpid())
            while True:
                time.sleep(1)

        def on_kill(self):
            self.log.info("on_kill was called")

    Careful(task_id="careful")
    BashOperator(task_id="bash", bash_command="echo sleeper $$; exec sleep 1000")
    leaves.override(task_id="sys_exit")("sys.exit"), leaves.override(task_id="os_exit")("os._exit"), slow()
    quick(), fails(), crashes(), waits("{stop}"), deaf(), environment()
"""


class Facts:
    """What the executor reported."""

    def __init__(self) -> None:
        self.all: list[Fact] = []

    def __call__(self, facts: Any) -> None:
        self.all += facts

    def of(self, kind: type[F], attempt_id: int | None = None) -> list[F]:
        return [
            fact
            for fact in self.all
            if isinstance(fact, kind) and (attempt_id is None or fact.attempt_id == attempt_id)
        ]

    def await_one(self, kind: type[F], attempt_id: int, count: int = 1) -> F:
        return eventually(
            lambda: self.of(kind, attempt_id) if len(self.of(kind, attempt_id)) >= count else [],
            on_failure=lambda: repr(self.all),
            interval_seconds=0.01,
        )[count - 1]


@pytest.fixture
def stop_file(tmp_path: Path) -> Path:
    return tmp_path / "stop"


@pytest.fixture
def api(tmp_path: Path, stop_file: Path) -> Iterator[StubApi]:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "dag.py").write_text(DAG_FILE.replace("{stop}", str(stop_file)))
    with StubApi(claim_answer(dags_folder=str(folder)), unix=str(tmp_path / "api.sock")) as api:
        yield api


Make = Callable[..., LocalExecutor]


@pytest.fixture
def options(api: StubApi, tmp_path: Path) -> LocalOptions:
    worker = {
        "work_dir": str(tmp_path / "work"),
        "log_first_flush_seconds": 0.05,
        "backoff_first_seconds": 0.02,
        "backoff_cap_seconds": 0.2,
    }
    return LocalOptions(
        api_url=api.url,
        worker_options=msgspec.json.encode(worker).decode(),
        work_dir=str(tmp_path / "work"),
        kill_margin_seconds=0.5,
        restart_first_seconds=0.02,
    )


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def executor(options: LocalOptions, facts: Facts) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(options, clock=SystemClock(), mint_token=lambda start: f"token-{start.attempt_id}")
    executor.start(facts)
    yield executor
    executor.close()
    _kill_all(facts)


def _kill_all(facts: Facts) -> None:
    for known in facts.of(Acknowledged):
        pid = living_pid(known.uid)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def workload(attempt_id: int, task_id: str) -> Workload:
    task = TaskKey(dag_id="dag", run_id="manual__1", task_id=task_id)
    return Workload(
        attempt_id=attempt_id,
        key=AttemptKey(task=task, attempt_no=attempt_id),
        try_number=1,
        deployment_id="d",
        incarnation=1,
        api_url="http://not-used.invalid",
        dag_file="dag.py",
        bundle="",
    )


def intent(executor: LocalExecutor, attempt_id: int, task_id: str) -> Intent:
    return executor.build(workload(attempt_id, task_id))


def handle(intent: Intent, uid: str) -> Handle:
    return Handle(attempt_id=intent.attempt_id, key=intent.key, name=intent.name, uid=uid)


def sleeper(api: StubApi, attempt_id: int) -> int:
    found = eventually(lambda: [m for m in api.messages(attempt_id) if m.startswith("sleeper")])
    return int(found[0].split()[1])


def test_an_attempt_is_launched_acknowledged_run_and_gone(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    executor.launch([intent(executor, 1, "quick")])
    gone = facts.await_one(Gone, 1)
    known = facts.await_one(Acknowledged, 1)
    assert known.uid == gone.uid == api.claims[0].uid
    assert (gone.diagnosis.category, gone.diagnosis.exit_code) == ("completed", 0)
    assert api.tokens[0] == "token-1"
    end = api.ends[1]
    assert end.outcome == "success", end
    assert msgspec.json.decode(end.xcoms[0].value) == {"answer": 42}
    assert end.map_length == 1
    assert any(message.startswith("quick is process") for message in api.messages(1))


def test_failures_and_crashes_hurt_nobody_else(
    executor: LocalExecutor, facts: Facts, api: StubApi, stop_file: Path
) -> None:
    names = ["waits", "fails", "crashes", "quick"]
    executor.launch([intent(executor, number, name) for number, name in enumerate(names, 1)])
    for number in (2, 3, 4):
        facts.await_one(Gone, number)
    assert api.ends[2].outcome == "failed"
    assert "a bad day" in api.ends[2].reason
    assert "killed by SIGSEGV" in api.ends[3].reason
    assert api.ends[4].outcome == "success"
    assert not facts.of(Gone, 1)
    stop_file.touch()
    facts.await_one(Gone, 1)
    assert api.ends[1].outcome == "success"


def test_a_duplicate_launch_of_a_living_attempt_is_acknowledged_as_the_same(
    executor: LocalExecutor, facts: Facts, api: StubApi, stop_file: Path
) -> None:
    waits = intent(executor, 1, "waits")
    executor.launch([waits, waits])
    first = facts.await_one(Acknowledged, 1)
    executor.launch([waits])
    second = facts.await_one(Acknowledged, 1, count=2)
    assert first.uid == second.uid
    stop_file.touch()
    facts.await_one(Gone, 1)
    assert len(api.claims) == 1


def test_stop_ends_a_polite_task_as_terminated(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    waits = intent(executor, 1, "waits")
    executor.launch([waits])
    process = sleeper(api, 1)
    api.stop_reason = "cancelled by alice"
    executor.stop([handle(waits, facts.await_one(Acknowledged, 1).uid)], grace_seconds=10)
    gone = facts.await_one(Gone, 1)
    assert gone.diagnosis.exit_code == 1
    assert (api.ends[1].outcome, api.ends[1].reason) == ("terminated", "cancelled by alice")
    assert process_info(process) is None


@pytest.mark.parametrize("task_id", ["careful", "bash"])
def test_stop_calls_the_operators_on_kill(executor: LocalExecutor, facts: Facts, api: StubApi, task_id: str) -> None:
    careful = intent(executor, 1, task_id)
    executor.launch([careful])
    process = int(eventually(lambda: [m for m in api.messages(1) if "sleeper" in m])[0].split()[-1])
    executor.stop([handle(careful, facts.await_one(Acknowledged, 1).uid)], grace_seconds=10)
    facts.await_one(Gone, 1)
    assert (api.ends[1].outcome, api.ends[1].reason) == ("terminated", "terminated by SIGTERM")
    assert process_info(process) is None
    if task_id == "careful":
        assert "on_kill was called" in api.messages(1)


@pytest.mark.parametrize(
    ("task_id", "outcome", "said"),
    [
        ("slow", "timeout", "execution_timeout of 0.3 s"),
        ("sys_exit", "failed", "SystemExit: 3"),
        ("os_exit", "failed", "exited with code 3"),
    ],
)
def test_every_way_out_of_a_task_is_told(
    executor: LocalExecutor, facts: Facts, api: StubApi, task_id: str, outcome: str, said: str
) -> None:
    executor.launch([intent(executor, 1, task_id)])
    assert facts.await_one(Gone, 1).diagnosis.exit_code == 1
    assert api.ends[1].outcome == outcome
    assert said in api.ends[1].reason


def test_stop_kills_what_is_deaf_and_all_its_processes(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    deaf = intent(executor, 1, "deaf")
    executor.launch([deaf])
    process = sleeper(api, 1)
    api.go_down()  # so that the worker itself cannot end, either
    executor.stop([handle(deaf, facts.await_one(Acknowledged, 1).uid)], grace_seconds=0.1)
    gone = facts.await_one(Gone, 1)
    assert gone.diagnosis.category == "stopped"
    eventually(lambda: (info := process_info(process)) is None or info.state == "Z")


def test_stop_of_something_gone_is_a_gone(executor: LocalExecutor, facts: Facts) -> None:
    executor.stop([handle(intent(executor, 1, "quick"), "no-boot:1:1")], grace_seconds=0)
    assert facts.await_one(Gone, 1).finished is False


def test_a_killed_worker_is_gone_and_its_orphans_are_killed(
    executor: LocalExecutor, facts: Facts, api: StubApi
) -> None:
    executor.launch([intent(executor, 1, "deaf")])
    process = sleeper(api, 1)
    pid = living_pid(facts.await_one(Acknowledged, 1).uid)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    gone = facts.await_one(Gone, 1)
    assert (gone.diagnosis.category, gone.diagnosis.exit_code) == ("signal", 137)
    assert "killed by SIGKILL" in gone.diagnosis.sentence
    eventually(lambda: (info := process_info(process)) is None or info.state == "Z")


def test_a_refused_worker_is_gone_with_that_reason(executor: LocalExecutor, facts: Facts, api: StubApi) -> None:
    api.holders[1] = ("another", "nonce")
    executor.launch([intent(executor, 1, "quick")])
    assert facts.await_one(Gone, 1).diagnosis.category == "refused"


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


def test_tasks_see_neither_tokens_nor_settings(
    api: StubApi, options: LocalOptions, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECPLANE_SECRET_KEY", "do-not-tell")
    monkeypatch.setenv("EXECPLANE_VAR_PLACE", "kept")
    executor = LocalExecutor(options, clock=SystemClock(), mint_token=lambda start: "launch-secret")
    executor.start(facts)
    try:
        executor.launch([intent(executor, 1, "environment")])
        facts.await_one(Gone, 1)
    finally:
        executor.close()
    said = "\n".join(api.messages(1))
    assert "EXECPLANE_VAR_PLACE" in said
    assert "args" in said
    for secret in ("do-not-tell", "EXECPLANE_SECRET_KEY", "launch-secret", "attempt-token"):
        assert secret not in said


def test_clean_deletes_unsent_lines_and_says_so(executor: LocalExecutor, facts: Facts, tmp_path: Path) -> None:
    left = tmp_path / "work" / "logs" / "1-abc.jsonl"
    other = left.with_name("11-abc.jsonl")
    left.parent.mkdir(parents=True)
    left.touch()
    other.touch()
    executor.clean([handle(intent(executor, 1, "quick"), "")], failed=True)
    facts.await_one(Cleaned, 1)
    assert (left.exists(), other.exists()) == (False, True)


def test_an_intent_that_cannot_be_launched_does_not_stop_the_others(
    executor: LocalExecutor, facts: Facts, api: StubApi
) -> None:
    broken = msgspec.structs.replace(intent(executor, 1, "quick"), body=b"{}")
    executor.launch([broken, intent(executor, 2, "quick")])
    assert facts.await_one(LaunchRefused, 1).retry is False
    facts.await_one(Gone, 2)


def test_the_sequential_executor_is_the_local_one_with_one_slot(options: LocalOptions) -> None:
    executor = SequentialExecutor(options, clock=SystemClock(), mint_token=lambda start: "")
    assert (executor.name, executor.slots()) == ("sequential", 1)
    executor.close()


def test_only_named_settings_reach_the_zygote() -> None:
    source = {"PATH": "/bin", "EXECPLANE_HOME": "h", "EXECPLANE_CONN_A": "c", "EXECPLANE_DATABASE_URL": "d"}
    found = environment(source, ("EXECPLANE_HOME",))
    assert set(found) - {"PYTHONPATH"} == {"PATH", "EXECPLANE_HOME", "EXECPLANE_CONN_A"}


def _is_zygote(pid: int) -> bool:
    return b"execplane.worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
