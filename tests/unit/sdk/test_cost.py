"""What an author's import costs, and that nothing heavy comes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def modules_after(code: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    return set(shown.stdout.split())


def test_importing_dag_and_task_loads_nothing_heavy() -> None:
    loaded = modules_after("from execplane import DAG, dag, task\nfrom execplane.sdk import BashOperator")
    heavy = {
        "django",
        "jinja2",
        "pendulum",
        "msgspec",
        "kubernetes",
        "cronsim",
        "yaml",
        "pydantic",
        "subprocess",
        "asyncio",
    }
    assert loaded & heavy == set()


def test_a_python_task_without_templates_needs_no_jinja_and_no_pendulum() -> None:
    code = """
from datetime import datetime, UTC
from execplane.contract.keys import TaskKey
from execplane.contract.messages import ClaimAnswer, RunContext, TaskContext
from execplane.sdk import DAG, PythonOperator, services
from execplane.sdk.execution import execute
with DAG("d", schedule=None) as dag:
    PythonOperator(task_id="t", python_callable=lambda: 1)
now = datetime(2024, 1, 1, tzinfo=UTC)
claim = ClaimAnswer(token="t", token_expires_at=now, heartbeat_seconds=1, self_fence_seconds=1, grace_seconds=1,
    dag_file="f", bundle="b", run=RunContext(run_type="manual", run_after=now),
    task=TaskContext(try_number=1, max_tries=0))
outcome = execute(dag, TaskKey(dag_id="d", run_id="r", task_id="t"), claim, services.NoServices())
assert outcome.outcome == "success", outcome
"""
    assert modules_after(code) & {"django", "jinja2", "pendulum", "kubernetes"} == set()
