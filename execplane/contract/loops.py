"""The Loop protocol: a background worker is a `tick` that says when it wants to be called again.

The supervisor does the sleeping, waking, leasing, timing and restarting, so a test just calls `tick`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Next:
    """When to tick again: at once, at a time, or when woken (or after the loop's safety poll)."""

    at: datetime | None = None
    now: bool = False


NOW = Next(now=True)
IDLE = Next()


def at(moment: datetime) -> Next:
    """Tick again at `moment`, or earlier when woken."""
    return Next(at=moment)


class Loop(Protocol):
    name: str
    """Also the lease's name, where it is leased."""
    topics: frozenset[str]
    """Wake topics that end the loop's sleep."""
    leased: bool
    """True: one process at a time runs it, the others stand by."""
    poll_seconds: float
    """The safety net: the longest sleep when no wake comes."""

    def tick(self, now: datetime) -> Next:
        """One step: bounded work, no sleeping. An exception is logged, counted, and retried with back-off."""

    def close(self) -> None:
        """The loop will not be ticked again (lost lease, stop)."""
