"""Operators' verbs on task instances and runs: clear, mark, stop. Tasks in flight are told to stop first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q

from execplane.contract.states import (
    TASK_ENDED,
    TASK_IN_FLIGHT,
    AttemptState,
    RunState,
    TaskState,
)
from execplane.store.database import nudge, write
from execplane.store.models import Attempt, Dag, DagRun, TaskInstance
from execplane.store.models.attempts import ACTIVE
from execplane.store.texts import clean
from execplane.store.transitions import ending
from execplane.store.transitions.ending import request_stop, reset_instances
from execplane.store.transitions.runs import plan_again, recheck_dag


def clear_instances(ti_ids: Sequence[int], *, actor: str, now: datetime, latest: bool = False) -> None:
    """Back to none, budgets and XComs reset; what is in flight is stopped and cleared once it is dead.

    `latest`: the runs go on with their DAG's newest version and files instead of those they began with.
    """
    with write():
        runs = _lock_runs(ti_ids)
        if latest:
            _move_to_latest(runs)
        alive = _stop(ti_ids, actor=actor, reason=f"cleared by {actor}", then="clear", now=now)
        TaskInstance.objects.filter(pk__in=alive).update(
            state=TaskState.RESTARTING, reason=f"cleared by {actor}; waiting for the running attempt to stop"
        )
        reset_instances((pk for pk in ti_ids if pk not in alive), now=now)
        _reopen_runs([run.pk for run in runs], now)
        for run in runs:
            nudge("scheduler", f"run:{run.pk}", f"dag:{run.dag_id}", "dags")


def _move_to_latest(runs: Sequence[DagRun]) -> None:
    dags = Dag.objects.filter(pk__in={run.dag_id for run in runs}, latest_version__isnull=False)
    for dag_id, version, bundle in dags.values_list("pk", "latest_version_id", "latest_bundle_id"):
        mine = [run.pk for run in runs if run.dag_id == dag_id]
        DagRun.objects.filter(pk__in=mine).update(dag_version_id=version, bundle_id=bundle)


def lock_run_of(attempt_id: int) -> None:
    """What is read of the attempt afterwards holds until the caller's `write()` ends."""
    ending.lock_attempt(attempt_id)


def _lock_runs(ti_ids: Sequence[int]) -> list[DagRun]:
    pks = TaskInstance.objects.filter(pk__in=ti_ids).values("dagrun_id")
    return list(DagRun.objects.select_for_update().filter(pk__in=pks).order_by("pk"))


def _stop(ti_ids: Sequence[int], *, actor: str, reason: str, then: str, now: datetime) -> set[int]:
    """Tell the attempts of these task instances to stop; gives the instances whose attempt is still alive."""
    rows = Attempt.objects.filter(ti_id__in=ti_ids, state__in=ACTIVE)
    # All of them at once and in one order, also those that are being stopped already: no deadlocks.
    active = list(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
    request_stop(active, actor=actor, reason=reason, then=then, now=now)
    alive = Attempt.objects.filter(pk__in=active, state=AttemptState.STOPPING)
    # One that was being stopped for another reason has the newest wish decide what comes after.
    alive.update(stop_then=then)
    return set(alive.values_list("ti_id", flat=True))


def drop_expansion(dag_id: str, run_id: str, task_ids: Sequence[str]) -> None:
    """Cleared mapped tasks whose inputs run again are expanded anew: all but one of their instances go.

    Only where all of them were cleared and none is in flight: what one has reached is not thrown away.
    """
    for task_id in task_ids:
        rows = TaskInstance.objects.filter(dagrun__dag_id=dag_id, dagrun__run_id=run_id, task_id=task_id)
        rows = rows.exclude(state=TaskState.REMOVED)
        found = list(rows.order_by("map_index").values_list("pk", "state"))
        if all(state == TaskState.NONE for _, state in found):
            spare = TaskInstance.objects.filter(pk__in=[pk for pk, _ in found[1:]], state=TaskState.NONE)
            spare.update(state=TaskState.REMOVED)


def _reopen_runs(run_pks: Sequence[int], now: datetime) -> None:
    """As in Airflow: clearing a task of an ended run lets the run go on."""
    DagRun.objects.filter(pk__in=run_pks, state__in=["success", "failed"]).update(
        state=RunState.QUEUED, ended_at=None, started_at=None, reason="", queued_at=now
    )
    DagRun.objects.filter(pk__in=run_pks).update(decide_at=now)


def mark_instances(
    ti_ids: Sequence[int], state: TaskState, *, actor: str, now: datetime, verb: str = "", why: str = ""
) -> None:
    """success, failed or skipped by hand; what is in flight is told to stop, and its end moves nothing."""
    reason = f"{verb or f'marked {state}'} by {actor}" + (f": {why}" if why else "")
    with write():
        runs = _lock_runs(ti_ids)
        _stop(ti_ids, actor=actor, reason=reason, then="", now=now)
        TaskInstance.objects.filter(pk__in=ti_ids).update(
            state=state, reason=clean(reason, 500), ended_at=now, eligible_at=None
        )
        DagRun.objects.filter(pk__in=[run.pk for run in runs]).update(decide_at=now)
        for run in runs:
            nudge("scheduler", f"run:{run.pk}", f"dag:{run.dag_id}", "dags")


def mark_run(run_pk: int, state: RunState, *, actor: str, now: datetime) -> None:
    """As in Airflow: success marks what has not ended as success; failed stops what is in flight, skips the rest."""
    with write():
        run = DagRun.objects.select_for_update().get(pk=run_pk)
        rows = TaskInstance.objects.filter(dagrun_id=run_pk)
        open_rows = rows.exclude(state__in=[*TASK_ENDED])
        if state == RunState.SUCCESS:
            failed = rows.filter(Q(state="failed") | Q(state="upstream_failed"))
            mark_instances(
                [*open_rows.values_list("pk", flat=True), *failed.values_list("pk", flat=True)],
                TaskState.SUCCESS,
                actor=actor,
                now=now,
            )
        else:
            flying = list(open_rows.filter(state__in=[*TASK_IN_FLIGHT]).values_list("pk", flat=True))
            rest = list(open_rows.exclude(pk__in=flying).values_list("pk", flat=True))
            mark_instances(flying, TaskState.FAILED, actor=actor, now=now)
            mark_instances(rest, TaskState.SKIPPED, actor=actor, now=now)
        DagRun.objects.filter(pk=run_pk).update(
            state=state,
            ended_at=now,
            reason=clean(f"marked {state} by {actor}", 500),
            decide_at=None,
            started_at=run.started_at or now,
        )
        recheck_dag(run.dag_id, now)
        plan_again(run.dag_id)
        nudge(f"run:{run_pk}", f"dag:{run.dag_id}", "dags", "scheduler")
