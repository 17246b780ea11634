"""Every metric there is, declared once: emitters, documentation, dashboards and tests work from these rows.

Native names follow Prometheus' rules: base units, `_total` for counters. A label has few values, known in kind: never
a run id, a pod's name or a try. Airflow's statsd names may hold more (a task's id): they are filled from a metric's
`details`, which Prometheus does not see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    """Of seconds."""


@dataclass(frozen=True, kw_only=True)
class AirflowName:
    """Under which name Airflow sends it by statsd. `{label}` stands for a label's or detail's value."""

    name: str
    where: tuple[tuple[str, str], ...] = ()
    """Only samples with these labels."""
    counts: bool = False
    """A histogram's sample is sent as one count, not as a timer."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. Callers give exactly its labels and details."""

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    airflow: tuple[AirflowName, ...] = ()
    buckets: tuple[float, ...] = field(default=())

    @cached_property
    def takes(self) -> frozenset[str]:
        return frozenset((*self.labels, *self.details))


_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WAITS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_DURATIONS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)


def _counter(
    name: str, help: str, *labels: str, airflow: tuple[AirflowName, ...] = (), details: tuple[str, ...] = ()
) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=help, labels=labels, airflow=airflow, details=details)


def _gauge(
    name: str,
    help: str,
    *labels: str,
    unit: str = "",
    airflow: tuple[AirflowName, ...] = (),
    details: tuple[str, ...] = (),
) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=help, unit=unit, labels=labels, airflow=airflow, details=details)


def _seconds(
    name: str,
    help: str,
    buckets: tuple[float, ...],
    *labels: str,
    airflow: tuple[AirflowName, ...] = (),
    details: tuple[str, ...] = (),
) -> Metric:
    return Metric(
        name=name,
        kind=Kind.HISTOGRAM,
        help=help,
        unit="seconds",
        labels=labels,
        details=details,
        airflow=airflow,
        buckets=buckets,
    )


_TASK = ("dag_id", "task_id")
_SCHEDULER = (("loop", "scheduler"),)


def _pods(verb: str) -> tuple[tuple[str, str], ...]:
    return (("verb", verb), ("resource", "pods"))


LOOPS = (
    _seconds(
        "execplane_loop_tick_seconds",
        "Time that one tick of a background loop took; its count says that the loop lives.",
        _FAST,
        "loop",
        airflow=(
            AirflowName(name="scheduler_heartbeat", where=_SCHEDULER, counts=True),
            AirflowName(name="scheduler.scheduler_loop_duration", where=_SCHEDULER),
        ),
    ),
    _counter("execplane_loop_errors_total", "Ticks that failed and are tried again.", "loop"),
    _counter("execplane_loop_restarts_total", "Threads of loops that died and were begun anew.", "loop"),
)

ATTEMPTS = (
    _counter("execplane_attempts_claimed_total", "Attempts that a driver took from the queue.", "executor"),
    _counter(
        "execplane_launches_total",
        "Launches handed to the executor; again: the same intent once more, because no answer came.",
        "executor",
        "again",
    ),
    _counter(
        "execplane_launches_refused_total",
        "Launches that were refused, by why; retried: the same intent is sent again later.",
        "executor",
        "category",
        "retried",
    ),
    _counter(
        "execplane_flight_records_total",
        "Flight records of pods; dropped: too many waited to be made. result: made, failed, dropped.",
        "result",
    ),
    _seconds(
        "execplane_attempt_queued_seconds",
        "From queued to running: until the worker passed the fence.",
        _WAITS,
        "executor",
        details=_TASK,
        airflow=(
            AirflowName(name="task.queued_duration"),
            AirflowName(name="dag.{dag_id}.{task_id}.queued_duration"),
            AirflowName(name="ti.start.{dag_id}.{task_id}", counts=True),
        ),
    ),
    _seconds(
        "execplane_attempt_duration_seconds",
        "From running to the attempt's end.",
        _DURATIONS,
        "executor",
        "state",
        details=_TASK,
        airflow=(AirflowName(name="task.duration"), AirflowName(name="dag.{dag_id}.{task_id}.duration")),
    ),
    _counter(
        "execplane_attempts_ended_total",
        "Attempts that ended, by state and by the category of the reason.",
        "dag_id",
        "executor",
        "state",
        "category",
        details=("task_id",),
        airflow=(
            AirflowName(name="ti.finish.{dag_id}.{task_id}.{state}"),
            AirflowName(name="ti_successes", where=(("state", "success"),)),
            AirflowName(name="ti_failures", where=(("state", "failed"),)),
        ),
    ),
)

DEADLINES = (
    _counter("execplane_deadlines_hit_total", "Attempts that a deadline ended, by the phase.", "executor", "phase"),
    _gauge(
        "execplane_deadline_breaker_open",
        "1: so many attempts passed a deadline at once that none of them is ended.",
        "executor",
    ),
    _gauge(
        "execplane_capacity_wait_seconds",
        "Longest present wait for capacity of what was launched (quota, nodes); 0: nothing waits.",
        "executor",
        unit="seconds",
    ),
)

