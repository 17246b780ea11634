"""A drained node: the task moves at the infrastructure's cost, says why, and would rather run elsewhere."""

from __future__ import annotations

import pytest

from execplane.pods.lessons import HOSTNAME
from tests.conformance.deployed import Deployed


@pytest.mark.parametrize("deployed", ["kubernetes"], indirect=True)
def test_a_drain_moves_a_task_on_the_infrastructures_budget(deployed: Deployed) -> None:
    cluster = deployed.cluster
    assert cluster is not None
    run = deployed.trigger("retried", "hold")
    first = deployed.visit(run)
    drained = deployed.attempts(run)[0]
    place = {"name": drained.pod_name, "namespace": deployed.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": place}
    status, _ = cluster.post(f"/api/v1/namespaces/{deployed.namespace}/pods/{drained.pod_name}/eviction", eviction)
    assert status == 201

    ended = deployed.attempt_ended(run)
    assert (ended.state, ended.category) == ("failed", "drained")
    assert f"Evicted from {ended.node} through the eviction API" in ended.reason
    second = deployed.visit(run, 2)
    assert deployed.dead(first) <= second.began
    instance = deployed.instance(run)
    assert (instance.author_failures, instance.infra_failures) == (0, 1)
    pod = cluster.get("pod", deployed.attempts(run)[1].pod_name, f"--namespace={deployed.namespace}")
    (term,) = pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    away = {"key": HOSTNAME, "operator": "NotIn", "values": [ended.node]}
    assert term == {"weight": 100, "preference": {"matchExpressions": [away]}}
    second.release()
    assert deployed.ended(run) == "success"
    deployed.dead(second)
