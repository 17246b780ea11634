"""Workloads, executors and fact collectors for tests of the kubernetes executor."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Fact
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.options import KubeOptions
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster

T = TypeVar("T", bound=Fact)

_ids = itertools.count(secrets.randbelow(1 << 30))

ECHO = ("sh", "-c", "echo task ran; exit 0")


def fast_kube(cluster: Cluster, **more: Any) -> KubeOptions:
    """Options that notice trouble within a test's patience."""
    wanted: dict[str, Any] = {
        "kubeconfig": str(cluster.kubeconfig),
        "in_cluster": False,
        "backoff_most_seconds": 1.0,
        "watch_timeout_seconds": 5,
        "watch_silence_seconds": 8.0,
    }
    return KubeOptions(**{**wanted, **more})


def options_for(cluster: Cluster, namespace: str, **more: Any) -> KubernetesOptions:
    """One deployment per namespace; `base` runs whatever `command` says instead of the worker."""
    return KubernetesOptions(
        deployment_id=more.pop("deployment_id", "") or f"dep-{namespace}",
        namespace=namespace,
        kube=more.pop("kube", None) or fast_kube(cluster),
        image=Cluster.base_image,
        **more,
    )


def workload(namespace: str, *command: str, attempt_no: int = 1, **more: Any) -> Workload:
    """An attempt whose container runs `command`; `pod` is merged into its override."""
    container = {"name": "base", "command": list(command or ECHO), **more.pop("container", {})}
    spec = {"containers": [container, *more.pop("sidecars", [])], **more.pop("spec", {})}
    spec = {"terminationGracePeriodSeconds": 1, "serviceAccountName": "default", **spec}
    override: dict[str, Any] = {"spec": spec, **more.pop("pod", {})}
    attempt_id = next(_ids)
    task = TaskKey(dag_id="dag", run_id="manual__1", task_id=more.pop("task_id", f"task-{attempt_id}"))
    return Workload(
        attempt_id=attempt_id,
        key=AttemptKey(task=task, attempt_no=attempt_no),
        try_number=1,
        deployment_id=f"dep-{namespace}",
        incarnation=1,
        api_url="http://127.0.0.1:9",
        dag_file="dag.py",
        bundle="0" * 64,
        executor_config={"pod_override": override},
        **more,
    )


def handle_of(intent: Intent, uid: str = "") -> Handle:
    return Handle(
        attempt_id=intent.attempt_id,
        key=intent.key,
        namespace=intent.namespace,
        name=intent.name,
        uid=uid,
        body=intent.body,
    )


class Facts:
    """Collects what an executor reports, in order."""

    def __init__(self, dump: Callable[[], str] = lambda: "") -> None:
        self._dump = dump
        self._lock = threading.Lock()
        self.all: list[Fact] = []

    def report(self, facts: Sequence[Fact]) -> None:
        with self._lock:
            self.all += facts

    def of(self, kind: type[T], attempt_id: int) -> list[T]:
        with self._lock:
            return [fact for fact in self.all if isinstance(fact, kind) and fact.attempt_id == attempt_id]

    def wait(self, kind: type[T], attempt_id: int, timeout_seconds: float = 60) -> T:
        """The first fact of that kind about the attempt."""
        return eventually(
            lambda: self.of(kind, attempt_id),
            timeout_seconds,
            on_failure=lambda: f"facts: {self.all}\n{self._dump()}",
        )[0]