KUBERNETES = (
    _counter(
        "execplane_kubernetes_requests_total",
        "Requests to the API server by HTTP status; lost: no answer came.",
        "verb",
        "resource",
        "status",
        airflow=(
            AirflowName(name="kubernetes_executor.pod_creation_status", where=_pods("create")),
            AirflowName(name="kubernetes_executor.pod_deletion_status", where=_pods("delete")),
            AirflowName(name="kubernetes_executor.pod_patching_status", where=_pods("patch")),
        ),
    ),
    _seconds(
        "execplane_kubernetes_request_seconds",
        "Time until the API server's answer was read; verb create, resource pods: how long pod creates take.",
        _FAST,
        "verb",
        "resource",
        airflow=(
            AirflowName(name="kubernetes_executor.pod_creation", where=_pods("create")),
            AirflowName(name="kubernetes_executor.pod_deletion", where=_pods("delete")),
            AirflowName(name="kubernetes_executor.pod_patching", where=_pods("patch")),
        ),
    ),
    _gauge(
        "execplane_kubernetes_creates_at_once",
        "Creates that the API server is asked for at once: creation_concurrency, or fewer while it is slow or refuses.",
        "server",
    ),
    _counter(
        "execplane_kubernetes_watch_restarts_total",
        "Watches that broke, were refused or fell silent, or whose resourceVersion expired, by the error.",
        "reason",
    ),
)

DRIFT = (
    _counter(
        "execplane_drift_findings_total",
        "Differences between cluster and ledger that two looks found, by kind (docs/drift.md).",
        "executor",
        "kind",
    ),
    _counter(
        "execplane_drift_repairs_total",
        "Repairs of such differences; outcome: done, failed.",
        "executor",
        "kind",
        "outcome",
    ),
    _gauge(
        "execplane_drift_open",
        "Such differences that the newest look still found, by kind; read with the ledger.",
        "executor",
        "kind",
    ),
)

WORKER_API = (
    _counter("execplane_worker_api_requests_total", "Requests of workers by HTTP status.", "route", "status"),
    _seconds(
        "execplane_worker_api_request_seconds",
        "Time from a request's last byte to its answer, the wait for a thread included.",
        _FAST,
        "route",
    ),
)

PARSING = (
    _seconds(
        "execplane_parse_seconds",
        "Time that the import of one DAG file took; outcome: ok, error.",
        (*_FAST, 30.0, 60.0),
        "outcome",
        details=("file",),
        airflow=(AirflowName(name="dag_processing.last_duration.{file}"),),
    ),
    _gauge(
        "execplane_import_errors",
        "DAG files that cannot be imported.",
        airflow=(AirflowName(name="dag_processing.import_errors"),),
    ),
    _gauge("execplane_dags", "DAGs that some file defines.", airflow=(AirflowName(name="dagbag_size"),)),
)

SCHEDULER = (
    _seconds(
        "execplane_scheduler_decide_seconds", "Time that the decision about one run took, writes included.", _FAST
    ),
    _gauge(
        "execplane_dagruns",
        "Runs that have not ended, by state.",
        "state",
        airflow=(AirflowName(name="scheduler.dagruns.running", where=(("state", "running"),)),),
    ),
)

LEDGER = (
    _gauge(
        "execplane_attempts",
        "Attempts that have not ended, by executor and state.",
        "executor",
        "state",
        details=("executor_suffix",),
        airflow=(
            AirflowName(name="executor.queued_tasks{executor_suffix}", where=(("state", "queued"),)),
            AirflowName(name="executor.running_tasks{executor_suffix}", where=(("state", "running"),)),
        ),
    ),
    _gauge(
        "execplane_oldest_queued_seconds",
        "Age of the oldest attempt that is queued; 0: none is.",
        "executor",
        unit="seconds",
    ),
    _gauge(
        "execplane_pool_slots",
        "Slots of a pool: open (+Inf without a limit), running (taken by attempts in flight), queued (waited for).",
        "pool",
        "state",
        airflow=(AirflowName(name="pool.{state}_slots.{pool}"),),
    ),
    _gauge(
        "execplane_ledger_read_timestamp_seconds",
        "When the gauges of the ledger were last read, in Unix time.",
        unit="seconds",
    ),
)

DEPLOYMENT = (_gauge("execplane_build_info", "1, with the version of this process.", "version"),)

SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Attempts": ATTEMPTS,
    "Deadlines (docs/deadlines.md)": DEADLINES,
    "The ledger (read every 15 seconds by the leased loop `gauges`)": LEDGER,
    "Scheduler": SCHEDULER,
    "Kubernetes": KUBERNETES,
    "Drift": DRIFT,
    "Worker API": WORKER_API,
    "Parsing": PARSING,
    "Loops": LOOPS,
    "Deployment": DEPLOYMENT,
}

CATALOGUE: dict[str, Metric] = {metric.name: metric for section in SECTIONS.values() for metric in section}
