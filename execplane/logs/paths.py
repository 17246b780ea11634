"""Where an attempt's log lies: Airflow's layout, with names that can do no harm in a path. Pure."""

from __future__ import annotations

import hashlib
import re

from execplane.contract.keys import NOT_MAPPED, AttemptKey

_UNSAFE = re.compile(rb"[^A-Za-z0-9_.:+@=~ -]")
_NAME_BYTES = 200
"""File systems allow 255 bytes a name."""


def log_path(key: AttemptKey) -> str:
    """`dag_id=…/run_id=…/task_id=…/[map_index=N/]attempt=N.log`."""
    task = key.task
    mapped = f"map_index={task.map_index}/" if task.map_index != NOT_MAPPED else ""
    return f"{run_path(task.dag_id, task.run_id)}/task_id={escape(task.task_id)}/{mapped}attempt={key.attempt_no}.log"


def run_path(dag_id: str, run_id: str) -> str:
    """The folder of a run's logs."""
    return f"dag_id={escape(dag_id)}/run_id={escape(run_id)}"


def escape(name: str) -> str:
    """`name` as part of a file name: unusual bytes as %XX, and what gets too long cut and told apart by a hash."""
    data = name.encode("utf-8", errors="surrogatepass")
    safe = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], data).decode("ascii")
    if len(safe) <= _NAME_BYTES:
        return safe
    return f"{safe[: _NAME_BYTES - 17]}%{hashlib.sha256(data).hexdigest()[:16]}"
