"""Flushes heartbeats: one write a second for however many workers, as SQLite's single writer needs it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from execplane.contract.loops import Next, at

FLUSH_EVERY = timedelta(seconds=1)
IDLE_EVERY = timedelta(seconds=5)


class BeatLoop:
    """Not leased: every process flushes what its own API heard."""

    name = "heartbeats"
    topics: frozenset[str] = frozenset()
    leased = False
    poll_seconds = 5.0

    def __init__(self, flush: Callable[[], int]) -> None:
        self._flush = flush

    def tick(self, now: datetime) -> Next:
        return at(now + (FLUSH_EVERY if self._flush() else IDLE_EVERY))

    def close(self) -> None:
        self._flush()
