"""What every forked worker does, done a few times by the zygote before it forks.

CPython rewrites code when it gets hot, and tables are laid out when they are first asked for. Done here, once, that is
in pages that all forks share; left to the workers, each would do it anew and copy the pages for it, which costs more
than most tasks do. Nothing of it is seen from outside, and it leaves nothing behind.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from execplane.contract.clock import SystemClock
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.messages import ClaimAnswer, ClaimRequest, End, RunContext, TaskContext
from execplane.sdk import execution, loader, services
from execplane.worker.channel import Done, Line, Rendered, Result, Started
from execplane.worker.client import Client
from execplane.worker.logs import LogBook

_TIMES = 20
"""More often than CPython waits before it rewrites code (16 calls or so)."""
_DAG_ID = "rehearsal"
_FILE = f"""
from datetime import datetime
from execplane import DAG, task
from execplane.sdk.operators.bash import BashOperator

@task
def before():
    return 1

@task
def after(value):
    return {{"value": value}}

with DAG("{_DAG_ID}", schedule=None, start_date=datetime(2026, 1, 1), default_args={{"retries": 1}}):
    for number in range({_TIMES}):
        after.override(task_id=f"after_{{number}}")(before.override(task_id=f"before_{{number}}")())
    BashOperator(task_id="bash", bash_command="echo {{{{ ds }}}}")
"""
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_CLAIM = ClaimAnswer(
    token="",
    token_expires_at=_NOW,
    heartbeat_seconds=10.0,
    self_fence_seconds=60.0,
    grace_seconds=30.0,
    dag_file="rehearsal.py",
    bundle="",
    run=RunContext(run_type="manual", logical_date=_NOW, run_after=_NOW),
    task=TaskContext(try_number=1, max_tries=2),
)


def rehearse() -> list[str]:
    """Load a small DAG file, run tasks of it, and make the calls of a worker against answers prepared here.

    Returns how the tasks ended. A disk that cannot be written to costs the rehearsal, and nothing else.
    """
    path, environment = list(sys.path), dict(os.environ)
    outcomes: list[str] = []
    try:
        with suppress(OSError), tempfile.TemporaryDirectory() as folder:
            outcomes = _run_tasks(Path(folder))
            _keep_log(Path(folder))
        _call_the_api()
        _talk()
    finally:
        sys.path[:] = path
        sys.modules.pop(loader.module_name(_CLAIM.dag_file), None)
        os.environ.clear()
        os.environ.update(environment)
    return outcomes


def _run_tasks(folder: Path) -> list[str]:
    file = folder / _CLAIM.dag_file
    file.write_text(_FILE)
    for _ in range(3):
        dag = loader.load_file(file, folder).dag(_DAG_ID)
    keys = [TaskKey(dag_id=_DAG_ID, run_id="rehearsal", task_id=f"before_{number}") for number in range(_TIMES)]
    return [execution.execute(dag, key, _CLAIM, services.NoServices(), test_mode=True).outcome for key in keys]


def _keep_log(folder: Path) -> None:
    book = LogBook(folder / "log", clock=SystemClock(), memory_bytes=1 << 20, line_bytes=1 << 16)
    for _ in range(_TIMES):
        book.append("rehearsal", at=_NOW)
        book.take(1 << 16)
    book.close()


class _Prepared(Client):
    """Talks to a socket whose answers are written before the questions."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__("http://localhost", str, clock=SystemClock(), wait=lambda seconds: True)
        self._end = end

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self._end
        return connection


def _call_the_api() -> None:
    key = AttemptKey(task=TaskKey(dag_id=_DAG_ID, run_id="rehearsal", task_id="before_0"), attempt_no=1)
    request = ClaimRequest(attempt_id=0, key=key, uid="", nonce="")
    answer = msgspec.json.encode(_CLAIM)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = _Prepared(ours)
        for _ in range(_TIMES):
            theirs.sendall(head.encode() + answer)
            client.call("POST", "claim", ClaimAnswer, request, patience_seconds=1.0)
            theirs.recv(1 << 16)
        client.close()


def _talk() -> None:
    """The codecs between a worker and its task's process."""
    messages = (Line(at=_NOW, message=""), Started(at=_NOW), Rendered(fields={}), Done(), Result(outcome="success"))
    for message in messages:
        msgspec.msgpack.encode(message)
    msgspec.json.encode(End(nonce="", outcome="success", log_offset=0, ended_at=_NOW))
