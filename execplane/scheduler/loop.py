"""The loop around `decide`: lock a run whose decision is due, read its rows, decide, write; a transaction a run.

Several schedulers may run: a locked run is skipped by the others, and a run is made once by its unique keys.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.contract.loops import IDLE, NOW, Next, at
from execplane.contract.states import Cause, RunState, TaskState
from execplane.scheduler.calendar import Calendar
from execplane.scheduler.compiled import CompiledDag, compile_dag
from execplane.scheduler.decide import decide, past_needed
from execplane.scheduler.decide_view import Decision, Launch, Past, RunView, TaskRow
from execplane.store import run_rows
from execplane.store.database import is_outage
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.transitions import runs as transitions
from execplane.store.transitions.ending import request_stop_of_instances
from execplane.store.transitions.launching import NewAttempt, queue_attempts
from execplane.store.transitions.runs import LockedRun

log = logging.getLogger(__name__)

_AFTER_A_FAULT = timedelta(seconds=30)
_RECHECK_EVERY = timedelta(minutes=2)
_MOST_ROUNDS = 10
"""Rounds of decide in one transaction: expansion of expansions; more only by a fault of ours."""


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions:
    default_executor: str
    queue_executors: Mapping[str, str] = field(default_factory=dict)
    runs_per_tick: int = 50


@lru_cache(maxsize=256)
def compiled(dag_version_id: int) -> CompiledDag:
    """The compiled DAG of a version: immutable, so it is kept."""
    return compile_dag(dag_spec(dag_version_id))


class SchedulerLoop:
    """Creates the runs that are due, starts queued ones and decides running ones."""

    name = "scheduler"
    topics = frozenset({"scheduler"})
    leased = False
    poll_seconds = 5.0

    def __init__(self, options: SchedulerOptions, calendar: Calendar, clock: Clock, actor: str) -> None:
        self._options = options
        self._calendar = calendar
        self._clock = clock
        self._actor = actor
        self._recheck_at = clock.now() + _RECHECK_EVERY

    def tick(self, now: datetime) -> Next:
        next_run_at = self._calendar.create_due_runs(now)
        if now >= self._recheck_at:
            transitions.recheck_forgotten(now)
            self._recheck_at = now + _RECHECK_EVERY
        for _ in range(self._options.runs_per_tick):
            if not self.decide_one(self._clock.now()):
                break
        else:
            return NOW
        moments = [moment for moment in (next_run_at, transitions.next_due_at()) if moment is not None]
        return at(min(moments)) if moments else IDLE

    def decide_one(self, now: datetime) -> bool:
        """Decide one due run, if there is one. A run that cannot be decided (a fault of ours) waits for a while and
        says so, and the others go on."""
        taken: LockedRun | None = None
        started = self._clock.monotonic()
        try:
            with transitions.lock_due_run(now) as run:
                if run is None:
                    return False
                taken = run
                if run.state is RunState.QUEUED:
                    self._start(run, now)
                else:
                    self._decide(run, now)
        except Exception as error:
            if taken is None or is_outage(error):
                raise
            log.exception("the run %s of %s could not be decided", taken.run_id, taken.dag_id)
            reason = f"The scheduler could not decide this run: {type(error).__name__}: {error}"
            transitions.hold_run(taken.pk, decide_at=now + _AFTER_A_FAULT, reason=reason)
        metrics.current().observe("execplane_scheduler_decide_seconds", self._clock.monotonic() - started)
        return True

    def _start(self, run: LockedRun, now: datetime) -> None:
        if run.paused and transitions.still_paused(run.dag_id):
            transitions.postpone_run(run, decide_at=None, reason="The DAG is paused.")
        elif transitions.running_runs(run.dag_id) >= (most := transitions.max_active_runs(run.dag_id)):
            reason = f"As many runs are running as the DAG's max_active_runs allows ({most})."
            transitions.postpone_run(run, decide_at=None, reason=reason)
        else:
            transitions.start_run(run, now=now)

    def _decide(self, run: LockedRun, now: datetime) -> None:
        dag = compiled(run.dag_version_id)
        past = past_of(run, dag)
        for _ in range(_MOST_ROUNDS):
            decision = decide(view_of(run, dag, past), now)
            self._apply(run, dag, decision, now)
            if decision.run_state is not None:
                return
            if not decision.again:
                break
        else:
            log.error("the run %s of %s did not settle; it is decided again", run.run_id, run.dag_id)
            transitions.postpone_run(run, decide_at=now + timedelta(seconds=1), reason="")
            return
        transitions.postpone_run(run, decide_at=decision.wake_at, reason="")

    def _apply(self, run: LockedRun, dag: CompiledDag, decision: Decision, now: datetime) -> None:
        moves = [
            transitions.Move(ti_id=move.ti_id, source=move.source, target=move.target, reason=move.reason)
            for move in decision.moves
        ]
        request_stop_of_instances(
            {move.ti_id: move.reason for move in decision.moves if move.stop}, actor=self._actor, now=now
        )
        transitions.move_instances(run, moves, now=now)
        for expand in decision.expand:
            if expand.reindex is not None:
                transitions.remap_instance(expand.reindex, 0)
        transitions.create_instances(
            run, [(create.task_id, create.map_index, create.state) for create in decision.create], now=now
        )
        if moves or decision.run_state is not None:
            self._wake_followers(run, dag, now)
        queue_attempts(run.pk, [self._attempt(dag, launch) for launch in decision.launch], actor=self._actor, now=now)
        if decision.run_state is not None:
            transitions.end_run(run, decision.run_state, reason=decision.run_reason, now=now)
            if dag.spec.timetable.kind == "continuous":
                transitions.plan_again(run.dag_id)

    def _wake_followers(self, run: LockedRun, dag: CompiledDag, now: datetime) -> None:
        """Later runs whose tasks depend on this run's look again."""
        if run.logical_date is not None and past_needed(dag):
            transitions.recheck_runs(run_rows.later_runs_waiting(run.dag_id, run.logical_date, now), now)

    def _attempt(self, dag: CompiledDag, launch: Launch) -> NewAttempt:
        task = dag.task(launch.task_id)
        executor = task.spec.executor or self._options.queue_executors.get(task.spec.queue)
        return NewAttempt(
            ti_id=launch.ti_id,
            task_id=launch.task_id,
            map_index=launch.map_index,
            cause=Cause(launch.cause),
            executor=executor or self._options.default_executor,
            queue=task.spec.queue,
            pool=task.spec.pool,
            slots=task.spec.pool_slots,
            priority=task.priority_weight,
            max_per_dag=task.spec.max_active_tis_per_dag,
        )

    def close(self) -> None:
        """Nothing is held."""


