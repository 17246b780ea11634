"""What became of each option of Airflow's KubernetesExecutor: `python -m execplane.airflow_options >
docs/airflow-options.md`.

For people who move. Defaults of ours are read from the settings, so that the page cannot rot; a test holds that a
default differs only where the table says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from execplane.config import keys

PAGE = Path("docs/airflow-options.md")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of `[kubernetes_executor]` (legacy `[kubernetes]`), or of another section where it says so."""

    name: str
    default: str
    ours: tuple[str, ...] = ()
    """Our settings that mean the same; none: there is nothing to set."""
    why: str = ""
    """Why meaning or default differ; "" where they do not."""


OPTIONS: tuple[Option, ...] = (
    Option(name="pod_template_file", default="", ours=("kubernetes.pod_template_file",)),
    Option(
        name="worker_container_repository",
        default="",
        ours=("kubernetes.image",),
        why="One image reference, `repository:tag` or by digest. A template's own image wins over it, where Airflow "
        "overwrites that: a template per task brings the image it was written for.",
    ),
    Option(name="worker_container_tag", default="", ours=("kubernetes.image",), why="See above."),
    Option(name="namespace", default="default", ours=("kubernetes.namespace",)),
    Option(name="delete_worker_pods", default="True", ours=("kubernetes.delete_worker_pods",)),
    Option(
        name="delete_worker_pods_on_failure",
        default="False",
        ours=("kubernetes.delete_worker_pods_on_failure",),
    ),
    Option(
        name="worker_pods_creation_batch_size",
        default="1",
        ours=("kubernetes.creation_concurrency",),
        why="There are no batches: a create is sent as soon as an attempt is claimed, up to so many at once; the pace "
        "adapts to the API server. One create per scheduler loop is what made launches slow.",
    ),
    Option(
        name="async_pod_creation",
        default="False",
        why="Creates never block the loop, so there is nothing to switch on.",
    ),
    Option(
        name="pod_creation_max_concurrency",
        default="0",
        ours=("kubernetes.creation_concurrency",),
        why="One setting instead of two that fall back on each other.",
    ),
    Option(
        name="task_publish_max_retries",
        default="0",
        ours=("deadlines.launch_seconds", "deadlines.unscheduled_seconds"),
        why="Time instead of a count: a create that may succeed later (quota, 429, 5xx, no connection) is repeated "
        "with the same bytes until it is answered, and a count would turn an outage into failed tasks. "
        "`unscheduled_seconds` says how long a full quota may hold an attempt, 0 is for ever; `launch_seconds` how "
        "long nobody may answer.",
    ),
    Option(
        name="pod_launch_failure_retries",
        default="1",
        ours=("scheduler.infra_retries",),
        why="All infrastructure failures share one budget that is not the author's `retries`.",
    ),
    Option(
        name="pod_launch_failure_excluded_container_reasons",
        default="Error",
        ours=("failures.rules",),
        why="Failures have categories, and each category its budget; a rule with `reason` and `budget` moves one. A "
        "container that ended with Error is user code by default, so it never was an infrastructure failure.",
    ),
    Option(
        name="worker_pod_pending_fatal_container_state_reasons",
        default="CreateContainerConfigError,ErrImagePull,CreateContainerError,ImageInspectError,InvalidImageName",
        ours=("deadlines.worker_pod_pending_fatal_container_state_reasons", "deadlines.fatal_state_seconds"),
        why="The reason must last for `fatal_state_seconds`: a registry that hiccups once fails nobody. Two more, "
        "because ErrImagePull turns into ImagePullBackOff, and ErrImageNeverPull never passes.",
    ),
    Option(
        name="multi_namespace_mode",
        default="False",
        why="On as soon as `kubernetes.namespaces` or a rule names a second namespace.",
    ),
    Option(name="multi_namespace_mode_namespace_list", default="", ours=("kubernetes.namespaces",)),
    Option(
        name="in_cluster",
        default="True",
        ours=("kubernetes.in_cluster",),
        why="Unset: the pod's service account where there is one, else the kubeconfig; so the same settings serve a "
        "laptop. True and false are Airflow's.",
    ),
    Option(name="cluster_context", default="", ours=("kubernetes.context",)),
    Option(name="config_file", default="", ours=("kubernetes.kubeconfig",)),
    Option(
        name="kube_client_request_args",
        default="",
        ours=("kubernetes.connect_timeout_seconds", "kubernetes.request_timeout_seconds"),
        why="Its one useful key is `_request_timeout`. Without any limit a dead link hangs a call.",
    ),
    Option(
        name="delete_option_kwargs",
        default="",
        ours=("kubernetes.delete_grace_seconds",),
        why="`grace_period_seconds`. A delete always names the pod's uid, so that it never hits a later pod of that "
        "name, and always propagates in the background. A task that is stopped gets `worker.grace_seconds`.",
    ),
    Option(
        name="api_client_retry_configuration",
        default="",
        why="No call is repeated blindly by the connection pool, because a create whose answer is lost may have been "
        "done. Each kind of call has its own way: creates look before they post again, deletes name the uid, watches "
        "resume; all back off with jitter and obey Retry-After.",
    ),
    Option(name="enable_tcp_keepalive", default="True", ours=("kubernetes.enable_tcp_keepalive",)),
    Option(
        name="tcp_keep_idle",
        default="120",
        ours=("kubernetes.tcp_keep_idle_seconds",),
        why="Half-open connections went unnoticed for minutes; with 30, 10 and 6 they are found in 90 s, and "
        "a silent watch earlier.",
    ),
    Option(name="tcp_keep_intvl", default="30", ours=("kubernetes.tcp_keep_interval_seconds",), why="See above."),
    Option(name="tcp_keep_cnt", default="6", ours=("kubernetes.tcp_keep_count",)),
    Option(
        name="verify_ssl",
        default="True",
        ours=("kubernetes.verify_ssl",),
        why="Unset, the kubeconfig's `insecure-skip-tls-verify` counts; true wins over it.",
    ),
    Option(name="ssl_ca_cert", default="", ours=("kubernetes.ssl_ca_cert",)),
    Option(
        name="logs_task_metadata",
        default="False",
        why="Which task a pod was for is not only in a log: it is in the pod's labels and annotations, in the ledger "
        "after the pod is gone (`execplane pods list --ended`), and on the attempt's page.",
    ),
    Option(
        name="running_pod_log_lines",
        default="100",
        why="The page shows the whole log of a running task, live, from the worker itself; the pod's own last 200 "
        "lines of each container are kept with its flight record.",
    ),
    Option(
        name="[core] parallelism",
        default="32",
        ours=("parallelism", "kubernetes.slots"),
        why="Airflow's counts per scheduler, so its meaning changes with their number. Ours counts over all executors, "
        "0 is no limit: the cluster's own capacity is the limit, and waiting for it costs nothing.",
    ),
    Option(
        name="[scheduler] task_queued_timeout",
        default="600",
        ours=("deadlines.task_queued_timeout_seconds",),
        why="0: nobody is failed for waiting; the deadlines of single phases find what is stuck.",
    ),
    Option(
        name="[scheduler] orphaned_tasks_check_interval",
        default="300",
        ours=("kubernetes.list_interval_seconds",),
        why="Each whole list is compared with the ledger, and a list costs little.",
    ),
    Option(
        name="[scheduler] scheduler_health_check_threshold",
        default="30",
        why="A process drives under a lease that it must renew; another one takes over within 15 s, at once after a "
        "clean stop.",
    ),
)

