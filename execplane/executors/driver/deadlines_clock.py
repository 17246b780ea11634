"""A clock that runs only while all was well, as far as its owner saw it itself; and what its owner saw move.

Nothing of them is kept: they begin with their owner, so a driver that just started or took over gives everything its
whole time again, and has no opinion about the time when nobody drove. Clocks that are set, or differ, do not move them.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime

_MOST_PAUSES = 500
_LONGEST_STEP_SECONDS = 60.0
"""A longer time in which nobody looked does not count, whatever was found at both of its ends."""


class WellTime:
    """Told now and then whether all is well; tells how much of the time since a moment counted. Monotonic seconds."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._last = 0.0
        self._well = False
        self._pauses: deque[tuple[float, float]] = deque()

    def note(self, moment: float, *, well: bool) -> None:
        """Only what lies between two looks that found all well counts."""
        if self._began is None:
            self._began = moment
        elif not (self._well and well and moment - self._last <= _LONGEST_STEP_SECONDS):
            self._pause(self._last, moment)
        self._last, self._well = moment, well

    def since(self, start: float) -> float:
        """Seconds that counted from `start` to the last look."""
        if self._began is None:
            return 0.0
        start = max(start, self._began)
        missed = sum(end - max(begin, start) for begin, end in self._pauses if end > start)
        return max(0.0, self._last - start - missed)

    def _pause(self, begin: float, end: float) -> None:
        if self._pauses and self._pauses[-1][1] == begin:
            begin, _ = self._pauses.pop()
        self._pauses.append((begin, end))
        if len(self._pauses) > _MOST_PAUSES:
            # What lay before the oldest pause is forgotten with it: too little is counted, never too much.
            _, self._began = self._pauses.popleft()


class Moved:
    """Whether a time that others write down was seen to advance lately, whatever their clocks say."""

    def __init__(self, fresh_seconds: float) -> None:
        self._fresh_seconds = fresh_seconds
        self._value: datetime | None = None
        self._looked = self._moved = float("-inf")

    def look(self, value: datetime | None, moment: float) -> bool:
        """`value`: the time as it stands now. After a long time without a look nobody knows when it advanced. A step
        back is no news: whoever wrote the newest has gone."""
        known = moment - self._looked <= self._fresh_seconds
        if known and value is not None and (self._value is None or value > self._value):
            self._moved = moment
        self._value, self._looked = value, moment
        return moment - self._moved <= self._fresh_seconds
