"""The loops' own words about themselves, a row per process and loop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from execplane.store.database import nudge, write
from execplane.store.models import LoopStatus


class LoopReport(Protocol):
    """What a row is made from (fulfilled by loops.supervisor.Report)."""

    name: str
    state: str
    started_at: datetime
    last_tick_at: datetime | None
    last_tick_seconds: float
    max_tick_seconds: float
    ticks: int
    errors: int
    restarts: int
    last_error: str


_FIELDS = [
    "version",
    "state",
    "started_at",
    "last_tick_at",
    "last_tick_seconds",
    "max_tick_seconds",
    "ticks",
    "errors",
    "restarts",
    "last_error",
    "seen_at",
]


def save_loop_reports(process: str, version: str, reports: Sequence[LoopReport], now: datetime) -> None:
    """Insert or overwrite this process's rows in one statement."""
    rows = [
        LoopStatus(
            process=process,
            name=report.name,
            version=version,
            state=report.state,
            started_at=report.started_at,
            last_tick_at=report.last_tick_at,
            last_tick_seconds=report.last_tick_seconds,
            max_tick_seconds=report.max_tick_seconds,
            ticks=report.ticks,
            errors=report.errors,
            restarts=report.restarts,
            last_error=report.last_error,
            seen_at=now,
        )
        for report in reports
    ]
    with write():
        LoopStatus.objects.bulk_create(
            rows, update_conflicts=True, update_fields=_FIELDS, unique_fields=["process", "name"]
        )
        nudge("loops")


def forget_silent_processes(before: datetime) -> None:
    """Drop rows of processes that have said nothing since `before`."""
    with write():
        LoopStatus.objects.filter(seen_at__lt=before).delete()
