"""What rooms are told, made from the settings: each room's own frozen options. Pure; `compose` asks for them.

Rooms are imported when their options are wanted: a command does not pay for what only a server needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execplane import __version__
from execplane.config import Config
from execplane.contract.executor_config import LOCAL_EXECUTORS
from execplane.contract.states import AttemptState

if TYPE_CHECKING:
    from execplane.executors.driver.workloads import Deployed
    from execplane.executors.kubernetes_options import KubernetesOptions
    from execplane.executors.task_policy import FailurePolicy
    from execplane.kube.options import KubeOptions


def slots(config: Config, executor: str) -> int | None:
    """Most attempts that this executor has alive at once; None: no limit."""
    if executor == "sequential":
        return 1
    return config.local.slots if executor in LOCAL_EXECUTORS else config.kubernetes_of(executor).slots or None


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

    kubernetes = config.kubernetes_of(executor)
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


def kubernetes_options(config: Config, deployment_id: str, executor: str) -> KubernetesOptions:
    """Where this kubernetes executor's pods are, and what becomes of them."""
    from execplane.executors.kubernetes_options import KubernetesOptions
    from execplane.kube.mutation_places import config_folders
    from execplane.kube.mutation_process import HookOptions
    from execplane.pods.lessons import LessonOptions
    from execplane.pods.policy import PodPolicy
    from execplane.pods.rules import PodRule

    kubernetes = config.kubernetes_of(executor)
    return KubernetesOptions(
        deployment_id=deployment_id,
        name=executor,
        cluster=executor if executor in config.clusters else "",
        kube=kube_options(config, executor),
        namespace=kubernetes.namespace,
        namespaces=tuple(kubernetes.namespaces),
        rules=tuple(PodRule(number=at, **rule.model_dump()) for at, rule in enumerate(kubernetes.rules, start=1)),
        pod_template_file=str(kubernetes.pod_template_file or ""),
        image=kubernetes.image,
        version=__version__,
        attempt_url=f"{config.web_url}/attempts/{{attempt_id}}",
        slots=kubernetes.slots or None,
        creation_concurrency=kubernetes.creation_concurrency,
        delete_worker_pods=kubernetes.delete_worker_pods,
        delete_worker_pods_on_failure=kubernetes.delete_worker_pods_on_failure,
        kept_pods_seconds=kubernetes.kept_pods_seconds,
        kept_seconds_by_outcome={AttemptState(name): kept for name, kept in kubernetes.kept_seconds_by_outcome.items()},
        delete_grace_seconds=kubernetes.delete_grace_seconds,
        list_interval_seconds=kubernetes.list_interval_seconds,
        lessons=LessonOptions(
            avoid_nodes=kubernetes.avoid_nodes,
            oom_memory_factor=kubernetes.oom_memory_factor,
            oom_memory_cap_bytes=kubernetes.oom_memory_cap_bytes,
        ),
        policies=tuple(PodPolicy(**policy.model_dump()) for policy in kubernetes.policies),
        hook=HookOptions(
            limit_seconds=kubernetes.mutation_hook_timeout_seconds,
            memory_bytes=kubernetes.mutation_hook_memory_bytes,
            folders=config_folders(str(config.home)),
        ),
        flight_records=kubernetes.flight_record_days > 0,
    )


def kube_options(config: Config, executor: str) -> KubeOptions:
    """How this executor's API server is reached."""
    from execplane.kube.options import KubeOptions

    kubernetes = config.kubernetes_of(executor)
    keepalive = (kubernetes.tcp_keep_idle_seconds, kubernetes.tcp_keep_interval_seconds, kubernetes.tcp_keep_count)
    return KubeOptions(
        kubeconfig=str(kubernetes.kubeconfig or ""),
        context=kubernetes.context,
        in_cluster=kubernetes.in_cluster,
        ssl_ca_cert=str(kubernetes.ssl_ca_cert or ""),
        verify_ssl=kubernetes.verify_ssl,
        proxy=kubernetes.proxy.get_secret_value(),
        connect_timeout_seconds=kubernetes.connect_timeout_seconds,
        tcp_keepalive_seconds=keepalive if kubernetes.enable_tcp_keepalive else None,
        read_timeout_seconds=kubernetes.request_timeout_seconds,
        pool_size=kubernetes.creation_concurrency * 2,
    )
