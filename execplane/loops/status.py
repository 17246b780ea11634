"""Writes down what this process's loops say of themselves, for the loops page and `execplane status`.

One small transaction every few seconds, and only what changed, so that an idle deployment stays idle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from execplane import __version__
from execplane.contract.loops import IDLE, Next
from execplane.loops.supervisor import Report
from execplane.store.loop_rows import forget_silent_processes, save_loop_reports

FORGET_AFTER = timedelta(hours=1)


class StatusLoop:
    """Saves the reports; rows of processes silent for an hour are forgotten."""

    name = "status"
    topics: frozenset[str] = frozenset()
    leased = False

    def __init__(
        self, process: str, reports: Callable[[], Sequence[Report]], *, interval_seconds: float = 10.0
    ) -> None:
        self.poll_seconds = interval_seconds
        self._process = process
        self._reports = reports

    def tick(self, now: datetime) -> Next:
        save_loop_reports(self._process, __version__, self._reports(), now)
        forget_silent_processes(now - FORGET_AFTER)
        return IDLE

    def close(self) -> None:
        """Nothing is held."""
