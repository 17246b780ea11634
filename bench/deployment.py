"""A real `execplane standalone` to measure: triggered over HTTP, its times read from its ledger."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from bench import processes
from tests.parts.eventually import eventually
from tests.parts.standalone import Standalone

TIMES = ("queued_at", "claimed_at", "launched_at", "acknowledged_at", "running_at", "user_code_at", "ended_at")


@dataclass(frozen=True, kw_only=True)
class AttemptTimes:
    """One attempt's phases, as the ledger has them."""

    id: int
    task_id: str
    state: str
    times: dict[str, datetime]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run: wall time from the trigger's request to the run's end, and CPU time of the deployment meanwhile."""

    run_id: str
    state: str
    seconds: float
    cpu_seconds: float
    triggered_at: datetime


class Deployment(Standalone):
    """The product in a process of its own."""

    def __init__(self, home: Path, dags: Path, **settings: str) -> None:
        super().__init__(home, dags, **settings)
        self.database_url = settings.get("database_url", "")
        self._session: urllib.request.OpenerDirector | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(processes.tree(self.pid))

    def wait_for_dag(self, dag_id: str) -> None:
        eventually(
            lambda: self.query("SELECT dag_id FROM execplane_dag WHERE dag_id = %s", dag_id), 60, on_failure=self.tail
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The public API, with a session: a password check a call would cost more than what is measured."""
        if self._session is None:
            self._session = self._log_in()
        handlers: list[Any] = vars(self._session)["handlers"]
        jar = next(each.cookiejar for each in handlers if isinstance(each, urllib.request.HTTPCookieProcessor))
        token = next(cookie.value for cookie in jar if "csrf" in cookie.name)
        headers = {"Content-Type": "application/json", "X-CSRFToken": str(token), "Referer": self.url}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        with self._session.open(request, timeout=60) as answer:
            return json.loads(answer.read())

    def trigger(self, dag_id: str) -> str:
        return str(self.call("POST", f"dags/{dag_id}/dagRuns", {})["dag_run_id"])

    def run_dag(self, dag_id: str, timeout_seconds: float = 120) -> Measured:
        """Trigger a run and wait for its end."""
        self.call("GET", "health")
        before, triggered_at = self.cpu_seconds(), datetime.now(UTC)
        run_id = self.trigger(dag_id)
        state, ended_at = eventually(
            lambda: self._ended(dag_id, run_id), timeout_seconds, on_failure=self.tail, interval_seconds=0.1
        )
        if state != "success":
            raise RuntimeError(f"the run {run_id} of {dag_id} ended as {state}:\n{self.tail()}")
        return Measured(
            run_id=run_id,
            state=state,
            seconds=(ended_at - triggered_at).total_seconds(),
            cpu_seconds=self.cpu_seconds() - before,
            triggered_at=triggered_at,
        )

    def _ended(self, dag_id: str, run_id: str) -> tuple[str, datetime] | None:
        rows = self.query(
            "SELECT state, ended_at FROM execplane_dagrun WHERE dag_id = %s AND run_id = %s", dag_id, run_id
        )
        return (rows[0][0], _moment(rows[0][1])) if rows and rows[0][1] else None

    def attempts(self, dag_id: str, run_id: str) -> list[AttemptTimes]:
        columns = ", ".join(TIMES)
        rows = self.query(
            f"SELECT id, task_id, state, {columns} FROM execplane_attempt"
            " WHERE dag_id = %s AND run_id = %s ORDER BY id",
            dag_id,
            run_id,
        )
        return [
            AttemptTimes(
                id=row[0],
                task_id=row[1],
                state=row[2],
                times={name: _moment(value) for name, value in zip(TIMES, row[3:], strict=True) if value},
            )
            for row in rows
        ]

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the ledger directly: what the product says of itself must not be what it is judged by."""
        if self.database_url:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                found = connection.execute(sql, values)
                return found.fetchall() if found.description else []
        path = self.home / "execplane.sqlite3"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=20)) as lite, lite:
            return lite.execute(sql.replace("%s", "?"), values).fetchall()


def _moment(value: datetime | str) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def deployment(folder: Path, dags: dict[str, str], *, reached_at: str = "", **settings: str) -> Iterator[Deployment]:
    """A running standalone with these DAG files (name -> source); pods find it at the host `reached_at`."""
    source = folder / "dags"
    source.mkdir(parents=True)
    for name, text in dags.items():
        (source / f"{name}.py").write_text(text)
    one = Deployment(folder / "home", source, **settings)
    if reached_at:
        one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{reached_at}:{one.port}"
    try:
        one.start()
        yield one
    finally:
        one.stop()
