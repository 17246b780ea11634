"""Log records: what a worker sends, a store keeps and a page shows."""

from __future__ import annotations

from datetime import datetime

import msgspec


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `offset` counts an attempt's lines from 0 without gaps, so a gap is a loss that can be named."""

    offset: int
    at: datetime
    message: str
    level: str = "INFO"
    logger: str = ""
    stream: str = "log"
    """"log" | "stdout" | "stderr"."""


class LogGap(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that were produced and did not arrive. `count` None: it is not known how many."""

    after_offset: int
    count: int | None = None


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of an attempt's log. `next_offset` is where to go on; `complete`: the log has ended there."""

    records: tuple[LogRecord, ...] = ()
    gaps: tuple[LogGap, ...] = ()
    next_offset: int = 0
    complete: bool = False
    source: str = ""
