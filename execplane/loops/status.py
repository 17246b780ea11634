"""Writes down what this process's loops say of themselves, for the loops page and `execplane status`.

One small transaction every few seconds, and only what changed, so that an idle deployment stays idle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from execplane import __version__
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.loops import IDLE, Next
from execplane.loops.supervisor import Report
from execplane.store.loop_rows import forget_silent_processes, save_loop_reports

FORGET_AFTER = timedelta(hours=1)
_CLOCK = SystemClock()


class StatusLoop:
    """Saves the reports; rows of processes silent for an hour are forgotten."""

    name = "status"
    topics: frozenset[str] = frozenset()
    leased = False

    def __init__(
        self,
        process: str,
        reports: Callable[[], Sequence[Report]],
        *,
        interval_seconds: float = 10.0,
        clock: Clock = _CLOCK,
    ) -> None:
        self.poll_seconds = interval_seconds
        self._clock = clock
        self._process = process
        self._reports = reports

    def tick(self, now: datetime) -> Next:
        self._save(now)
        forget_silent_processes(now - FORGET_AFTER)
        return IDLE

    def close(self) -> None:
        """The last word: the other loops are closed by now, and nobody is to take them for running."""
        self._save(self._clock.now())

    def _save(self, now: datetime) -> None:
        save_loop_reports(self._process, __version__, self._reports(), now)
