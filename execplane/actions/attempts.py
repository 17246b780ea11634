"""Verbs on attempts: cancel."""

from __future__ import annotations

from execplane.actions.actor import Actor, demand
from execplane.actions.unserved import end_unserved
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict
from execplane.contract.states import TaskState
from execplane.store import task_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.transitions import clearing

_CLOCK = SystemClock()


def cancel(actor: Actor, attempt_id: int, reason: str = "", *, clock: Clock = _CLOCK) -> None:
    """Stop the attempt and fail its task instance; it is not retried. Raises NotFound, Conflict (it has ended)."""
    demand(actor, "cancel attempts")
    now = clock.now()
    with write():
        clearing.lock_run_of(attempt_id)
        row = task_rows.cancellable(attempt_id)
        if row.ended:
            raise Conflict(f"The attempt has ended already: {row.state}.", hint="Clear the task to run it again.")
        if not row.leaving:
            clearing.mark_instances(
                [row.ti_id], TaskState.FAILED, actor=actor.name, now=now, verb="cancelled", why=reason
            )
        if not end_unserved(actor, ti_ids=[row.ti_id], now=now) and row.leaving:
            raise Conflict("The attempt is being stopped already.", hint="Its task has been given its state.")
        audit(actor.name, "cancel", f"attempt:{attempt_id}", after={"reason": reason}, now=now)