_HEAD = """\
# Airflow's options and ours

Generated by `python -m execplane.airflow_options > docs/airflow-options.md`; do not edit.

Each option of Airflow's `[kubernetes_executor]` (before 2.5: `[kubernetes]`), and of the few others that its users
set. A setting `kubernetes.namespace` is `EXECPLANE_KUBERNETES__NAMESPACE` in the environment, `namespace` under
`[kubernetes]` in the settings file; `execplane config explain kubernetes.namespace` tells more.

Where meaning and default are Airflow's, the last column is empty.

| Airflow | default | execplane | default | what differs, and why |
|---|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    return _HEAD + "".join(f"{row}\n" for row in _rows())


def default_of(setting: str) -> str:
    """As Airflow would write it."""
    return _written(dict(keys())[setting].default)


def _rows() -> Iterator[str]:
    for option in OPTIONS:
        ours = "<br>".join(f"`{name}`" for name in option.ours) or "-"
        defaults = "<br>".join(_code(default_of(name)) for name in option.ours) or "-"
        yield f"| `{option.name}` | {_code(option.default)} | {ours} | {defaults} | {option.why} |"


def _code(value: str) -> str:
    return f"`{value}`".replace(",", ", ") if value else "unset"


def _written(value: Any) -> str:
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - the page
