"""Every example runs, on the local executor and as pods of a real cluster, and does what it says."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.standalone import Standalone

EXAMPLES = Path(__file__).parents[2] / "examples"

STATES: dict[str, tuple[str, dict[str, int]]] = {
    "branching": ("success", {"success": 5, "skipped": 2}),
    "dynamic_mapping": ("success", {"success": 19}),
    "example_dag_two": ("success", {"success": 2}),
    "k8s_executor_example": ("success", {"success": 1}),
    "pod_override_dict": ("success", {"success": 2}),
    "retries_and_timeouts": ("failed", {"success": 1, "failed": 1}),
    "sensors": ("success", {"success": 5, "skipped": 1}),
    "short_circuit": ("success", {"success": 7, "skipped": 3}),
    "task_groups": ("success", {"success": 11}),
    "taskflow_etl": ("success", {"success": 3}),
    "templates": ("success", {"success": 3}),
    "trigger_rules": ("failed", {"success": 6, "failed": 1, "skipped": 5, "upstream_failed": 2}),
    "typed_params": ("success", {"success": 1}),
    "variables_and_connections": ("success", {"success": 3}),
    "xcom_values": ("success", {"success": 4}),
}
"""DAG -> the run's state and how many of its task instances ended in which."""

FIRST_VERDICT_STICKS = {"on_all_success"}
"""Skipped or upstream_failed, as a skip or a failure comes first: not counted."""


@pytest.fixture(scope="module", params=["local", "kubernetes"])
def examples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A deployment in which every example has been triggered once."""
    settings: dict[str, str] = {"executor": request.param, "worker__heartbeat_seconds": "2"}
    if request.param == "kubernetes":
        cluster: Cluster = request.getfixturevalue("cluster")
        namespace = f"test-{secrets.token_hex(4)}"
        cluster.create_namespace(namespace)
        settings |= {
            "web__host": "0.0.0.0",
            "kubernetes__kubeconfig": str(cluster.kubeconfig),
            "kubernetes__namespace": namespace,
            "kubernetes__image": request.getfixturevalue("worker_image"),
            "kubernetes__slots": "12",
        }
    one = Standalone(tmp_path_factory.mktemp(request.param) / "home", EXAMPLES, **settings)
    one.environment["EXECPLANE_DAGS_ARE_PAUSED_AT_CREATION"] = "true"
    if request.param == "kubernetes":
        one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{one.port}"
    one.start()
    eventually(lambda: len(one.json("dags", "list")) == len(STATES), timeout_seconds=60, on_failure=one.tail)
    one.run("variables", "set", "region", "north")
    one.run("connections", "set", "warehouse", "postgres://reader:opensesame@warehouse.example:5432/sales")
    for dag_id in sorted(STATES):
        one.run("dags", "trigger", dag_id, "--run-id", "example")
        one.run("dags", "unpause", dag_id)
    yield one
    one.stop()
    if request.param == "kubernetes":
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def ended(one: Standalone, dag_id: str) -> dict[str, Any]:
    """The example's run once it has ended, with its task instances."""

    def run() -> dict[str, Any] | None:
        shown: dict[str, Any] = one.json("runs", "show", dag_id, "example")
        return shown if shown["state"] in ("success", "failed") else None

    return eventually(
        run,
        timeout_seconds=240,
        interval_seconds=0.5,
        on_failure=lambda: f"{one.run('runs', 'show', dag_id, 'example')}\n{one.tail()}",
    )


def executor_of(one: Standalone) -> str:
    return one.environment["EXECPLANE_EXECUTOR"]


@pytest.mark.parametrize("dag_id", sorted(STATES))
def test_an_example_ends_as_it_says(examples: Standalone, dag_id: str) -> None:
    run = ended(examples, dag_id)
    counted: Counter[str] = Counter()
    for task in run["tasks"]:
        if task["task_id"] not in FIRST_VERDICT_STICKS:
            counted.update(task["instances"] or {task["state"]: 1})
    assert (run["state"], dict(counted)) == STATES[dag_id], json.dumps(run["tasks"], indent=1)


def test_values_travel_between_the_tasks_of_the_etl_example(examples: Standalone) -> None:
    ended(examples, "taskflow_etl")
    assert "2 orders, 42 in all" in examples.run("tasks", "logs", "taskflow_etl", "example", "load")


def test_templates_are_rendered_from_the_file_beside_the_dag(examples: Standalone) -> None:
    ended(examples, "templates")
    attempt = examples.json("attempts", "list", "templates", "example", "template_file")[0]
    page = examples.get(f"/attempts/{attempt['id']}/rendered")
    assert "{{" not in page.split("<main", 1)[1]


def test_variables_and_connections_reach_the_top_of_the_file_templates_and_tasks(examples: Standalone) -> None:
    ended(examples, "variables_and_connections")

    def log(task_id: str) -> str:
        return examples.run("tasks", "logs", "variables_and_connections", "example", task_id)

    assert "the region is north" in log("top_of_the_file")
    assert "the region is north" in log("template")
    assert "postgres at warehouse.example:5432, as reader with the password ***" in log("connection")


def test_overrides_reach_the_pod(examples: Standalone) -> None:
    for dag_id, task_id, text in (
        ("pod_override_dict", "show_override", "greeting=hello"),
        ("pod_override_dict", "legacy_dict", "greeting=hello"),
    ):
        ended(examples, dag_id)
        log = examples.run("tasks", "logs", dag_id, "example", task_id)
        expected = text if executor_of(examples) == "kubernetes" else "greeting="
        assert expected in log
    if executor_of(examples) == "kubernetes":
        attempt = examples.json("attempts", "list", "pod_override_dict", "example", "show_override")[0]
        pod = examples.get(f"/attempts/{attempt['id']}/pod.yaml")
        assert "purpose: pod-override-dict" in pod
        assert "cpu: 50m" in pod
        assert "restartPolicy: Never" in pod


def test_the_articles_dag_gives_its_pod_a_label_and_a_variable(examples: Standalone) -> None:
    ended(examples, "k8s_executor_example")
    attempt = examples.json("attempts", "list", "k8s_executor_example", "example", "get_testing_increase")[0]
    xcoms = examples.get(f"/attempts/{attempt['id']}/xcoms")
    assert "12345" in xcoms
    if executor_of(examples) == "kubernetes":
        pod = examples.get(f"/attempts/{attempt['id']}/pod.yaml")
        assert "purpose: pod-override-example" in pod
        assert "name: STATE" in pod
