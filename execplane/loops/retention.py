"""The loop that removes what is kept for a time only."""

from __future__ import annotations

from datetime import datetime, timedelta

from execplane.contract.loops import NOW, Next, at
from execplane.store.retention import forget_flight_records

_AT_ONCE = 500
_EVERY = timedelta(hours=1)


class RetentionLoop:
    """A `contract.loops.Loop`. Leased, because two would delete the same rows."""

    name = "retention"
    topics: frozenset[str] = frozenset()
    leased = True
    poll_seconds = 60.0

    def __init__(self, *, flight_records: timedelta) -> None:
        """`flight_records`: how long they are kept."""
        self._flight_records = flight_records
        self._due: datetime | None = None

    def tick(self, now: datetime) -> Next:
        """A batch, and at once the next while there is one: no transaction is long."""
        if self._due is None or now >= self._due:
            if forget_flight_records(before=now - self._flight_records, limit=_AT_ONCE) == _AT_ONCE:
                return NOW
            self._due = now + _EVERY
        return at(self._due)

    def close(self) -> None:
        self._due = None
