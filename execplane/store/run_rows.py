"""What the scheduler reads: the task instances of one run, the run before it, DAGs that are due. Bounded reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from execplane.contract.states import TaskState
from execplane.store.models import Dag, DagRun, TaskInstance, XCom
from execplane.store.prepared import Parameter, Select
from execplane.store.queries.literal import run_is_active, run_is_scheduled

_NOW = Parameter("now")
_LOOKED_BACK = 100
"""Earlier runs in which a task is looked for that the run before does not have; one not found there counts as new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceRow:
    id: int
    task_id: str
    map_index: int
    state: str
    attempt_no: int
    try_number: int
    author_failures: int
    infra_failures: int
    eligible_at: datetime | None
    next_cause: str
    skips: tuple[str, ...]
    map_length: int | None


_INSTANCES = Select(
    lambda: TaskInstance.objects.filter(dagrun_id=Parameter("run_pk")).values_list(
        "pk",
        "task_id",
        "map_index",
        "state",
        "attempt_no",
        "try_number",
        "author_failures",
        "infra_failures",
        "eligible_at",
        "next_cause",
        "skips",
        "map_length",
    )
)


def instances(dagrun_id: int) -> list[InstanceRow]:
    """All task instances of a run (task_instance_once): as many as the run has."""
    rows = _INSTANCES(run_pk=dagrun_id)
    return [
        InstanceRow(
            id=row[0],
            task_id=row[1],
            map_index=row[2],
            state=row[3],
            attempt_no=row[4],
            try_number=row[5],
            author_failures=row[6],
            infra_failures=row[7],
            eligible_at=row[8],
            next_cause=row[9],
            skips=tuple(row[10] or ()),
            map_length=row[11],
        )
        for row in rows
    ]


