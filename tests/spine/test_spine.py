"""The spine: a DAG file on disk becomes attempts, and what they wrote is read over HTTP."""

from __future__ import annotations

import pytest

from tests.parts.eventually import eventually
from tests.parts.standalone import Standalone


@pytest.mark.parametrize("executor", ["local", "sequential", "kubernetes"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_dag_file_becomes_attempts_whose_output_is_read_over_http(standalone: Standalone) -> None:
    eventually(
        lambda: "two_bash_tasks" in standalone.run("dags", "list"), timeout_seconds=30, on_failure=standalone.tail
    )

    standalone.run("dags", "trigger", "two_bash_tasks", "--run-id", "by-hand", "--wait", "--timeout", "120")

    attempts = standalone.json("attempts", "list", "two_bash_tasks")
    by_task = {attempt["task_id"]: attempt for attempt in attempts}
    assert {task: attempt["state"] for task, attempt in by_task.items()} == {"hello": "success", "again": "success"}
    log = standalone.get(f"/attempts/{by_task['again']['id']}/log.txt")
    assert "and again, after: hello from attempt 1" in log
    page = standalone.get("/dags/two_bash_tasks/runs/by-hand")
    assert "hello" in page
    assert "success" in page
