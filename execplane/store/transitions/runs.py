"""Runs: created, started, decided and ended; and the task instances that belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from execplane.contract.errors import Conflict
from execplane.contract.states import RUN_ENDED, RunState, RunType, TaskState, task_sources
from execplane.store.database import afterwards, nudge, write
from execplane.store.models import Dag, DagRun, ImportErrorRow, TaskInstance
from execplane.store.prepared import Named, Parameter, Select
from execplane.store.queries.literal import run_is_active
from execplane.store.texts import clean


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    dag_id: str
    run_id: str
    run_type: RunType
    logical_date: datetime | None
    interval_start: datetime | None
    interval_end: datetime | None
    run_after: datetime
    dag_version_id: int
    bundle_digest: str
    conf: dict[str, Any]
    triggered_by: str


def create_run(new: NewRun, *, now: datetime) -> int:
    """Insert a queued run, due for a decision at once (or at its `run_after`); gives its primary key.

    Raises Conflict when the run id or the logical date is taken: so two schedulers never double a run.
    """
    try:
        with write(), transaction.atomic():
            run = DagRun.objects.create(
                dag_id=new.dag_id,
                run_id=new.run_id,
                run_type=new.run_type,
                state=RunState.QUEUED,
                logical_date=new.logical_date,
                data_interval_start=new.interval_start,
                data_interval_end=new.interval_end,
                run_after=new.run_after,
                dag_version_id=new.dag_version_id,
                bundle_id=new.bundle_digest,
                conf=new.conf,
                triggered_by=new.triggered_by,
                decide_at=max(now, new.run_after),
                queued_at=now,
            )
            nudge("scheduler", "dags", f"dag:{new.dag_id}", f"run:{run.pk}")
    except IntegrityError:
        when = f" or one for {new.logical_date.isoformat()}" if new.logical_date else ""
        raise Conflict(
            f"The DAG {new.dag_id} already has a run {new.run_id}{when}.",
            hint="Clear that run, or choose another date.",
        ) from None
    return run.pk


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedRun:
    """A run that the caller may decide until its `write()` ends; nobody else decides it meanwhile."""

    pk: int
    dag_id: str
    run_id: str
    run_type: RunType
    state: RunState
    logical_date: datetime | None
    interval_start: datetime | None
    interval_end: datetime | None
    dag_version_id: int
    started_at: datetime | None
    queued_at: datetime
    paused: bool


_DUE = Named(
    lambda: (
        DagRun.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(run_is_active(), decide_at__lte=Parameter("now"))
        .order_by("decide_at", "pk")[:1]
    ),
    pk="pk",
    dag_id="dag_id",
    run_id="run_id",
    run_type="run_type",
    state="state",
    logical_date="logical_date",
    interval_start="data_interval_start",
    interval_end="data_interval_end",
    dag_version_id="dag_version_id",
    started_at="started_at",
    queued_at="queued_at",
    paused="dag__paused",
)


@contextmanager
def lock_due_run(now: datetime) -> Iterator[LockedRun | None]:
    """The longest-waiting run whose decision is due, locked; None when there is none. Opens a `write()`.

    Other schedulers skip a locked row. Reads dagrun_to_decide, one row.
    """
    with write():
        row = _DUE.first(now=now)
        yield None if row is None else _locked(row)


def _locked(row: dict[str, Any]) -> LockedRun:
    return LockedRun(**{**row, "run_type": RunType(row["run_type"]), "state": RunState(row["state"])})


def next_due_at() -> datetime | None:
    """When the next decision is due, of all active runs."""
    row = _NEXT_DECISION.first()
    return None if row is None else row[0]


_NEXT_DECISION = Select(
    lambda: (
        DagRun.objects.filter(run_is_active(), decide_at__isnull=False)
        .order_by("decide_at")
        .values_list("decide_at")[:1]
    )
)


def running_runs(dag_id: str) -> int:
    """How many runs of the DAG are running (dagrun_active); nobody else starts one until the caller's `write()` ends.

    The DAG's row is locked after the run's, here and in `set_paused`: the order that avoids deadlocks.
    """
    lock_dag(dag_id)
    return DagRun.objects.filter(dag_id=dag_id, state=RunState.RUNNING).count()


def start_run(run: LockedRun, *, now: datetime) -> None:
    """queued -> running."""
    DagRun.objects.filter(pk=run.pk, state=RunState.QUEUED).update(
        state=RunState.RUNNING, started_at=now, reason="", decide_at=now
    )
    nudge(f"run:{run.pk}", f"dag:{run.dag_id}", "dags")


def postpone_run(run: LockedRun, *, decide_at: datetime | None, reason: str) -> None:
    """Not now: look again at `decide_at` (None: when something changes), and say why."""
    DagRun.objects.filter(pk=run.pk).update(decide_at=decide_at, reason=clean(reason, 500))


def end_run(run: LockedRun, state: RunState, *, reason: str, now: datetime) -> None:
    """The run is over; waiting runs of the DAG get their turn."""
    queued = DagRun.objects.filter(run_is_active(), dag_id=run.dag_id, state=RunState.QUEUED)
    DagRun.objects.filter(pk=run.pk).exclude(state__in=list(RUN_ENDED)).update(
        state=state, ended_at=now, reason=clean(reason, 500), decide_at=None
    )
    _recheck(queued, now)
    nudge(f"run:{run.pk}", f"dag:{run.dag_id}", "dags", "scheduler")


def recheck_dag(dag_id: str, now: datetime) -> None:
    """Decide all active runs of the DAG again: a run was marked, the DAG was unpaused or changed."""
    _recheck(DagRun.objects.filter(run_is_active(), dag_id=dag_id), now)


def recheck_queued(dag_ids: Sequence[str], now: datetime) -> None:
    """Decide the queued runs of these DAGs again: a limit that they wait for may have been raised."""
    _recheck(DagRun.objects.filter(run_is_active(), dag_id__in=dag_ids, state=RunState.QUEUED), now)


def recheck_runs(run_pks: Sequence[int], now: datetime) -> None:
    """Decide these active runs again."""
    if run_pks:
        _recheck(DagRun.objects.filter(run_is_active(), pk__in=run_pks), now)


def _recheck(rows: QuerySet[DagRun], now: datetime) -> None:
    """In a transaction of its own: whoever holds a run must not wait for another one's, as somebody may the other way
    round. Should it get lost, `recheck_forgotten` makes up for it."""
    afterwards(partial(_recheck_alone, rows, now))


def _recheck_alone(rows: QuerySet[DagRun], now: datetime) -> None:
    """Locked in one order first, whatever order the update would take: no deadlocks.

    Ordered by an expression, as SQLite would else walk all of the DAG's runs in that order.
    """
    ids = list(rows.order_by(F("pk") + 0).select_for_update().values_list("pk", flat=True))
    DagRun.objects.filter(run_is_active(), pk__in=ids).update(decide_at=now)
    if ids:
        nudge("scheduler")


def plan_again(dag_id: str) -> None:
    """Compute the DAG's next scheduled run anew: what it depends on has changed."""
    Dag.objects.filter(pk=dag_id).update(replan=True)


