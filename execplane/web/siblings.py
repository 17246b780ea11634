"""Which attempts of a task instance stand beside the one that is shown, and how their list is folded. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from execplane.store.queries.attempts import AttemptMark

MOST_CHIPS = 8


@dataclass(frozen=True, kw_only=True)
class Try:
    """Attempts of one try that follow one another, newest first: a sensor that looks again makes hundreds of them."""

    number: int
    attempts: tuple[AttemptMark, ...]
    states: tuple[tuple[str, int], ...]

    @property
    def first_no(self) -> int:
        return self.attempts[-1].attempt_no

    @property
    def last_no(self) -> int:
        return self.attempts[0].attempt_no


def chips(newest: Sequence[AttemptMark], current: AttemptMark) -> tuple[AttemptMark, ...]:
    """At most `MOST_CHIPS`, oldest first: the one that is shown, how each try ended, then the newest of all."""
    ends = {one.try_number: one for one in newest}
    order = [*newest[-1:], *reversed(ends.values()), *reversed(newest)]
    chosen = {current.id: current}
    for one in order:
        if len(chosen) < MOST_CHIPS:
            chosen.setdefault(one.id, one)
    return tuple(sorted(chosen.values(), key=lambda one: one.attempt_no))


def tries(rows: Sequence[AttemptMark]) -> tuple[Try, ...]:
    """Fold attempts, given oldest first, by try; the newest try first."""
    found = []
    for number, same in groupby(reversed(rows), key=lambda one: one.try_number):
        attempts = tuple(same)
        found.append(
            Try(number=number, attempts=attempts, states=tuple(Counter(one.state for one in attempts).items()))
        )
    return tuple(found)
