"""Follows a run to its end: woken by the bus, looking by itself every other second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from execplane.cli.output import cell, remark
from execplane.contract.errors import Unavailable
from execplane.loops.wake import ANY

if TYPE_CHECKING:
    from execplane.compose import Deployment
    from execplane.store.queries.runs import RunRow

POLL_SECONDS = 2.0
_ENDED = ("success", "failed")


@contextmanager
def woken_by(deployment: Deployment, *topics: str) -> Iterator[threading.Event]:
    """An event that the bus sets at each wake of these topics; never set where the process has no bus."""
    event = threading.Event()
    wanted = {*topics, ANY}
    # Not made here: without a bus (home is read-only) the caller's own looking every other second is all there is.
    bus = deployment.__dict__.get("bus")
    if bus is None:
        yield event
        return
    unsubscribe = bus.subscribe(lambda topic: event.set() if topic in wanted else None)
    try:
        yield event
    finally:
        unsubscribe()


def follow_run(
    deployment: Deployment, dag_id: str, run_id: str, run_pk: int, *, timeout_seconds: float | None = None
) -> RunRow:
    """The run once it has ended, or as it is when the time is over. Says what its tasks do on standard error.

    A database that is gone meanwhile is waited for: the run does not end with it.
    """
    from django.db import DatabaseError, InterfaceError, connection

    from execplane.store.queries import runs

    clock = deployment.clock
    deadline = None if timeout_seconds is None else clock.monotonic() + timeout_seconds
    progress = _Progress()
    lost = False
    run: RunRow | None = None
    with woken_by(deployment, f"run:{run_pk}") as wake:
        while True:
            wake.clear()
            try:
                run = runs.get_run(dag_id, run_id)
                progress.tell(run)
                lost = False
            except (DatabaseError, InterfaceError):
                connection.close()
                if not lost:
                    remark("The database does not answer; waiting for it.")
                lost = True
            left = POLL_SECONDS if deadline is None else min(POLL_SECONDS, deadline - clock.monotonic())
            if run is not None and (run.state in _ENDED or left <= 0):
                return run
            if left <= 0:
                raise Unavailable(f"The database did not answer within {timeout_seconds:g} s.")
            wake.wait(max(left, 0.05))


class _Progress:
    """A line for each change of a task's state, and for each tenth of a mapped one's instances, once."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, int, int]] = {}

    def tell(self, run: RunRow) -> None:
        from execplane.store.queries.tasks import cells

        for task_id, found in sorted(cells([run.id])[run.id].items()):
            done = found.states.get("success", 0)
            now = (found.state, found.try_number, done * 10 // found.total if found.states else 0)
            if self._said.get(task_id, ("none", 0, 0)) != now:
                self._said[task_id] = now
                mapped = f" ({done} of {found.total} succeeded)" if found.states else ""
                again = f" (try {found.try_number})" if found.try_number > 1 else ""
                remark(f"  {cell(task_id)}: {found.state}{again}{mapped}")
