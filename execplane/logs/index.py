"""Where in a log file which line is: runs of consecutive offsets, each with a byte position every few hundred lines.

Lines nearly always arrive in order, so a file is one run. A batch that was lost and sent again later makes another
run further down; runs never overlap, so sorted by offset they are the log.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

STRIDE_LINES = 256
MAX_RUNS = 10_000
# A line ends with the quote of its last field. One that a crash cut short may look whole only if it ends so, too:
# inside a text that quote would be escaped.
_LINE = re.compile(rb'^\{"offset":(\d{1,18}),[^\n]*(?<!\\)(?:\\\\)*"\}\n', re.MULTILINE)


@dataclass(kw_only=True, eq=False)
class LineRun:
    """Consecutive lines first..last; `points[i]` is where line first + i * STRIDE_LINES begins."""

    first: int
    last: int
    points: list[int] = field(default_factory=list)

    def start_for(self, offset: int) -> int:
        """A byte position at or before the line `offset`, and not long before it."""
        return self.points[max(0, offset - self.first) // STRIDE_LINES]


class LineIndex:
    """The runs of one file. `scanned_bytes` is how far it has been read: always just after a line's end."""

    def __init__(self) -> None:
        self.scanned_bytes = 0
        self._runs: list[LineRun] = []
        self._newest: LineRun | None = None

    @property
    def end(self) -> int:
        """One more than the highest offset there is."""
        return self._runs[-1].last + 1 if self._runs else 0

    @property
    def full(self) -> bool:
        """So torn that lines which would open another run are dropped, to keep memory bounded."""
        return len(self._runs) >= MAX_RUNS

    def feed(self, data: bytes) -> int:
        """Take the file's next bytes; gives how many of them were whole lines."""
        whole = data.rfind(b"\n") + 1
        for match in _LINE.finditer(data, 0, whole):
            self._add(int(match[1]), self.scanned_bytes + match.start())
        self.scanned_bytes += whole
        return whole

    def has(self, offset: int) -> bool:
        run = self._at_or_before(offset)
        return run is not None and offset <= run.last

    def extends(self, offset: int) -> bool:
        """Whether the line would go on with the newest run rather than open another."""
        return self._newest is not None and offset == self._newest.last + 1

    def runs_from(self, offset: int) -> Iterator[LineRun]:
        """The runs that hold lines from `offset` on, in order."""
        position = max(0, bisect_right(self._runs, offset, key=_first) - 1)
        for run in self._runs[position:]:
            if run.last >= offset:
                yield run

    def _at_or_before(self, offset: int) -> LineRun | None:
        position = bisect_right(self._runs, offset, key=_first)
        return self._runs[position - 1] if position else None

    def _add(self, offset: int, position: int) -> None:
        # A line that is there twice (two writers that could not lock each other out) counts once.
        if self.has(offset):
            return
        run = self._newest
        if run is None or offset != run.last + 1:
            run = self._newest = LineRun(first=offset, last=offset - 1)
            insort(self._runs, run, key=_first)
        run.last = offset
        if (offset - run.first) % STRIDE_LINES == 0:
            run.points.append(position)


def _first(run: LineRun) -> int:
    return run.first
