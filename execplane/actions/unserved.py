"""Attempts of an executor that this deployment does not run any more: it was taken out of the settings.

They have no driver, so nobody stops them or sees them end. The verb that stops one therefore ends it, and says that
its death is not confirmed. A driver that is merely stopped is in the settings, and ends its attempts when it is back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from execplane.actions.actor import Actor
from execplane.contract.categories import Category
from execplane.contract.states import AttemptState, TaskState
from execplane.store import lease_rows, task_rows
from execplane.store.task_rows import Stopping
from execplane.store.transitions.ending import AttemptEnd, end_attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The executors in the settings, and how long after its last heartbeat a worker has surely fenced itself."""

    executors: tuple[str, ...]
    self_fence: timedelta
    clusters: tuple[str, ...] = ()
    """Those of them that are named clusters."""


_served: Served | None = None


def serve(served: Served | None) -> Served | None:
    """Tell what the deployment runs; None: not known, and nothing is ended here. Gives what held before."""
    global _served
    before, _served = _served, served
    return before


def served() -> Served | None:
    """None: not known here."""
    return _served


@contextmanager
def serving(served: Served) -> Iterator[None]:
    """`serve` for as long as the block lasts."""
    before = serve(served)
    try:
        yield
    finally:
        serve(before)


def end_unserved(actor: Actor, *, ti_ids: Collection[int] = (), run_pk: int | None = None, now: datetime) -> list[int]:
    """End what was told to stop and has no driver, of these task instances or this run; gives the attempts.

    Inside the caller's `write()`, after its stops. An executor that some process still drives is left to it, whatever
    the settings here say.
    """
    if _served is None:
        return []
    found = task_rows.stopping(ti_ids=ti_ids, run_pk=run_pk, not_of=_served.executors)
    driven = {executor: lease_rows.is_held(f"driver:{executor}") for executor in {one.executor for one in found}}
    orphans = [one for one in found if not driven[one.executor]]
    for one in orphans:
        end_attempt(one.attempt_id, _end(one, _served.self_fence, now), actor=actor.name, now=now)
    return [one.attempt_id for one in orphans]


def _end(one: Stopping, self_fence: timedelta, now: datetime) -> AttemptEnd:
    dead_at = now if one.heartbeat_at is None else max(now, one.heartbeat_at + self_fence)
    reason = (
        f"The attempt was stopped ({one.stop_reason}). This deployment does not run the executor {one.executor} any "
        "more, so nobody ended it there or saw it end."
    )
    if dead_at > now:
        reason += (
            f" If its worker lives, it has fenced itself at {dead_at:%H:%M:%S} UTC; no other attempt starts before."
        )
    return AttemptEnd(
        state=AttemptState.CANCELLED,
        task_state=TaskState.NONE if one.then == "clear" else None,
        category=Category.CANCELLED,
        reason=reason,
        hint="Put the executor back with EXECPLANE_EXECUTORS, and what is left there is cleaned up.",
        columns={"gone_at": dead_at},
    )
