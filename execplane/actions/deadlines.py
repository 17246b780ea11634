"""Verbs on deadlines: let an open breaker's attempts be ended."""

from __future__ import annotations

from execplane.actions.actor import Actor, demand
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict
from execplane.store import deadline_rows
from execplane.store.audit import audit
from execplane.store.database import write

_CLOCK = SystemClock()


def confirm(actor: Actor, executor: str, *, clock: Clock = _CLOCK) -> int:
    """They really are overdue: end them. Gives for how many it counts. Raises Conflict when the breaker is not open.

    Lost answers: repeated it allows the same once more, or as many as are overdue by then.
    """
    demand(actor, "confirm deadlines")
    with write():
        count = deadline_rows.confirm(executor, confirmed_by=actor.name)
        if count is None:
            raise Conflict(
                f"The breaker of the {executor} executor's deadlines is not open.",
                hint="Nothing waits to be confirmed: `execplane deadlines list` shows what there is.",
            )
        audit(actor.name, "confirm", f"deadlines:{executor}", after={"attempts": count}, now=clock.now())
    return count