def without_return_value(dagrun_id: int, task_ids: Collection[str]) -> set[int]:
    """Of the successful instances of these tasks, those that pushed no return_value."""
    ended = TaskInstance.objects.filter(dagrun_id=dagrun_id, task_id__in=task_ids, state=TaskState.SUCCESS)
    pushed = XCom.objects.filter(ti__in=ended, key="return_value").values("ti_id")
    return set(ended.exclude(pk__in=pushed).values_list("pk", flat=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class PastRow:
    logical_date: datetime | None
    states: dict[str, list[TaskState]]
    seen: frozenset[str]


def past(dag_id: str, before: datetime, task_ids: Collection[str], *, scheduled_only: bool) -> PastRow | None:
    """The run before `before` with the states of the asked tasks; None when there is no earlier run.

    A task that the run before does not have is looked for in the newest _LOOKED_BACK ones. Reads
    dagrun_logical_date_once (dagrun_scheduled when `scheduled_only`), then task_instance_once.
    """
    earlier = DagRun.objects.filter(dag_id=dag_id, logical_date__lt=before).order_by("-logical_date")
    if scheduled_only:
        earlier = earlier.filter(run_is_scheduled())
    previous = earlier.values_list("pk", "logical_date").first()
    if previous is None:
        return None
    states: dict[str, list[TaskState]] = {}
    for task_id, state in TaskInstance.objects.filter(dagrun_id=previous[0], task_id__in=task_ids).values_list(
        "task_id", "state"
    ):
        states.setdefault(task_id, []).append(TaskState(state))
    seen = set(states)
    missing = set(task_ids) - seen
    if missing:
        # Their keys, and no subquery: PostgreSQL would rather read all task instances of that name.
        looked_at = list(earlier.values_list("pk", flat=True)[:_LOOKED_BACK])
        rows = TaskInstance.objects.filter(dagrun_id__in=looked_at, task_id__in=missing)
        seen |= set(rows.values_list("task_id", flat=True).distinct())
    return PastRow(logical_date=previous[1], states=states, seen=frozenset(seen))


def any_active_run(dag_id: str) -> bool:
    """Whether a run of the DAG is queued or running (dagrun_active)."""
    return DagRun.objects.filter(run_is_active(), dag_id=dag_id).exists()


def later_runs_waiting(dag_id: str, after: datetime, now: datetime) -> list[int]:
    """Running runs of the DAG that may depend on this one and would not be decided soon by themselves; the next 100.

    Reads dagrun_active: as many rows as the DAG has running runs. Their dates are compared here, because with them in
    the statement SQLite would rather walk all later runs.
    """
    rows = DagRun.objects.filter(run_is_active(), dag_id=dag_id, state="running").order_by()
    rows = rows.filter(Q(decide_at=None) | Q(decide_at__gt=now))
    later = [(date, pk) for date, pk in rows.values_list("logical_date", "pk") if date is not None and date > after]
    return [pk for _, pk in sorted(later)[:100]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DueDag:
    dag_id: str
    dag_version_id: int
    bundle: str
    next_run_at: datetime | None
    logical_date: datetime | None
    interval_start: datetime | None
    interval_end: datetime | None


_DUE_FIELDS = (
    "dag_id",
    "latest_version_id",
    "latest_bundle_id",
    "next_run_at",
    "next_logical_date",
    "next_interval_start",
    "next_interval_end",
)


def _due(row: tuple[Any, ...]) -> DueDag:
    dag_id, version, bundle, next_run_at, logical_date, start, end = row
    return DueDag(
        dag_id=dag_id,
        dag_version_id=version,
        bundle=bundle,
        next_run_at=next_run_at,
        logical_date=logical_date,
        interval_start=start,
        interval_end=end,
    )


def due_dags(now: datetime, *, limit: int) -> list[DueDag]:
    """Unpaused DAGs whose next run is due and that may have one more active run. Reads dag_due, then dagrun_active."""
    return [_due(row) for row in _due_dags(limit)(now=now)]


@cache
def _due_dags(limit: int) -> Select:
    active = DagRun.objects.filter(run_is_active(), dag=OuterRef("pk")).order_by().values("dag").annotate(n=Count("pk"))
    rows = (
        Dag.objects.filter(paused=False, active=True, next_run_at__lte=_NOW, latest_version__isnull=False)
        .annotate(n=Coalesce(Subquery(active.values("n")), 0))
        .filter(n__lt=F("max_active_runs"))
        .order_by("next_run_at")
    )
    return Select(lambda: rows.values_list(*_DUE_FIELDS)[:limit])


def next_due_dag_at(now: datetime) -> datetime | None:
    """When the next scheduled run falls due after `now`. Reads dag_due."""
    row = _NEXT_DUE.first(now=now)
    return None if row is None else row[0]


_NEXT_DUE = Select(
    lambda: (
        Dag.objects.filter(paused=False, active=True, next_run_at__gt=_NOW)
        .order_by("next_run_at")
        .values_list("next_run_at")[:1]
    )
)


def dags_to_plan(*, limit: int) -> list[DueDag]:
    """DAGs whose next run must be computed. Reads dag_replan."""
    return [_due(row) for row in _to_plan(limit)()]


@cache
def _to_plan(limit: int) -> Select:
    rows = Dag.objects.filter(replan=True, active=True, latest_version__isnull=False)
    return Select(lambda: rows.values_list(*_DUE_FIELDS)[:limit])


@dataclass(frozen=True, kw_only=True, slots=True)
class LastScheduled:
    logical_date: datetime
    interval_start: datetime | None
    interval_end: datetime | None
    run_after: datetime


def due_dag(dag_id: str) -> DueDag | None:
    """One DAG as it stands now, if it may get scheduled runs at all."""
    rows = Dag.objects.filter(pk=dag_id, active=True, latest_version__isnull=False)
    row = rows.values_list(*_DUE_FIELDS).first()
    return None if row is None else _due(row)


def last_scheduled(dag_id: str) -> LastScheduled | None:
    """The newest scheduled run by logical date. Reads one row of dagrun_scheduled."""
    row = (
        DagRun.objects.filter(run_is_scheduled(), dag_id=dag_id, logical_date__isnull=False)
        .order_by("-logical_date")
        .values_list("logical_date", "data_interval_start", "data_interval_end", "run_after")
        .first()
    )
    if row is None or row[0] is None:
        return None
    return LastScheduled(logical_date=row[0], interval_start=row[1], interval_end=row[2], run_after=row[3])
