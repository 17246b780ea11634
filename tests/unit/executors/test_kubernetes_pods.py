"""What the executor says and does when the operators' hook cannot be used: it waits, and says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from execplane.contract.errors import NotYet
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.client import Client
from execplane.kube.mutation_process import HookOptions
from execplane.pods.policy import PodPolicy
from tests.parts.eventually import eventually
from tests.unit.pods.samples import workload


def executor(folder: Path, **more: Any) -> KubernetesExecutor:
    """One whose API server nobody asks."""
    options = KubernetesOptions(
        deployment_id="d", image="r.example/a:1", hook=HookOptions(folders=(str(folder),), limit_seconds=60), **more
    )
    return KubernetesExecutor(options, client=cast(Client, SimpleNamespace(host="h", close=lambda: None)))


def test_a_module_that_cannot_be_imported_stops_no_start_but_every_launch(tmp_path: Path) -> None:
    (tmp_path / "airflow_local_settings.py").write_text("import no_such_module\n")
    one = executor(tmp_path)
    try:
        eventually(lambda: "No module named 'no_such_module'" in one.check(), 120)
        with pytest.raises(NotYet, match=r"airflow_local_settings.py:1\)"):
            one.build(workload())
    finally:
        one.close()


def test_policies_see_what_the_hook_made_of_the_pod(tmp_path: Path) -> None:
    (tmp_path / "airflow_local_settings.py").write_text("def pod_mutation_hook(pod):\n    pod.spec.host_pid = True\n")
    one = executor(tmp_path, policies=(PodPolicy(name="p", host_pid="forbid"),))
    try:
        eventually(lambda: one.check() == "", 120)
        with pytest.raises(Exception, match=r"spec.hostPID is true \(set by mutation hook\)"):
            one.build(workload())
    finally:
        one.close()
