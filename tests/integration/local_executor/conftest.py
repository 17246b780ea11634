"""The local executor with its real zygote, the real worker and the real sdk, against a stub of the worker API."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Acknowledged, Fact
from execplane.contract.process import living_pid, process_info
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.local import LocalExecutor
from execplane.executors.local_options import LocalOptions
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi, claim_answer

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
    def family():
        in_session = subprocess.Popen(["sleep", "1000"], env={}, process_group=0)
        moved_away = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        print("sleepers", in_session.pid, moved_away.pid)
        moved_away.wait()

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
    quick(), fails(), crashes(), family(), waits("{stop}"), deaf(), environment()
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
    return sleepers(api, attempt_id)[0]


def sleepers(api: StubApi, attempt_id: int) -> list[int]:
    """The processes that the task started, as it says itself."""
    found = eventually(lambda: [m for m in api.messages(attempt_id) if m.startswith("sleeper")])
    return [int(pid) for pid in found[0].split()[1:]]


def is_dead(pid: int) -> bool:
    info = process_info(pid)
    return info is None or info.state in "ZX"
