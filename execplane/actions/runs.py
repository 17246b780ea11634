"""Verbs on runs: stop, clear, mark."""

from __future__ import annotations

from execplane.actions import tasks
from execplane.actions.actor import Actor, demand
from execplane.actions.unserved import end_unserved
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import InvalidInput
from execplane.contract.keys import TaskKey
from execplane.contract.states import RUN_ENDED, RunState
from execplane.store import task_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.transitions import clearing

_CLOCK = SystemClock()


def stop(actor: Actor, dag_id: str, run_id: str, *, clock: Clock = _CLOCK) -> None:
    """End the run as failed: what is in flight is stopped, what has not started is skipped."""
    mark(actor, dag_id, run_id, RunState.FAILED, clock=clock)


def mark(actor: Actor, dag_id: str, run_id: str, state: RunState | str, *, clock: Clock = _CLOCK) -> None:
    """success or failed by hand."""
    demand(actor, "mark runs")
    if str(state) not in {str(ended) for ended in RUN_ENDED}:
        raise InvalidInput(f"A run is marked success or failed, not {state}.")
    now = clock.now()
    with write():
        run = task_rows.run_of(dag_id, run_id)
        clearing.mark_run(run.pk, RunState(state), actor=actor.name, now=now)
        end_unserved(actor, run_pk=run.pk, now=now)
        audit(actor.name, f"mark {state}", f"run:{dag_id}/{run_id}", now=now)


def clear(
    actor: Actor,
    dag_id: str,
    run_id: str,
    *,
    only_failed: bool = False,
    latest: bool = False,
    dry_run: bool = False,
    clock: Clock = _CLOCK,
) -> list[TaskKey]:
    """Run all of its tasks again (or the failed ones), on the DAG's newest version where `latest` asks for it."""
    return tasks.clear(actor, dag_id, run_id, [], only_failed=only_failed, latest=latest, dry_run=dry_run, clock=clock)
