"""From the runs of lines that are there to the gaps between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from execplane.contract.logs import LogGap, LogRecord

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "WARN": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}


@dataclass(frozen=True, kw_only=True)
class Produced:
    """What is known of an attempt's log apart from the lines themselves."""

    lines: int = 0
    """Lines that the worker said it produced, in its newest heartbeat or its End."""
    ended: bool = False
    """The attempt ended: what did not arrive yet is not expected any more."""
    reported: bool = False
    """Its End arrived, so `lines` is final. Otherwise nobody knows what came after the last heartbeat."""


UNKNOWN = Produced()


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which lines to show. `search` is plain text, whatever its case; `level` is the lowest to show."""

    search: str = ""
    level: str = ""

    def __bool__(self) -> bool:
        return bool(self.search or self.level)

    def takes(self, record: LogRecord) -> bool:
        if self.level and level_number(record.level) < level_number(self.level):
            return False
        return not self.search or self.search.casefold() in record.message.casefold()


NO_FILTER = Filter()


def level_number(level: str) -> int:
    """Levels by weight; one that nobody knows counts as INFO, so that a filter does not hide it needlessly."""
    return _LEVELS.get(level.upper(), 20)


def gap_before(expected: int, first: int) -> tuple[LogGap, ...]:
    """The gap between the next line wanted and the first one there is."""
    if first <= expected:
        return ()
    return (LogGap(after_offset=expected - 1, count=first - expected),)


def tail_gaps(expected: int, produced: Produced) -> tuple[tuple[LogGap, ...], int]:
    """The gaps after the last line that is there (`expected` is the one after it), and where the log ends."""
    if not produced.ended:
        return (), expected
    gaps = gap_before(expected, produced.lines)
    end = max(expected, produced.lines)
    if not produced.reported:
        gaps = (*gaps, LogGap(after_offset=end - 1, count=None))
    return gaps, end


def missing_lines(gaps: Sequence[LogGap]) -> int:
    """How many lines are known to be missing."""
    return sum(gap.count or 0 for gap in gaps)
