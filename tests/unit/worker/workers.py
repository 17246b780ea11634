"""Starts workers as processes of their own against a stub API; whatever a test leaves running is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.process import all_processes, kill_descendants
from execplane.contract.workload import WorkerStart
from execplane.worker.options import WorkerOptions
from tests.unit.worker.harness import Settings

ROOT = Path(__file__).parents[3]
_MARK = "_TEST_WORKER_OF"


def key(task_id: str = "task") -> AttemptKey:
    task = TaskKey(dag_id="dag", run_id="manual__1", task_id=task_id)
    return AttemptKey(task=task, attempt_no=1)


class Workers:
    """Call it with the name of user code in `harness` to start a worker; options are WorkerOptions."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        user_code: str,
        argument: str = "",
        *,
        uid: str = "",
        in_pod: bool = False,
        url: str = "",
        **options: Any,
    ) -> subprocess.Popen[str]:
        defaults: dict[str, Any] = {
            "work_dir": str(self._folder / "work"),
            "backoff_first_seconds": 0.02,
            "backoff_cap_seconds": 0.2,
            "log_first_flush_seconds": 0.1,
            "log_flush_seconds": 0.3,
            "termination_log": "",
        }
        settings = Settings(
            start=WorkerStart(attempt_id=1, key=key(), api_url=url or self._url, deployment_id="d"),
            options=WorkerOptions(**(defaults | options)),
            user_code=user_code,
            argument=argument,
            uid=uid,
            in_pod=in_pod,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.worker.harness", msgspec.json.encode(settings).decode()],
            cwd=ROOT,
            env={**os.environ, _MARK: str(self._folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                kill_descendants(process.pid)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        for leftover in (info for info in all_processes() if self._is_ours(info.pid)):
            with suppress(ProcessLookupError):
                os.kill(leftover.pid, signal.SIGKILL)

    def _is_ours(self, pid: int) -> bool:
        """By an inherited variable: where a test kills a worker, what its task started is nobody's child."""
        with suppress(OSError):
            return f"{_MARK}={self._folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False