def hold_run(run_pk: int, *, decide_at: datetime, reason: str) -> None:
    """A run that could not be decided does not keep the others waiting."""
    with write():
        rows = DagRun.objects.filter(run_is_active(), pk=run_pk)
        rows.update(decide_at=decide_at, reason=clean(reason, 500))
        nudge(f"run:{run_pk}")


def lock_dag(dag_id: str) -> None:
    """Nobody else plans for this DAG, starts a run of it or pauses it until the caller's `write()` ends."""
    list(Dag.objects.filter(pk=dag_id).select_for_update(no_key=True).values_list("pk"))


def create_instances(run: LockedRun, keys: Sequence[tuple[str, int, TaskState]], *, now: datetime) -> None:
    """Insert missing task instances as (task_id, map_index, state); those that exist are left alone."""
    TaskInstance.objects.bulk_create(
        [
            TaskInstance(
                dagrun_id=run.pk,
                task_id=task_id,
                map_index=map_index,
                state=state,
                ended_at=None if state == TaskState.NONE else now,
            )
            for task_id, map_index, state in keys
        ],
        ignore_conflicts=True,
        batch_size=500,
    )


def remap_instance(ti_id: int, map_index: int) -> None:
    """The unmapped placeholder of a mapped task becomes its first instance."""
    TaskInstance.objects.filter(pk=ti_id, map_index=-1, state=TaskState.NONE).update(map_index=map_index)


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    ti_id: int
    source: TaskState
    target: TaskState
    reason: str = ""


