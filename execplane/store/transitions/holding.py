"""How long an ended attempt's container is kept alive, to look into it. Moves no state."""

from __future__ import annotations

from datetime import datetime

from execplane.contract.states import AttemptState
from execplane.store.database import nudge, write
from execplane.store.models import Attempt


def hold(attempt_id: int, *, until: datetime) -> None:
    """Its container is not cleaned up before `until`. What is held keeps its time."""
    with write():
        failed = Attempt.objects.filter(pk=attempt_id, state=AttemptState.FAILED, held_until=None)
        if failed.update(held_until=until):
            nudge(f"attempt:{attempt_id}")


def release(attempt_id: int, *, now: datetime) -> bool:
    """Its container is cleaned up as if it had not been held; False: it is not held (any more)."""
    with write():
        released = bool(Attempt.objects.filter(pk=attempt_id, held_until__gt=now).update(held_until=now))
        if released:
            nudge("driver", f"attempt:{attempt_id}")
    return released
