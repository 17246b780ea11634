"""One deployment, several clusters: each has its own tasks, and one that is away stops none of the others."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.cluster.kube_proxy import KubeProxy, kube_proxy
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.standalone import Standalone

DAG = """
from datetime import datetime

from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("spread_out", schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 0}) as dag:
    BashOperator(task_id="here", bash_command="echo here")
    BashOperator(task_id="ruled", bash_command="echo ruled", owner="team-b")
    BashOperator(task_id="near", bash_command="echo near", executor="near")
    BashOperator(task_id="gone", bash_command="echo gone", executor="gone")
"""


@pytest.fixture
def other_namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    cluster.create_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[KubeProxy]:
    """A second address of the API server: to execplane, a second cluster."""
    with kube_proxy(cluster) as running:
        yield running


@pytest.fixture
def standalone(
    tmp_path: Path, cluster: Cluster, namespace: str, other_namespace: str, proxy: KubeProxy, worker_image: str
) -> Iterator[Standalone]:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "spread_out.py").write_text(DAG)
    near = proxy.write_kubeconfig(tmp_path / "near")
    gone = json.loads(near.read_text())
    gone["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    (tmp_path / "gone").write_text(json.dumps(gone))
    rule = {"name": "team-b", "owner": "team-b", "namespace": other_namespace}
    one = Standalone(
        tmp_path / "home",
        dags,
        executor="kubernetes",
        web__host="0.0.0.0",
        kubernetes__kubeconfig=str(cluster.kubeconfig),
        kubernetes__namespace=namespace,
        kubernetes__image=worker_image,
        kubernetes__rules=json.dumps([rule]),
        kubernetes__delete_worker_pods="false",
        # Both executors make pods in this namespace, of one and the same API server.
        clusters=json.dumps(
            {
                "near": {"kubeconfig": str(near), "namespace": other_namespace, "rules": []},
                "gone": {"kubeconfig": str(tmp_path / "gone"), "rules": []},
            }
        ),
    )
    one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{one.port}"
    one.start()
    yield one
    one.stop()


def test_each_cluster_runs_its_own_tasks_and_one_that_is_away_stops_no_other(
    standalone: Standalone, cluster: Cluster, namespace: str, other_namespace: str, proxy: KubeProxy
) -> None:
    eventually(lambda: "spread_out" in standalone.run("dags", "list"), timeout_seconds=30, on_failure=standalone.tail)
    standalone.run("dags", "trigger", "spread_out", "--run-id", "by-hand")

    def by_task() -> dict[str, dict[str, Any]]:
        found = standalone.json("attempts", "list", "spread_out")
        return {attempt["task_id"]: attempt for attempt in found}

    def all_but_one_ended() -> dict[str, dict[str, Any]] | None:
        found = by_task()
        there = {name for name, attempt in found.items() if attempt["state"] == "success"}
        return found if there == {"here", "ruled", "near"} else None

    found = eventually(all_but_one_ended, timeout_seconds=180, on_failure=standalone.tail)

    assert {task: (one["executor"], one["cluster"], one["namespace"]) for task, one in found.items()} == {
        "here": ("kubernetes", "", namespace),
        "ruled": ("kubernetes", "", other_namespace),
        "near": ("near", "near", other_namespace),
        "gone": ("gone", "", ""),
    }
    assert proxy.requests(f"^POST .*/namespaces/{other_namespace}/pods") == 1
    assert proxy.requests(f"^(GET|POST) .*/namespaces/{namespace}/") == 0

    # Both executors have a pod in that namespace, and each watches its own.
    pods = cluster.get("pods", f"--namespace={other_namespace}")["items"]
    labels = {pod["metadata"]["labels"]["task_id"]: pod["metadata"]["labels"] for pod in pods}
    assert {task: one.get("execplane.io/cluster") for task, one in labels.items()} == {"ruled": None, "near": "near"}
    looks = [unquote(line) for line in proxy.seen if line.startswith("GET ") and "/pods?" in line]
    assert looks
    assert all("execplane.io/cluster=near" in line for line in looks)
    assert "on near" in " ".join(standalone.get(f"/attempts/{found['near']['id']}/pod").split())

    why = eventually(
        lambda: [said for said in [by_task()["gone"]["reason"]] if "127.0.0.1:9" in said],
        timeout_seconds=60,
        on_failure=lambda: f"{by_task()['gone']}\n{standalone.tail()}",
    )[0]
    assert "gone" in why
    status = standalone.run("status", ok=False)
    assert "The API server of gone has a problem" in status
    assert "The API server of near has a problem" not in status

    drift = standalone.run("pods", "reconcile", "--dry-run", "--seconds", "0.1", ok=False)
    assert f"Not seen: gone: {namespace}: " in drift
    assert "No drift" in drift
