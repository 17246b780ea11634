"""What the command says of drift where there is no cluster: a hold is a problem, and no executor makes no pods."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from execplane.cli.drift import _found_twice
from execplane.compose import Deployment
from execplane.contract.clock import SystemClock
from execplane.contract.errors import Unavailable
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.options import KubeOptions
from execplane.pods.reconcile import Finding, Kind, Mend
from execplane.store import drift_rows
from execplane.store.deployment import identity
from execplane.store.queries import drift
from tests.integration.cli_runner import execplane, save_dag
from tests.unit.kube.api_server import api_server, kubeconfig

pytestmark = pytest.mark.django_db


def held() -> int:
    save_dag()
    one = Finding(
        kind=Kind.FOREIGN_INCARNATION,
        mend=Mend.OPERATOR,
        namespace="tasks",
        name="pod-1",
        uid="u1",
        attempt_id=5,
        task="orders/r1/load#1",
        incarnation=1,
        sentence="It is not from here.",
    )
    noted = drift_rows.record(
        "kubernetes", [one], confirmed={one.identity}, cluster="", namespaces=["tasks"], now=SystemClock().now()
    )
    return noted.found[0].id


def test_status_names_an_executor_that_launches_nothing_and_what_to_do() -> None:
    held()
    said = execplane("status", "-o", "json")
    assert said.code == 1
    (problem,) = [one for one in said.json["problems"] if "launches nothing" in one]
    assert "execplane pods release kubernetes" in problem


def test_an_operator_at_the_shell_decides_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    pk = held()
    said = execplane("pods", "decide", str(pk), "leave", "--reason", "known")
    assert (said.code, said.err) == (0, "")
    row = drift.finding(pk)
    assert (row.decision, row.decided_by, row.decision_reason) == ("leave", "ada (cli)", "known")
    assert drift_rows.holding() == []
    assert execplane("pods", "release", "kubernetes").code == 3


def test_what_a_decision_and_a_release_did_can_be_read_by_a_script() -> None:
    pk = held()
    released = execplane("pods", "release", "kubernetes", "-o", "json")
    assert released.json == [{"executor": "kubernetes", "findings": 1, "reason": ""}]
    decided = execplane("pods", "decide", str(pk), "leave", "-o", "json")
    assert decided.json == [{"finding_id": pk, "decision": "leave", "reason": ""}]


def test_a_decision_that_there_is_not_ends_with_code_2() -> None:
    pk = held()
    said = execplane("pods", "decide", str(pk), "force")
    assert (said.code, "may be: leave, delete" in said.err) == (2, True)
    assert execplane("pods", "decide", "404", "leave").code == 3


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_where_no_executor_makes_pods_there_is_nothing_to_compare(words: tuple[str, ...]) -> None:
    save_dag()
    said = execplane("pods", "reconcile", *words)
    assert said.code == 3
    assert "No executor makes pods here" in said.err


def test_a_cluster_whose_kubeconfig_cannot_be_used_hides_no_other(tmp_path: Path) -> None:
    known_as = identity(SystemClock().now())
    pod: dict[str, Any] = {
        "metadata": {
            "name": "left-over",
            "namespace": "tasks",
            "uid": "u1",
            "creationTimestamp": "2020-01-01T00:00:00Z",
            "labels": {"execplane.io/deployment": known_as[0]},
        },
        "status": {"phase": "Running"},
    }
    with api_server() as server:
        server.answer = lambda method, path, body: (200, {"metadata": {"resourceVersion": "7"}, "items": [pod]})
        files = {"kubernetes": kubeconfig(tmp_path, server.url, {"token": "t"}), "gpu": tmp_path / "broken"}
        files["gpu"].write_text("users: [{token")

        def options(name: str) -> KubernetesOptions:
            kube = KubeOptions(kubeconfig=str(files[name]), in_cluster=False)
            cluster = "" if name == "kubernetes" else name
            return KubernetesOptions(
                name=name, cluster=cluster, deployment_id=known_as[0], namespace="tasks", kube=kube
            )

        deployment: Any = SimpleNamespace(clock=SystemClock(), kubernetes_options=options, identity=known_as)
        rows, unseen = _found_twice(cast(Deployment, deployment), ("gpu", "kubernetes"), 0)
        assert [(row["executor"], row["pod_name"]) for row in rows] == [("kubernetes", "left-over")]
        assert unseen.startswith("gpu: No usable Kubernetes configuration in")
        with pytest.raises(Unavailable, match="gpu: No usable Kubernetes configuration"):
            _found_twice(cast(Deployment, deployment), ("gpu",), 0)
