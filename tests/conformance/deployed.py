"""A running execplane with one executor, as the conformance tests use it: triggers, rows, logs, and ways to hurt it."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from execplane.contract.process import all_processes, descendants
from tests.conformance.little_memory import little_memory
from tests.conformance.recorder import Recorder, Visit
from tests.parts.eventually import eventually, scaled
from tests.parts.kubernetes.cluster import Cluster, KubectlError
from tests.parts.standalone import Standalone

ROOT = Path(__file__).parents[2]
ENDED = ("success", "failed", "skipped", "rescheduled", "cancelled")
LAUNCH_TOKEN = """
from execplane.compose import Deployment, setup
deployment = Deployment(setup())
print(deployment.mint.launch_token({attempt_id}, deployment.clock.now()))
"""
_numbers = itertools.count(1)


@dataclass
class Deployed:
    """`cluster` and `namespace` are there when the executor makes pods; `database_url` when it is not SQLite."""

    executor: str
    standalone: Standalone
    recorder: Recorder
    cluster: Cluster | None = None
    namespace: str = ""
    database_url: str = ""
    _started: dict[str, str] = field(default_factory=dict)

    @property
    def makes_pods(self) -> bool:
        return self.cluster is not None

    @property
    def recorder_address(self) -> str:
        host = self.cluster.host_address if self.cluster is not None else "127.0.0.1"
        return f"{host}:{self.recorder.port}"

    def trigger(self, dag_id: str, how: str = "done", **conf: Any) -> str:
        """A run of its own; gives the run_id."""
        run_id = f"{how}-{next(_numbers)}"
        wanted = {"recorder": self.recorder_address, "how": how, **conf}
        self.standalone.run("dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps(wanted))
        self._started[run_id] = dag_id
        return run_id

    def query(self, sql: str, *arguments: object) -> list[SimpleNamespace]:
        """Rows of the ledger, read beside the running server; `?` stands for an argument, JSON comes as text."""
        if self.database_url:
            with psycopg.connect(self.database_url, row_factory=dict_row) as server:
                set_json_loads(lambda text: text, server)
                return [SimpleNamespace(**row) for row in server.execute(sql.replace("?", "%s"), arguments)]
        with closing(sqlite3.connect(f"file:{self.standalone.home / 'execplane.sqlite3'}?mode=ro", uri=True)) as base:
            base.row_factory = sqlite3.Row
            return [SimpleNamespace(**dict(row)) for row in base.execute(sql, arguments)]

    def attempts(self, run_id: str, task_id: str = "work") -> list[SimpleNamespace]:
        """All of a task's, oldest first."""
        found = "SELECT * FROM execplane_attempt WHERE dag_id = ? AND run_id = ? AND task_id = ? ORDER BY attempt_no"
        return self.query(found, self._started[run_id], run_id, task_id)

    def instance(self, run_id: str, task_id: str = "work") -> SimpleNamespace:
        (row,) = self.query(
            "SELECT ti.* FROM execplane_taskinstance ti JOIN execplane_dagrun run ON run.id = ti.dagrun_id "
            "WHERE run.dag_id = ? AND run.run_id = ? AND ti.task_id = ?",
            *(self._started[run_id], run_id, task_id),
        )
        return row

    def ended(self, run_id: str, timeout_seconds: float = 60) -> str:
        """The run's state once it has ended."""

        def state() -> str | None:
            sql = "SELECT state FROM execplane_dagrun WHERE dag_id = ? AND run_id = ?"
            (row,) = self.query(sql, self._started[run_id], run_id)
            return row.state if row.state in ("success", "failed") else None

        return eventually(state, timeout_seconds, on_failure=lambda: self.evidence(run_id))

    def attempt_ended(self, run_id: str, number: int = 1, timeout_seconds: float = 60) -> SimpleNamespace:
        """The task's `number`-th attempt once it has ended."""

        def found() -> SimpleNamespace | None:
            rows = self.attempts(run_id)
            return rows[number - 1] if len(rows) >= number and rows[number - 1].state in ENDED else None

        return eventually(found, timeout_seconds, on_failure=lambda: self.evidence(run_id))

    def visit(self, run_id: str, number: int = 1, timeout_seconds: float = 60) -> Visit:
        """The `number`-th start of the task's code, once the recorder knows of it."""

        def found() -> Visit | None:
            visits = self.recorder.visits(run_id)
            return visits[number - 1] if len(visits) >= number else None

        return eventually(found, timeout_seconds, on_failure=lambda: self.evidence(run_id))

    def dead(self, visit: Visit, timeout_seconds: float = 30) -> float:
        """Wait until the task and everything it started are gone; gives the time."""
        return eventually(lambda: visit.ended, timeout_seconds, on_failure=lambda: self.evidence(visit.run_id))

    def records(self, attempt_id: int) -> list[dict[str, Any]]:
        """The log lines that a reader is shown now, with their offsets."""
        found: list[dict[str, Any]] = []
        while True:
            offset = found[-1]["offset"] + 1 if found else 0
            page = json.loads(self.standalone.get(f"/attempts/{attempt_id}/log.json?offset={offset}"))["page"]
            if not page["records"]:
                return found
            found += page["records"]

    def messages(self, attempt_id: int) -> list[str]:
        return [record["message"] for record in self.records(attempt_id)]

    def xcom(self, run_id: str, task_id: str = "work", key: str = "return_value") -> Any:
        """The value as the ledger keeps it; None for one in the blob store."""
        sql = "SELECT value FROM execplane_xcom WHERE ti_id = ? AND key = ?"
        (row,) = self.query(sql, self.instance(run_id, task_id).id, key)
        return json.loads(row.value) if row.value is not None else None

    def cancel(self, attempt_id: int) -> None:
        """As an operator presses the button."""
        self.standalone.post(f"/attempts/{attempt_id}/cancel", reason="enough")

    def python(self, program: str) -> str:
        """Run a program beside the server, with its settings; gives what it prints."""
        environment = {**self.standalone.environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Ways to hurt a worker

    def kill_worker(self, attempt: SimpleNamespace) -> None:
        """Without a word: SIGKILL, or the pod taken away with no grace."""
        if self.cluster is None:
            os.kill(process_of(attempt.pod_uid), signal.SIGKILL)
            return
        self.cluster.kubectl(*self._delete(attempt), "--grace-period=0", "--force")

    def terminate_worker(self, attempt: SimpleNamespace) -> None:
        """SIGTERM from somebody who is not execplane."""
        if self.cluster is None:
            os.kill(process_of(attempt.pod_uid), signal.SIGTERM)
            return
        self.cluster.kubectl(*self._delete(attempt), "--grace-period=10")

    def _delete(self, attempt: SimpleNamespace) -> Sequence[str]:
        return ("delete", "pod", attempt.pod_name, f"--namespace={self.namespace}", "--wait=false")

    def launch_again(self, attempt: SimpleNamespace, *, attempt_id: int = 0) -> tuple[int, str]:
        """The attempt's worker once more, by hand: beside the first process, or in its very container.

        Gives the exit code and what it wrote.
        """
        (intent,) = self.query("SELECT data FROM execplane_blob WHERE sha256 = ?", attempt.intent_sha256)
        start = start_of(zlib.decompress(intent.data))
        if attempt_id:
            start = json.dumps({**json.loads(start), "attempt_id": attempt_id})
        if self.cluster is not None:
            command = ["python", "-m", "execplane.worker", start]
            pod = ("exec", attempt.pod_name, f"--namespace={self.namespace}", "--container=base", "--")
            try:
                return 0, self.cluster.kubectl(*pod, *command)
            except subprocess.TimeoutExpired:
                return -1, "it was not refused: it went on until kubectl was killed"
            except KubectlError as error:
                code = re.search(r"exit code (\d+)", str(error))
                return int(code[1]) if code else -1, str(error)
        token = self.standalone.home / "launch-token"
        token.write_text(self.python(LAUNCH_TOKEN.format(attempt_id=json.loads(start)["attempt_id"])))
        environment = {**self.standalone.environment, "EXECPLANE_TOKEN_FILE": str(token)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "execplane.worker", start],
                env={**environment, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=scaled(30),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, "it was not refused: it went on until it was killed"
        return done.returncode, done.stderr

    @contextmanager
    def little_memory(self, limit_bytes: int) -> Iterator[None]:
        """For server, zygote and workers together; a pod's limit is in its spec."""
        if self.makes_pods:
            yield
            return
        process = self.standalone.process
        assert process is not None
        with little_memory([process.pid, *descendants(process.pid)], limit_bytes):
            yield

    def zygotes(self) -> list[int]:
        """The server's own children that fork its workers."""
        process = self.standalone.process
        assert process is not None
        below = [info.pid for info in all_processes() if info.ppid == process.pid]
        return [pid for pid in below if b"execplane.worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The whole server stands still: connections are taken and never answered. Workers are not touched."""
        process = self.standalone.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def evidence(self, run_id: str) -> str:
        rows = self.query("SELECT * FROM execplane_attempt WHERE run_id = ?", run_id)
        shown = [(row.id, row.task_id, row.attempt_no, row.state, row.category, row.reason) for row in rows]
        story = self.query(
            "SELECT e.attempt_id, e.seq, e.at, e.actor, e.to_state, e.reason FROM execplane_attemptevent e "
            "JOIN execplane_attempt a ON a.id = e.attempt_id WHERE a.run_id = ? ORDER BY e.id",
            run_id,
        )
        pods = self.cluster.dump(self.namespace) if self.cluster is not None else ""
        told = "\n".join(" ".join(map(str, vars(event).values())) for event in story)
        visits = self.recorder.visits_of_run(run_id)
        return f"attempts {shown}\nvisits {visits}\n{told}\n{self.standalone.tail()}\n{pods}"


def start_of(body: bytes) -> str:
    """The WorkerStart in an intent: all of a local one, the last argument of a pod's."""
    found = json.loads(body)
    if found.get("kind") != "Pod":
        return body.decode()
    base = next(one for one in found["spec"]["containers"] if one["name"] == "base")
    return str(base["args"][-1])


def process_of(uid: str) -> int:
    """The pid in a local worker's uid "<boot>:<pid>:<start ticks>"."""
    return int(uid.split(":")[1])
