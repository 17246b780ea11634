"""The phases of one attempt in their order, and the moments that different clocks say of them put into that order.

Queued to ended is told by our own clock, the node of a pod by the scheduler's, its containers by the kubelet's (in
whole seconds), the start of user code by the worker's. Where another clock says what cannot be (a container that
started before its pod was launched), that clock is wrong: all its moments are moved together, so that what lies
between them stays, and the reader is told. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class ClockOf(StrEnum):
    US = "execplane"
    CLUSTER = "the cluster's scheduler"
    NODE = "the node"


@dataclass(frozen=True, kw_only=True)
class Phase:
    name: str
    label: str
    help: str
    spent: str
    """What the attempt did until this phase began, from the last phase that is known."""
    clock: ClockOf = ClockOf.US
    anchor: bool = True
    """It happens in this order for certain. An acknowledgement may come late, when the first answer was lost."""

    @property
    def column(self) -> str:
        return f"{self.name}_at"


PHASES = (
    Phase(name="queued", label="Queued", help="The scheduler asked for it", spent="was planned"),
    Phase(name="claimed", label="Claimed", help="A driver took it within slots and pools", spent="waited for its turn"),
    Phase(name="launched", label="Created", help="Its exact pod or process was committed and sent", spent="was built"),
    Phase(
        name="acknowledged",
        label="Acknowledged",
        help="The API server or host said that it exists",
        spent="waited for the answer to its creation",
        anchor=False,
    ),
    Phase(
        name="scheduled",
        label="Scheduled",
        help="It got a node",
        spent="waited for a node",
        clock=ClockOf.CLUSTER,
    ),
    Phase(
        name="initialized",
        label="Initialized",
        help="Its init containers were done",
        spent="ran its init containers",
        clock=ClockOf.NODE,
    ),
    Phase(
        name="pulled",
        label="Image pulled",
        help="Its image is on the node",
        spent="waited for its image",
        clock=ClockOf.NODE,
    ),
    Phase(
        name="started",
        label="Started",
        help="The container or process started",
        spent="started its container or process",
        clock=ClockOf.NODE,
    ),
    Phase(name="running", label="Running", help="Its worker claimed it", spent="started its worker"),
    Phase(
        name="user_code",
        label="User code",
        help="The task's own code began",
        spent="loaded its DAG file",
        clock=ClockOf.NODE,
    ),
    Phase(name="ended", label="Ended", help="The outcome was decided", spent="ran the task"),
    Phase(
        name="gone",
        label="Gone",
        help="Its pod or process is dead for certain",
        spent="was seen to be dead",
        anchor=False,
    ),
    Phase(
        name="cleaned",
        label="Cleaned up",
        help="What was left of it was deleted, or is kept on purpose",
        spent="was cleaned up",
        anchor=False,
    ),
)
COLUMNS = tuple(phase.column for phase in PHASES)
TOLERANCE = timedelta(seconds=1)
"""Whole seconds, and clocks that are kept by NTP."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One phase of one attempt."""

    phase: Phase
    at: datetime
    """In order."""
    said: datetime
    """By the phase's own clock."""
    seconds: float | None
    """Until the next step; None for the last one."""


@dataclass(frozen=True, kw_only=True)
class Skew:
    """A clock that says what cannot be. `seconds` > 0: it is behind ours by at least that."""

    clock: ClockOf
    seconds: float

    @property
    def sentence(self) -> str:
        way = "behind" if self.seconds > 0 else "ahead of"
        size = abs(self.seconds)
        by = f"{size:.0f} s" if size < 120 else f"{size / 60:.0f} min" if size < 7200 else f"{size / 3600:.1f} h"
        return f"The clock of {self.clock} is about {by} {way} ours; the times that it gave are moved by that."


@dataclass(frozen=True, kw_only=True)
class Timeline:
    steps: tuple[Step, ...]
    skews: tuple[Skew, ...]


def timeline(moments: Mapping[str, datetime | None]) -> Timeline:
    """The known phases in order; `moments` by column ("queued_at" …). No step is before the one before it, and from
    the first to the last it takes as long as our own clock says."""
    known = [(phase, at) for phase in PHASES if (at := moments.get(phase.column)) is not None]
    bounds = _bounds(known)
    shifts, skews = _shifts(known, bounds)
    shown: list[datetime] = []
    for (phase, at), (_, upper) in zip(known, bounds, strict=True):
        moved = at + shifts.get(phase.clock, timedelta())
        if upper is not None:
            moved = min(moved, upper)
        shown.append(max(moved, shown[-1]) if shown else moved)
    following = [*shown[1:], None][: len(shown)]
    steps = tuple(
        Step(phase=phase, at=at, said=said, seconds=(until - at).total_seconds() if until is not None else None)
        for (phase, said), at, until in zip(known, shown, following, strict=True)
    )
    return Timeline(steps=steps, skews=skews)


_Bounds = tuple[datetime | None, datetime | None]


def _bounds(known: Sequence[tuple[Phase, datetime]]) -> list[_Bounds]:
    """Between which moments of our own clock each phase must lie; an anchor itself is where it is."""
    anchors: list[datetime | None] = []
    for phase, at in known:
        if _is_anchor(phase):
            before = [one for one in anchors if one is not None]
            anchors.append(max([at, *before]))
        else:
            anchors.append(None)
    found: list[_Bounds] = []
    for place, anchor in enumerate(anchors):
        if anchor is not None:
            found.append((anchor, anchor))
            continue
        lower = next((one for one in reversed(anchors[:place]) if one is not None), None)
        upper = next((one for one in anchors[place:] if one is not None), None)
        found.append((lower, upper))
    return found


def _is_anchor(phase: Phase) -> bool:
    return phase.anchor and phase.clock is ClockOf.US


def _shifts(
    known: Sequence[tuple[Phase, datetime]], bounds: Sequence[_Bounds]
) -> tuple[dict[ClockOf, timedelta], tuple[Skew, ...]]:
    """By how much each other clock is to be moved so that its moments fit."""
    shifts: dict[ClockOf, timedelta] = {}
    for clock in (ClockOf.CLUSTER, ClockOf.NODE):
        own = [
            (at, lower, upper)
            for (phase, at), (lower, upper) in zip(known, bounds, strict=True)
            if phase.clock is clock
        ]
        at_least = max((lower - at for at, lower, _ in own if lower is not None), default=timedelta())
        at_most = min((upper - at for at, _, upper in own if upper is not None), default=timedelta())
        if at_least > TOLERANCE:
            shifts[clock] = at_least
        elif at_most < -TOLERANCE:
            shifts[clock] = at_most
    return shifts, tuple(Skew(clock=clock, seconds=shift.total_seconds()) for clock, shift in shifts.items())
