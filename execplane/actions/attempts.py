"""Verbs on attempts: cancel, release."""

from __future__ import annotations

from execplane.actions.actor import Actor, demand
from execplane.actions.unserved import end_unserved
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict
from execplane.contract.states import TaskState
from execplane.store import task_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.queries.attempts import get_attempt
from execplane.store.transitions import clearing, holding

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


def release(actor: Actor, attempt_id: int, *, clock: Clock = _CLOCK) -> None:
    """Let a failed container go that is kept for debugging. Raises NotFound, Conflict (it is not held)."""
    demand(actor, "release held containers")
    now = clock.now()
    with write():
        row = get_attempt(attempt_id)
        if not row.is_held(now) or not holding.release(attempt_id, now=now):
            raise Conflict(f"The container of attempt {attempt_id} is not held.", hint="It may have ended by itself.")
        audit(actor.name, "release", f"attempt:{attempt_id}", before={"held_until": str(row.held_until)}, now=now)
