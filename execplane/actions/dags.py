"""Verbs on DAGs: pause, unpause, trigger, refresh."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from execplane.actions.actor import Actor, demand
from execplane.actions.params import merge_conf
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict, InvalidInput, NotFound
from execplane.contract.states import RunType
from execplane.scheduler.timetables import manual_interval
from execplane.scheduler.timetables import run_id as make_run_id
from execplane.store import dag_rows
from execplane.store.audit import audit
from execplane.store.database import nudge, write
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.transitions import dags as dag_transitions
from execplane.store.transitions import runs as transitions

_CLOCK = SystemClock()
MOST_RUN_ID = 250
_NOT_IN_RUN_IDS = re.compile(r"[/\\?#\x00-\x1f\x7f]")
"""Run ids stand in addresses and in log paths."""


def pause(actor: Actor, dag_id: str, *, clock: Clock = _CLOCK) -> None:
    """Nothing of the DAG starts any more; what runs goes on."""
    _set_paused(actor, dag_id, True, clock)


def unpause(actor: Actor, dag_id: str, *, clock: Clock = _CLOCK) -> None:
    _set_paused(actor, dag_id, False, clock)


def _set_paused(actor: Actor, dag_id: str, paused: bool, clock: Clock) -> None:
    demand(actor, f"{'pause' if paused else 'unpause'} DAGs")
    now = clock.now()
    with write():
        if not dag_transitions.set_paused(dag_id, paused, now=now):
            raise NotFound(f"There is no DAG {dag_id}.")
        audit(actor.name, "pause" if paused else "unpause", f"dag:{dag_id}", now=now)


def refresh(actor: Actor, *, clock: Clock = _CLOCK) -> None:
    """Look at the DAG folders now instead of at the next pass (a CI webhook's verb)."""
    demand(actor, "refresh the DAG folders")
    with write():
        audit(actor.name, "refresh", "dags", now=clock.now())
        nudge("refresh")


def trigger(
    actor: Actor,
    dag_id: str,
    *,
    conf: dict[str, Any] | None = None,
    logical_date: datetime | None = None,
    run_id: str | None = None,
    clock: Clock = _CLOCK,
) -> dag_rows.Triggered:
    """Make a manual run. Raises NotFound, InvalidInput (params), Conflict (run id or logical date taken).

    Lost answers: repeated with the same run id it raises Conflict and makes nothing.
    """
    demand(actor, "trigger DAGs")
    now = clock.now()
    dag = dag_rows.triggerable(dag_id)
    if not dag.active:
        raise Conflict(f"No file defines the DAG {dag_id} any more.", hint="Restore its file, then trigger it.")
    if logical_date is not None and logical_date.tzinfo is None:
        logical_date = logical_date.replace(tzinfo=UTC)
    spec = dag_spec(dag.dag_version_id)
    moment = logical_date or now
    name = run_id or make_run_id(RunType.MANUAL, moment)
    _check_run_id(name)
    start, end = manual_interval(spec.timetable, moment)
    new = transitions.NewRun(
        dag_id=dag_id,
        run_id=name,
        run_type=RunType.MANUAL,
        logical_date=moment,
        interval_start=start,
        interval_end=end,
        run_after=now,
        dag_version_id=dag.dag_version_id,
        bundle_digest=dag.bundle,
        conf=merge_conf(spec.params, conf or {}),
        triggered_by=actor.name,
    )
    with write():
        pk = transitions.create_run(new, now=now)
        audit(actor.name, "trigger", f"dag:{dag_id}", after={"run_id": name, "conf": new.conf}, now=now)
    return dag_rows.Triggered(id=pk, dag_id=dag_id, run_id=name, paused=dag.paused)


def _check_run_id(name: str) -> None:
    if not name.strip() or len(name) > MOST_RUN_ID:
        raise InvalidInput(f"A run id has 1 to {MOST_RUN_ID} characters.")
    hint = "It stands in addresses and log paths: use letters, digits and -_.:+ instead."
    if name in (".", ".."):
        raise InvalidInput(f"A run id cannot be {name!r}, which is a folder's name.", hint=hint)
    if wrong := _NOT_IN_RUN_IDS.search(name):
        what = repr(wrong[0]) if wrong[0].isprintable() else f"the control character U+{ord(wrong[0]):04X}"
        raise InvalidInput(f"The run id {name!r} has {what} in it, which no run id may have.", hint=hint)
