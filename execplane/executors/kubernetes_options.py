"""Options of the kubernetes executor."""

from __future__ import annotations

from dataclasses import dataclass, field

from execplane.kube.options import KubeOptions
from execplane.pods.lessons import LessonOptions


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions:
    """Where pods are made, from what, how fast, and what becomes of them."""

    deployment_id: str
    """Selects our pods: only those with this deployment's label are watched."""
    name: str = "kubernetes"
    cluster: str = ""
    """Which cluster this is, when there are several."""
    kube: KubeOptions = field(default_factory=KubeOptions)
    namespace: str = "default"
    namespaces: tuple[str, ...] = ()
    """Further namespaces that templates, overrides and hooks may choose; they are watched, too."""
    pod_template_file: str = ""
    """Empty: the built-in template."""
    image: str = ""
    """Image of `base`, where no layer names one."""
    version: str = ""
    """execplane's version, for the pods' label."""
    attempt_url: str = ""
    """Address of an attempt's page with {attempt_id} in it, for the pods' annotation."""
    worker_args: tuple[str, ...] = ("python", "-m", "execplane.worker")
    allow_command: bool = True
    slots: int | None = None
    creation_concurrency: int = 16
    """Creates under way at once."""
    deletion_concurrency: int = 4
    delete_worker_pods: bool = True
    """Delete pods of attempts that ended well."""
    delete_worker_pods_on_failure: bool = False
    kept_pods_seconds: float = 0.0
    """How long pods are kept that the deletion policy keeps; 0: as long as the cluster keeps them."""
    list_interval_seconds: float = 60.0
    """How often a full list repairs what the watch missed."""
    lost_answer_rounds: int = 3
    """How often a create whose answer was lost is looked up and posted again before the driver is asked."""
    quota_retry_seconds: float = 10.0
    settle_seconds: float = 30.0
    """How long a reported end waits for its container's end before the pod is deleted all the same."""
    flight_records: bool = True
    """Keep of each pod what explains it, once it has ended."""
    flight_record_threads: int = 4
    flight_record_wait_seconds: float = 5.0
    """How long our own delete of a pod waits for its record at most."""
    repair_seconds: float = 1.0
    """How soon a delete that did not get through is tried again; doubles up to 30."""

    lessons: LessonOptions = field(default_factory=LessonOptions)
    """What a pod learns from its task's earlier attempts."""

    @property
    def all_namespaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.namespace, *self.namespaces)))
