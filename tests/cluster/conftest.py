"""Kubernetes executors against the cluster, with or without a proxy that loses answers, and the pods they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.workload import Intent
from execplane.executors.kubernetes import KubernetesExecutor
from tests.cluster.kube_proxy import KubeProxy, kube_proxy
from tests.cluster.kube_workloads import Facts, fast_kube, options_for
from tests.parts.kubernetes.cluster import Cluster, KubectlError

Start = Callable[..., tuple[KubernetesExecutor, Facts]]
NOWHERE = {"spec": {"nodeSelector": {"no-such-label": "anywhere"}}}
"""For pods that need not run."""
SLEEP = ("sh", "-c", "trap 'exit 143' TERM; sleep 600 & wait")


@pytest.fixture
def start(cluster: Cluster, namespace: str) -> Iterator[Start]:
    """Makes started executors and closes them at the end."""
    made: list[KubernetesExecutor] = []

    def started(**options: Any) -> tuple[KubernetesExecutor, Facts]:
        executor = KubernetesExecutor(options_for(cluster, namespace, **options))
        made.append(executor)
        facts = Facts(lambda: cluster.dump(namespace))
        executor.start(facts.report)
        return executor, facts

    yield started
    for executor in made:
        executor.close()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[KubeProxy]:
    with kube_proxy(cluster) as running:
        yield running


@pytest.fixture
def start_behind(start: Start, cluster: Cluster, proxy: KubeProxy, tmp_path: Path) -> Start:
    """The same, with the proxy between executor and API server."""
    kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")

    def started(**options: Any) -> tuple[KubernetesExecutor, Facts]:
        return start(kube=replace(fast_kube(cluster), kubeconfig=str(kubeconfig)), **options)

    return started


def pod_of(cluster: Cluster, intent: Intent) -> dict[str, Any] | None:
    try:
        return cluster.get("pod", intent.name, f"--namespace={intent.namespace}")
    except KubectlError as error:
        assert "NotFound" in str(error)  # noqa: PT017 - anything else is not an answer
        return None
