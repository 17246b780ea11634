"""A failed task's container is there to be looked into, while its retry goes on, until somebody lets it go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.standalone import Standalone

DAG = """
from datetime import timedelta

from execplane import DAG
from execplane.sdk import BashOperator

with DAG("held"):
    BashOperator(
        task_id="breaks",
        bash_command="echo evidence of {{ ti.try_number }} > /tmp/evidence; echo about to fail; exit 3",
        retries=1,
        retry_delay=timedelta(0),
        executor_config={"hold_on_failure": "1h"},
    )
"""


@pytest.fixture
def standalone(cluster: Cluster, namespace: str, worker_image: str, tmp_path: Path) -> Iterator[Standalone]:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "held.py").write_text(DAG)
    settings = {
        "executor": "kubernetes",
        "web__host": "0.0.0.0",
        "kubernetes__kubeconfig": str(cluster.kubeconfig),
        "kubernetes__namespace": namespace,
        "kubernetes__image": worker_image,
    }
    one = Standalone(tmp_path / "home", dags, **settings)
    one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{one.port}"
    one.start()
    yield one
    one.stop()


def test_a_failed_container_stays_for_kubectl_exec_and_its_retry_does_not_wait(
    standalone: Standalone, cluster: Cluster, namespace: str
) -> None:
    eventually(lambda: "held" in standalone.run("dags", "list"), 30, on_failure=standalone.tail)
    standalone.run("dags", "trigger", "held", "--run-id", "by-hand", "--wait", "--timeout", "120", ok=False)

    attempts = {one["attempt_no"]: one for one in standalone.json("attempts", "list", "held")}
    assert {number: one["state"] for number, one in attempts.items()} == {1: "failed", 2: "failed"}
    first = attempts[1]
    pod, number = first["pod_name"], str(first["id"])
    told = standalone.run("attempts", "explain", number)
    assert "held for debugging" in told
    assert f"exec -it -n {namespace} {pod} -c base -- sh" in told
    assert "Held for debugging" in standalone.get(f"/attempts/{number}")

    found = cluster.kubectl("exec", pod, f"--namespace={namespace}", "--container=base", "--", "cat", "/tmp/evidence")
    assert found.strip() == "evidence of 1"
    assert state_of(cluster, namespace, pod) == {"running"}

    standalone.run("attempts", "release", number)

    eventually(lambda: state_of(cluster, namespace, pod) == {"terminated"}, 90, on_failure=standalone.tail)
    record = eventually(lambda: record_of(standalone, number), 30, on_failure=standalone.tail)
    assert any("about to fail" in one["text"] for one in record["lines"])
    url = record["pod"]["metadata"]["annotations"]["execplane.io/attempt-url"]
    assert url.endswith(f"/attempts/{number}")
    assert state_of(cluster, namespace, attempts[2]["pod_name"]) == {"running"}, "it is held on its own"


def state_of(cluster: Cluster, namespace: str, pod: str) -> set[str]:
    found = cluster.get("pod", pod, f"--namespace={namespace}")
    return {name for one in found["status"]["containerStatuses"] for name in one["state"]}


def record_of(standalone: Standalone, attempt_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = json.loads(standalone.run("attempts", "explain", attempt_id, "-o", "json"))
    record: dict[str, Any] | None = found["flight_record"]
    return record
