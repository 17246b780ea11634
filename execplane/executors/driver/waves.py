"""Launches in waves: few at first, twice as many each time the ones before started well, none once too many failed.

After an outage, an unpause or a mass clear, thousands wait for the same thing; if that is broken, ten of them find out
as well as all. Pure: counts in, how many may go out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum


@dataclass(frozen=True, kw_only=True)
class WaveOptions:
    """from_waiting: waves begin when more than so many wait; 0: there are none. failing_share: more failures than this
    share of a wave stop it. outage_seconds: an executor that could not launch for so long had an outage."""

    from_waiting: int = 500
    first: int = 10
    failing_share: float = 0.3
    outage_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wave:
    """The one under way. `total`: how many waited when the first began; `before`: launched by the waves before it.
    `well`: of those launched, the ones whose worker came to run; `failed`: those that ended without it."""

    cause: str
    total: int
    size: int
    number: int = 1
    before: int = 0
    launched: int = 0
    well: int = 0
    failed: int = 0

    @property
    def sentence(self) -> str:
        """Where it stands; for whoever asks now."""
        gone = self.before + self.launched
        return (
            f"Launches go out in waves ({self.cause}): wave {self.number} of about {self.expected}, {gone:,} of "
            f"{self.total:,} launched; in this wave of {self.size}, {self.well} started well and {self.failed} failed."
        )

    @property
    def expected(self) -> int:
        """How many waves it will have been, if each starts well."""
        left, size, more = self.total - self.before - self.size, self.size * 2, 0
        while left > 0:
            left, size, more = left - size, size * 2, more + 1
        return self.number + more


class Verdict(Enum):
    GO_ON = "go on"
    NEXT = "next"
    """It started well: the next one is twice as large."""
    STOP = "stop"
    DONE = "done"
    """Nobody is left of those that waited."""


def begin(waiting: int, cause: str, options: WaveOptions) -> Wave | None:
    """The first wave; None where so few wait that they may all go."""
    if not options.from_waiting or waiting <= options.from_waiting:
        return None
    return Wave(cause=cause, total=waiting, size=options.first)


def needed(wave: Wave, options: WaveOptions, for_room: int = 0) -> int:
    """How many of it must start well before the next one; `for_room` of it have waited for capacity for so long that
    the others speak for them: a full namespace says nothing about the next one."""
    rest = wave.size - for_room
    return rest - math.floor(rest * options.failing_share)


def verdict(wave: Wave, waiting: int, options: WaveOptions, for_room: int = 0) -> Verdict:
    """What follows from how it stands and from how many wait now. `for_room`: see `needed`."""
    if wave.failed > wave.size - needed(wave, options):
        return Verdict.STOP
    if not waiting or wave.before + wave.launched >= wave.total:
        return Verdict.DONE
    if wave.launched >= wave.size and wave.well >= needed(wave, options, for_room):
        return Verdict.NEXT
    return Verdict.GO_ON


def may_go(wave: Wave, waiting: int, options: WaveOptions) -> int:
    """How many may be launched now."""
    if verdict(wave, waiting, options) is Verdict.STOP:
        return 0
    return max(0, min(wave.size - wave.launched, waiting))


def following(wave: Wave) -> Wave:
    """The next wave."""
    return replace(
        wave,
        number=wave.number + 1,
        size=wave.size * 2,
        before=wave.before + wave.launched,
        launched=0,
        well=0,
        failed=0,
    )


def taken_over(wave: Wave) -> Wave:
    """By a driver that does not know which attempts it was: as large as it was, from its beginning."""
    return replace(wave, before=wave.before + wave.launched, launched=0, well=0, failed=0)
