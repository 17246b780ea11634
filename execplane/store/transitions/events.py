"""One append-only event for each transition, and for what was recorded without moving anything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from execplane.store.models import AttemptEvent
from execplane.store.prepared import Insert
from execplane.store.texts import clean

_INSERT = Insert(AttemptEvent)


Event = dict[str, Any]
"""An event's columns. A row, not a model: making a model takes longer than storing it."""


def event(
    attempt_id: int,
    seq: int,
    at: datetime,
    *,
    actor: str,
    from_state: str = "",
    to_state: str = "",
    reason: str = "",
    data: dict[str, Any] | None = None,
) -> Event:
    """A row that is not yet saved; see `record`."""
    return {
        "attempt_id": attempt_id,
        "seq": seq,
        "at": at,
        "from_state": from_state,
        "to_state": to_state,
        "actor": actor[:200],
        "reason": clean(reason),
        "data": data,
    }


def record(events: Iterable[Event]) -> None:
    """Append; inside the caller's `write()`."""
    _INSERT.many(events)
