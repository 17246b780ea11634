"""Options of the kubernetes executor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from execplane.contract.states import AttemptState
from execplane.kube.mutation_process import HookOptions
from execplane.kube.options import KubeOptions
from execplane.pods.lessons import LessonOptions
from execplane.pods.policy import PodPolicy
from execplane.pods.reconcile import Patience
from execplane.pods.rules import PodRule


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
    rules: tuple[PodRule, ...] = ()
    """Which tasks' pods go where; the namespaces that they give are watched, too."""
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
    creation_concurrency: int = 32
    """Most creates under way at once; fewer while the API server is slow or refuses."""
    deletion_concurrency: int = 4
    delete_worker_pods: bool = True
    """Delete pods of attempts that ended well."""
    delete_worker_pods_on_failure: bool = False
    kept_pods_seconds: float = 0.0
    """How long pods are kept that the deletion policy keeps; 0: as long as the cluster keeps them."""
    kept_seconds_by_outcome: Mapping[AttemptState, float] = field(default_factory=dict)
    """How long pods of these outcomes are kept, whatever the three above say; 0: not at all."""
    delete_grace_seconds: int | None = None
    """Grace period of deletes of pods whose attempt has ended; None: the pod's own."""
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
    policies: tuple[PodPolicy, ...] = ()
    """What every pod must keep to."""
    hook: HookOptions = field(default_factory=HookOptions)

    @property
    def all_namespaces(self) -> tuple[str, ...]:
        """All that pods may be made in, and that is watched."""
        return tuple(dict.fromkeys((self.namespace, *self.namespaces, *self.rule_namespaces)))

    @property
    def rule_namespaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.namespace for rule in self.rules if rule.namespace))

    @property
    def patience(self) -> Patience:
        """The deletion policy, for clean-up and reconciliation alike."""
        return Patience(
            delete_when_well=self.delete_worker_pods,
            delete_when_failed=self.delete_worker_pods_on_failure,
            kept_seconds=self.kept_pods_seconds,
            kept_by_outcome=self.kept_seconds_by_outcome,
        )
