"""When DAGs run next: plans each DAG's next scheduled run, and creates the run once it is due."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from execplane.contract.errors import Conflict
from execplane.contract.states import RunType
from execplane.scheduler.timetables import LastRun, NextRun, next_run, run_id
from execplane.store import run_rows
from execplane.store.database import is_outage, write
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.run_rows import DueDag
from execplane.store.transitions import runs as transitions

log = logging.getLogger(__name__)

_JUST = timedelta(minutes=10)
"""More than any tick counts as just passed, and than a run is planned ahead of its creation."""


class Calendar:
    """Plans and creates scheduled runs; several may work on one database."""

    def __init__(self, *, most_per_tick: int = 20, actor: str = "scheduler") -> None:
        self._most = most_per_tick
        self._actor = actor

    def create_due_runs(self, now: datetime) -> datetime | None:
        """Plan what must be planned, create what is due; gives when the next run falls due (None: none known)."""
        for dag in run_rows.dags_to_plan(limit=200):
            self._guarded(self._plan, dag, now)
        due = run_rows.due_dags(now, limit=self._most)
        made = [self._guarded(self._create, dag, now) for dag in due]
        return now if len(due) == self._most and any(made) else run_rows.next_due_dag_at(now)

    def _guarded(self, work: Callable[[DueDag, datetime], bool], dag: DueDag, now: datetime) -> bool:
        """A DAG whose schedule cannot be computed says so and has no next run; the others go on."""
        try:
            return work(dag, now)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("the next run of %s could not be planned", dag.dag_id)
            reason = f"The next run of {dag.dag_id} cannot be planned: {type(error).__name__}: {error}."
            transitions.give_up_planning(dag.dag_id, reason, now=now)
            return False

    def _plan(self, seen: DueDag, now: datetime) -> bool:
        with write():
            transitions.lock_dag(seen.dag_id)
            dag = run_rows.due_dag(seen.dag_id)
            if dag is not None:
                _store(dag, _following(dag, run_rows.last_scheduled(seen.dag_id), now))
        return dag is not None

    def _create(self, seen: DueDag, now: datetime) -> bool:
        """Make the run that is due, if it still is: its DAG's row is locked, so that no other scheduler makes one,
        also where the date of a run depends on when it is made."""
        with write():
            transitions.lock_dag(seen.dag_id)
            dag = run_rows.due_dag(seen.dag_id)
            if dag is None or dag.next_run_at != seen.next_run_at:
                return False
            # Periods may have gone by unused since it was planned (a pause): without catchup the newest one counts.
            following = _following(dag, run_rows.last_scheduled(dag.dag_id), now)
            if following is not None and following.run_after > now:
                following = _just_due(dag, now) or following
            if following is None or following.run_after > now:
                _store(dag, following)
                return True
            # Somebody may have triggered this very date: then it exists.
            with contextlib.suppress(Conflict):
                transitions.create_run(self._new_run(dag, following), now=now)
            last = run_rows.LastScheduled(
                logical_date=following.logical_date,
                interval_start=following.data_interval_start,
                interval_end=following.data_interval_end,
                run_after=following.run_after,
            )
            _store(dag, _following(dag, last, now))
        return True

    def _new_run(self, dag: DueDag, following: NextRun) -> transitions.NewRun:
        return transitions.NewRun(
            dag_id=dag.dag_id,
            run_id=run_id(RunType.SCHEDULED, following.logical_date),
            run_type=RunType.SCHEDULED,
            logical_date=following.logical_date,
            interval_start=following.data_interval_start,
            interval_end=following.data_interval_end,
            run_after=following.run_after,
            dag_version_id=dag.dag_version_id,
            bundle_digest=dag.bundle,
            conf={},
            triggered_by=self._actor,
        )


def _just_due(dag: DueDag, now: datetime) -> NextRun | None:
    """The run as it was planned, when it fell due a moment ago: a tick that "just" passed while it was planned may no
    longer have by now, and must not be lost for that."""
    if dag.next_run_at is None or dag.logical_date is None or now - dag.next_run_at > _JUST:
        return None
    return NextRun(
        logical_date=dag.logical_date,
        data_interval_start=dag.interval_start or dag.logical_date,
        data_interval_end=dag.interval_end or dag.logical_date,
        run_after=dag.next_run_at,
    )


def _following(dag: DueDag, last: run_rows.LastScheduled | None, now: datetime) -> NextRun | None:
    spec = dag_spec(dag.dag_version_id)
    return next_run(
        spec.timetable,
        start_date=spec.start_date,
        end_date=spec.end_date,
        catchup=spec.catchup,
        last=None
        if last is None
        else LastRun(
            logical_date=last.logical_date,
            data_interval_start=last.interval_start or last.logical_date,
            data_interval_end=last.interval_end or last.logical_date,
        ),
        now=now,
        active=spec.timetable.kind == "continuous" and run_rows.any_active_run(dag.dag_id),
    )


def _store(dag: DueDag, following: NextRun | None) -> None:
    transitions.plan_next_run(
        dag.dag_id,
        next_run_at=following.run_after if following else None,
        logical_date=following.logical_date if following else None,
        interval_start=following.data_interval_start if following else None,
        interval_end=following.data_interval_end if following else None,
    )
