"""A stub API and a way to start workers against it; whatever a test leaves running is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.process import kill_descendants
from execplane.contract.workload import WorkerStart
from execplane.worker.options import WorkerOptions
from tests.unit.worker.harness import Settings
from tests.unit.worker.stub_api import StubApi, claim_answer

ROOT = Path(__file__).parents[3]


def key(task_id: str = "task") -> AttemptKey:
    task = TaskKey(dag_id="dag", run_id="manual__1", task_id=task_id)
    return AttemptKey(task=task, attempt_no=1)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubApi]:
    folder = tmp_path / "dags"
    folder.mkdir()
    with StubApi(claim_answer(dags_folder=str(folder))) as api:
        yield api


StartWorker = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_worker(api: StubApi, tmp_path: Path) -> Iterator[StartWorker]:
    processes: list[subprocess.Popen[str]] = []

    def start(
        user_code: str, argument: str = "", *, uid: str = "", in_pod: bool = False, url: str = "", **options: Any
    ) -> Any:
        settings = Settings(
            start=WorkerStart(attempt_id=1, key=key(), api_url=url or api.url, deployment_id="d"),
            options=WorkerOptions(
                **{
                    "work_dir": str(tmp_path / "work"),
                    "backoff_first_seconds": 0.02,
                    "backoff_cap_seconds": 0.2,
                    "log_first_flush_seconds": 0.1,
                    "log_flush_seconds": 0.3,
                    "termination_log": "",
                    **options,
                }
            ),
            user_code=user_code,
            argument=argument,
            uid=uid,
            in_pod=in_pod,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.worker.harness", msgspec.json.encode(settings).decode()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            kill_descendants(process.pid)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        process.communicate()
