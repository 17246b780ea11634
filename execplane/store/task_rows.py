"""What the verbs on task instances read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Min, Q, QuerySet

from execplane.contract.errors import NotFound
from execplane.contract.keys import NOT_MAPPED, TaskKey
from execplane.contract.states import ATTEMPT_ENDED, TASK_IN_FLIGHT, AttemptState, TaskState
from execplane.store.models import Attempt, DagRun, TaskInstance


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOf:
    pk: int
    dag_id: str
    run_id: str
    logical_date: datetime | None
    dag_version_id: int


def run_of(dag_id: str, run_id: str) -> RunOf:
    """Raises NotFound."""
    row = (
        DagRun.objects.filter(dag_id=dag_id, run_id=run_id).values_list("pk", "logical_date", "dag_version_id").first()
    )
    if row is None:
        raise NotFound(f"The DAG {dag_id} has no run {run_id}.", hint=f"`execplane runs list {dag_id}` shows its runs.")
    return RunOf(pk=row[0], dag_id=dag_id, run_id=run_id, logical_date=row[1], dag_version_id=row[2])


def markable(run: RunOf, task_id: str, map_index: int, *, limit: int, lock: bool) -> list[tuple[int, TaskKey]]:
    """One task instance; with -1 all of a mapped task, at most `limit`. `lock` as for `clearable`."""
    if lock:
        list(DagRun.objects.filter(pk=run.pk).select_for_update().values_list("pk"))
    rows = TaskInstance.objects.filter(dagrun_id=run.pk, task_id=task_id)
    found = rows.filter(map_index=map_index)
    if map_index == NOT_MAPPED:
        live = rows.exclude(state=TaskState.REMOVED)
        found = live if live.exists() else found
    return [
        (pk, TaskKey(dag_id=run.dag_id, run_id=run.run_id, task_id=task_id, map_index=index))
        for pk, index in found.order_by("map_index").values_list("pk", "map_index")[:limit]
    ]


def map_index_range(run_pk: int, task_id: str) -> tuple[int, int] | None:
    """The first and the last map index of the task in this run; (-1, -1): it has none; None: there is no instance."""
    rows = TaskInstance.objects.filter(dagrun_id=run_pk, task_id=task_id).exclude(state=TaskState.REMOVED)
    found = rows.aggregate(first=Min("map_index"), last=Max("map_index"))
    return None if found["first"] is None else (found["first"], found["last"])


def clearable(
    run: RunOf,
    task_ids: Collection[str],
    *,
    named: Collection[str],
    map_indexes: Collection[int] | None,
    past: bool,
    future: bool,
    only_failed: bool,
    limit: int,
    lock: bool,
) -> list[tuple[int, TaskKey]]:
    """Instances that a clear would reset, at most `limit`; map indexes narrow the named tasks only.

    `lock`: their runs are held until the caller's `write()` ends, so that what is found is what is cleared. Without
    it nothing waits for a run that is being decided: a preview only reads.
    """
    runs = DagRun.objects.filter(pk=run.pk)
    if run.logical_date is not None and (past or future):
        runs = DagRun.objects.filter(dag_id=run.dag_id)
        if past and not future:
            runs = runs.filter(logical_date__lte=run.logical_date)
        elif future and not past:
            runs = runs.filter(logical_date__gte=run.logical_date)
    rows = _resettable(runs, task_ids, named=named, map_indexes=map_indexes, only_failed=only_failed)
    if lock:
        # Of other runs only those that have something to clear; and what they have once they are held.
        concerned = {run.pk, *rows.values_list("dagrun_id", flat=True)[:limit]}
        list(DagRun.objects.filter(pk__in=concerned).order_by("pk").select_for_update().values_list("pk"))
        rows = rows.filter(dagrun_id__in=concerned)
    fields = ("pk", "dagrun__run_id", "task_id", "map_index")
    found = rows.order_by("dagrun_id", "task_id", "map_index").values_list(*fields)[:limit]
    return [
        (pk, TaskKey(dag_id=run.dag_id, run_id=run_id, task_id=task_id, map_index=map_index))
        for pk, run_id, task_id, map_index in found
    ]


def _resettable(
    runs: QuerySet[DagRun],
    task_ids: Collection[str],
    *,
    named: Collection[str],
    map_indexes: Collection[int] | None,
    only_failed: bool,
) -> QuerySet[TaskInstance]:
    rows = TaskInstance.objects.filter(dagrun__in=runs, task_id__in=task_ids).exclude(state=TaskState.REMOVED)
    if map_indexes is not None:
        rows = rows.filter(~Q(task_id__in=named) | Q(map_index__in=map_indexes))
    if only_failed:
        rows = rows.filter(state__in=[TaskState.FAILED, TaskState.UPSTREAM_FAILED])
    else:
        rows = rows.exclude(state=TaskState.NONE)
    return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancellable:
    ti_id: int
    state: str
    ended: bool
    leaving: bool
    """It is being stopped already, and its task instance has been given its state."""


def cancellable(attempt_id: int) -> Cancellable:
    """Raises NotFound."""
    row = Attempt.objects.filter(pk=attempt_id).values_list("ti_id", "state", "ti__state").first()
    if row is None:
        raise NotFound(f"There is no attempt {attempt_id}.")
    ti_id, state, task_state = row
    leaving = state == AttemptState.STOPPING and task_state not in TASK_IN_FLIGHT
    return Cancellable(ti_id=ti_id, state=state, ended=state in ATTEMPT_ENDED, leaving=leaving)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """An attempt that was told to stop, and what becomes of its task instance then ("clear", "": nothing)."""

    attempt_id: int
    executor: str
    then: str
    stop_reason: str
    heartbeat_at: datetime | None


def stopping(*, ti_ids: Collection[int], run_pk: int | None, not_of: Collection[str]) -> list[Stopping]:
    """What is being stopped of these task instances, or of the run, on other executors than `not_of`.

    Reads attempt_once, for a run by way of task_instance_once.
    """
    rows = Attempt.objects.filter(state=AttemptState.STOPPING).exclude(executor__in=not_of)
    rows = rows.filter(ti_id__in=ti_ids) if run_pk is None else rows.filter(ti__dagrun_id=run_pk)
    fields = ("pk", "executor", "stop_then", "stop_reason", "heartbeat_at")
    return [
        Stopping(attempt_id=pk, executor=executor, then=then, stop_reason=reason, heartbeat_at=heartbeat_at)
        for pk, executor, then, reason, heartbeat_at in rows.order_by("pk").values_list(*fields)
    ]