def past_of(run: LockedRun, dag: CompiledDag) -> Past | None:
    """What the run's tasks must know of the run before; None: nothing, or there is none."""
    needed = past_needed(dag)
    if not needed or run.logical_date is None:
        return None
    row = run_rows.past(run.dag_id, run.logical_date, needed, scheduled_only=dag.spec.catchup)
    return None if row is None else Past(logical_date=row.logical_date, states=row.states, seen=row.seen)


def view_of(run: LockedRun, dag: CompiledDag, past: Past | None) -> RunView:
    """The run as `decide` looks at it."""
    producers = {dag.tasks[index].task_id for task in dag.tasks for index in task.producers}
    empty = run_rows.without_return_value(run.pk, producers) if producers else frozenset()
    return RunView(
        dag=dag,
        state=run.state,
        rows=[
            TaskRow(
                id=row.id,
                task_id=row.task_id,
                map_index=row.map_index,
                state=TaskState(row.state),
                attempt_no=row.attempt_no,
                try_number=row.try_number,
                author_failures=row.author_failures,
                infra_failures=row.infra_failures,
                eligible_at=row.eligible_at,
                next_cause=Cause(row.next_cause),
                skips=frozenset(row.skips),
                map_length=row.map_length,
                has_return=row.id not in empty,
            )
            for row in run_rows.instances(run.pk)
        ],
        logical_date=run.logical_date,
        start_time=run.started_at,
        paused=run.paused,
        past=past,
    )
