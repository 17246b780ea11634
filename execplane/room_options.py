"""What rooms are told, made from the settings: each room's own frozen options. Pure; `compose` asks for them.

Rooms are imported when their options are wanted: a command does not pay for what only a server needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execplane import __version__
from execplane.config import Config

if TYPE_CHECKING:
    from execplane.executors.driver.workloads import Deployed
    from execplane.executors.kubernetes_options import KubernetesOptions
    from execplane.executors.task_policy import FailurePolicy
    from execplane.kube.options import KubeOptions

LOCAL_EXECUTORS = ("local", "sequential")


def failure_policy(config: Config) -> FailurePolicy:
    """What becomes of failures, whoever reports them: the worker API or a driver."""
    from execplane.executors.failure_rules import FailureRule
    from execplane.executors.retries import InfraBackoff
    from execplane.executors.task_policy import FailurePolicy

    scheduler = config.scheduler
    return FailurePolicy(
        infra_retries=scheduler.infra_retries,
        infra_backoff=InfraBackoff(
            first_seconds=scheduler.infra_backoff_seconds, cap_seconds=scheduler.infra_backoff_cap_seconds
        ),
        rules=tuple(FailureRule(**rule.model_dump()) for rule in config.failures.rules),
    )


def deployed(config: Config, identity: tuple[str, int], executor: str) -> Deployed:
    """What every workload of this executor has in common."""
    from execplane.executors.driver.workloads import Deployed

    kubernetes = config.kubernetes
    deployment_id, incarnation = identity
    pods = executor not in LOCAL_EXECUTORS
    return Deployed(
        deployment_id=deployment_id,
        incarnation=incarnation,
        api_url=(kubernetes.api_url or config.web_url) if pods else config.web_url,
        source=kubernetes.worker_source if pods else "bundle",
        dags_folder=kubernetes.worker_dags_folder if pods else "",
        learns=pods and (kubernetes.avoid_nodes > 0 or kubernetes.oom_memory_factor > 1),
    )


def kubernetes_options(config: Config, deployment_id: str) -> KubernetesOptions:
    """Where the kubernetes executor's pods are, and what becomes of them."""
    from execplane.executors.kubernetes_options import KubernetesOptions
    from execplane.pods.lessons import LessonOptions

    kubernetes = config.kubernetes
    return KubernetesOptions(
        deployment_id=deployment_id,
        kube=kube_options(config),
        namespace=kubernetes.namespace,
        pod_template_file=str(kubernetes.pod_template_file or ""),
        image=kubernetes.image,
        version=__version__,
        attempt_url=f"{config.web_url}/attempts/{{attempt_id}}",
        slots=kubernetes.slots or None,
        creation_concurrency=kubernetes.creation_concurrency,
        delete_worker_pods=kubernetes.delete_worker_pods,
        delete_worker_pods_on_failure=kubernetes.delete_worker_pods_on_failure,
        kept_pods_seconds=kubernetes.kept_pods_seconds,
        list_interval_seconds=kubernetes.list_interval_seconds,
        lessons=LessonOptions(
            avoid_nodes=kubernetes.avoid_nodes,
            oom_memory_factor=kubernetes.oom_memory_factor,
            oom_memory_cap_bytes=kubernetes.oom_memory_cap_bytes,
        ),
        flight_records=kubernetes.flight_record_days > 0,
    )


def kube_options(config: Config) -> KubeOptions:
    """How the API server is reached."""
    from execplane.kube.options import KubeOptions

    kubernetes = config.kubernetes
    return KubeOptions(
        kubeconfig=str(kubernetes.kubeconfig or ""),
        context=kubernetes.context,
        read_timeout_seconds=kubernetes.request_timeout_seconds,
        pool_size=kubernetes.creation_concurrency * 2,
    )