def move_instances(run: LockedRun, moves: Sequence[Move], *, now: datetime) -> int:
    """Apply the scheduler's moves by compare-and-set; gives how many moved."""
    moved = 0
    groups: dict[tuple[TaskState, TaskState, str], list[int]] = {}
    for move in moves:
        groups.setdefault((move.source, move.target, move.reason), []).append(move.ti_id)
    for (source, target, reason), ids in groups.items():
        if source not in task_sources(target):
            raise Conflict(f"No edge leads from {source} to {target}.")
        moved += TaskInstance.objects.filter(pk__in=ids, state=source).update(
            state=target,
            reason=clean(reason, 500),
            ended_at=now if target != TaskState.NONE else None,
        )
    if moved:
        nudge(f"run:{run.pk}", f"dag:{run.dag_id}")
    return moved


def give_up_planning(dag_id: str, reason: str, *, now: datetime) -> None:
    """No next run until the DAG's file changes; the import errors say why."""
    with write():
        Dag.objects.filter(pk=dag_id).update(next_run_at=None, next_logical_date=None, replan=False)
        for bundle_name, file in Dag.objects.filter(pk=dag_id).values_list("bundle_name", "file"):
            ImportErrorRow.objects.update_or_create(
                bundle_name=bundle_name,
                file=file,
                defaults={"message": clean(reason, 2000), "seen_at": now},
                create_defaults={"message": clean(reason, 2000), "seen_at": now, "first_seen_at": now},
            )
        nudge("dags", f"dag:{dag_id}", "import-errors")


def max_active_runs(dag_id: str) -> int:
    """As the DAG's newest version says: a limit that was raised frees the runs that wait."""
    return Dag.objects.values_list("max_active_runs", flat=True).get(pk=dag_id)


def still_paused(dag_id: str) -> bool:
    """Read again under the DAG's lock: an unpause may have committed since the run was read."""
    lock_dag(dag_id)
    return Dag.objects.values_list("paused", flat=True).get(pk=dag_id)


def recheck_forgotten(now: datetime, *, limit: int = 1000) -> int:
    """The safety net under lost wakes: look again at active runs that wait for something to change."""
    with write():
        waiting = DagRun.objects.filter(run_is_active(), decide_at=None).order_by("pk")
        return DagRun.objects.filter(pk__in=list(waiting.values_list("pk", flat=True)[:limit])).update(decide_at=now)


def plan_next_run(
    dag_id: str,
    *,
    next_run_at: datetime | None,
    logical_date: datetime | None,
    interval_start: datetime | None,
    interval_end: datetime | None,
) -> None:
    """Set when the DAG's next scheduled run is due. Inside the caller's `write()`, after `lock_dag`."""
    Dag.objects.filter(pk=dag_id).update(
        next_run_at=next_run_at,
        next_logical_date=logical_date,
        next_interval_start=interval_start,
        next_interval_end=interval_end,
        replan=False,
    )
