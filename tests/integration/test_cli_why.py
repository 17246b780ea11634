"""`execplane attempts why` and `execplane tasks why`."""

from __future__ import annotations

from pathlib import Path

import pytest

from execplane.config import current
from execplane.contract.clock import SystemClock
from tests.integration.cli_runner import execplane, save_attempt, save_dag, save_run

pytestmark = pytest.mark.django_db


def test_the_first_line_is_the_sentence_and_the_next_ones_what_unblocks_it() -> None:
    attempt = save_attempt(save_run(save_dag()), "extract", state="queued", pool="etl")

    said = execplane("attempts", "why", str(attempt.pk))

    assert said.code == 0
    first, *others = said.out.splitlines()
    assert first == "No process drives the local executor: none has started yet. (no_driver)"
    assert any(line.startswith("  What unblocks it: ") for line in others)
    assert "  The pool etl does not exist: create it, or name another in the DAG file. (pool_missing)" in others
    as_json = execplane("attempts", "why", str(attempt.pk), "-o", "json").json
    assert [one["code"] for one in as_json["reasons"]] == ["no_driver", "pool_missing"]
    assert as_json["pending"] is True


def test_a_task_is_asked_by_its_names_and_may_have_no_attempt() -> None:
    save_attempt(save_run(save_dag()), "extract", state="queued")

    said = execplane("tasks", "why", "orders", "r1", "load")

    assert said.code == 0
    assert said.out.startswith("No scheduler has reported at all: nothing is decided. (scheduler_down)")
    assert "(run_not_started)" in said.out
    assert execplane("tasks", "why", "orders", "r1", "none").code == 3
    assert execplane("attempts", "why", "999999").code == 3


def test_a_pod_is_looked_at_and_where_no_cluster_answers_what_is_known_of_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    message = "0/3 nodes are available: 3 Insufficient cpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    now = SystemClock().now()
    attempt = save_attempt(
        save_run(save_dag()),
        "extract",
        state="launched",
        executor="kubernetes",
        namespace="jobs",
        pod_name="orders-extract-1",
        launched_at=now,
        acknowledged_at=now,
        status={"phase": "Pending", "conditions": [condition]},
    )
    config = current()
    cluster = config.kubernetes.model_copy(update={"kubeconfig": tmp_path / "none"})
    config = config.model_copy(update={"executor": "kubernetes", "kubernetes": cluster})
    monkeypatch.setattr("execplane.compose.current", lambda: config)

    said = execplane("attempts", "why", str(attempt.pk), "-o", "json").json

    assert [one["code"] for one in said["reasons"]] == ["no_driver", "insufficient_resources"]
    assert said["reasons"][1]["sentence"] == "No node fits: 3 of 3 have too little free cpu."
    assert [one["what"] for one in said["unread"]] == ["The pod"]
    assert "No usable Kubernetes configuration" in said["unread"][0]["why"]
