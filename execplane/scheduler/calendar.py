"""When DAGs run next: plans each DAG's next scheduled run, and creates the run once it is due."""

from __future__ import annotations

from datetime import datetime

from execplane.contract.errors import Conflict
from execplane.contract.states import RunType
from execplane.scheduler.timetables import LastRun, NextRun, next_run, run_id
from execplane.store import run_rows
from execplane.store.launch_rows import dag_spec
from execplane.store.run_rows import DueDag
from execplane.store.transitions import runs as transitions


class Calendar:
    """Plans and creates scheduled runs; several may work on one database."""

    def __init__(self, *, most_per_tick: int = 20, actor: str = "scheduler") -> None:
        self._most = most_per_tick
        self._actor = actor

    def create_due_runs(self, now: datetime) -> datetime | None:
        """Plan what must be planned, create what is due; gives when the next run falls due (None: none known)."""
        for dag in run_rows.dags_to_plan(limit=200):
            self._plan(dag, now)
        due = run_rows.due_dags(now, limit=self._most)
        for dag in due:
            self._create(dag, now)
        return now if len(due) == self._most else run_rows.next_due_dag_at(now)

    def _plan(self, dag: DueDag, now: datetime) -> None:
        last = run_rows.last_scheduled(dag.dag_id)
        following = _following(dag, last, now)
        _store(dag, following)

    def _create(self, dag: DueDag, now: datetime) -> None:
        # Periods may have gone by unused since it was planned (a pause): without catchup the newest one counts.
        following = _following(dag, run_rows.last_scheduled(dag.dag_id), now)
        if following is None or following.run_after > now:
            _store(dag, following)
            return
        try:
            transitions.create_run(self._new_run(dag, following), now=now)
        except Conflict:
            # Another scheduler made it, or somebody triggered this very date: either way it exists.
            pass
        last = run_rows.LastScheduled(
            logical_date=following.logical_date,
            interval_start=following.data_interval_start,
            interval_end=following.data_interval_end,
            run_after=following.run_after,
        )
        _store(dag, _following(dag, last, now))

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
    )


def _store(dag: DueDag, following: NextRun | None) -> None:
    transitions.plan_next_run(
        dag.dag_id,
        planned_for=dag.next_run_at,
        next_run_at=following.run_after if following else None,
        logical_date=following.logical_date if following else None,
        interval_start=following.data_interval_start if following else None,
        interval_end=following.data_interval_end if following else None,
    )
