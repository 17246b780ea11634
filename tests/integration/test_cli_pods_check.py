"""`execplane pods check`: which pods would be refused, without a cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from execplane import config
from execplane.contract.dag import DagSpec, TaskSpec
from tests.integration.cli_runner import execplane, save_dag

pytestmark = pytest.mark.django_db

POLICY = {"name": "baseline", "host_network": "forbid"}
HOST = {"pod_override": {"spec": {"hostNetwork": True}}}
SPEC = DagSpec(
    dag_id="orders",
    file="orders.py",
    tasks=(
        TaskSpec(task_id="good", operator="BashOperator"),
        TaskSpec(task_id="bad", operator="BashOperator", executor_config=HOST),
        TaskSpec(task_id="local", operator="BashOperator", executor_config=HOST, executor="local"),
    ),
)


@pytest.fixture(autouse=True)
def on_kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A deployment whose tasks run in pods, in a home of its own; where its hook may stand."""
    monkeypatch.setenv("EXECPLANE_HOME", str(tmp_path))
    monkeypatch.setenv("EXECPLANE_EXECUTOR", "kubernetes")
    monkeypatch.setenv("EXECPLANE_KUBERNETES__IMAGE", "r.example/worker:1")
    monkeypatch.setenv("EXECPLANE_KUBERNETES__POLICIES", json.dumps([POLICY]))
    monkeypatch.setattr(config, "current", lambda: config.load(os.environ))
    monkeypatch.setattr("execplane.compose.current", config.current)
    (tmp_path / "config").mkdir()
    save_dag(SPEC)
    return tmp_path / "config"


def test_a_pod_that_a_policy_forbids_is_shown_with_field_layer_and_policy() -> None:
    said = execplane("pods", "check")
    assert said.code == 1
    assert "bad" in said.out
    assert "spec.hostNetwork is true (set by task)" in said.out
    assert "good" not in said.out
    assert said.err == "1 of 2 pods would be refused.\n"


def test_a_script_gets_each_pod_and_who_set_its_fields() -> None:
    said = execplane("pods", "check", "orders", "--task", "good", "-o", "json")
    (row,) = said.json
    assert (said.code, row["allowed"], row["namespace"]) == (0, True, "default")
    assert row["pod"]["spec"]["containers"][0]["image"] == "r.example/worker:1"
    assert row["layers"]["spec.containers[0].image"] == "options"


def test_the_hook_has_its_word_before_the_policies(on_kubernetes: Path) -> None:
    (on_kubernetes / "airflow_local_settings.py").write_text(
        "def pod_mutation_hook(pod):\n    pod.spec.host_network = pod.metadata.annotations['task_id'] == 'good'\n"
    )
    (good, bad) = execplane("pods", "check", "-o", "json").json
    assert "(set by mutation hook)" in good["reason"]
    assert bad["allowed"]


def test_a_hook_that_cannot_be_imported_is_told_and_no_pod_is_judged(on_kubernetes: Path) -> None:
    (on_kubernetes / "airflow_local_settings.py").write_text("import no_such_module\n")
    said = execplane("pods", "check")
    assert "No module named 'no_such_module'" in said.err
    assert (said.code, said.out) == (4, "")


def test_a_task_without_its_dag_is_refused() -> None:
    assert "Name the DAG" in execplane("pods", "check", "--task", "good").err
