"""How long attempts take from phase to phase, in percentiles over the newest that ended."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from execplane.contract.errors import InvalidInput
from execplane.contract.phases import COLUMNS, PHASES, Timeline, timeline
from execplane.store.models import Attempt
from execplane.store.queries.literal import is_ended

DIMENSIONS = {"template": "template_rev", "image": "image_digest", "node": "node", "namespace": "namespace"}
_INDEXED = frozenset({"template", "image", "node"})
START = "start"
"""From queued to running, as if it were one phase."""
PHASE_NAMES = (START, *(phase.name for phase in PHASES if phase.name != "queued"))
SPENT = {START: "queued to running", **{phase.name: phase.spent for phase in PHASES}}
_MOST_ATTEMPTS = 1000
_MOST_GROUPS = 50


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Of the seconds that attempts spent until one phase."""

    phase: str
    n: int
    p50: float
    p90: float
    p99: float

    @property
    def spent(self) -> str:
        return SPENT[self.phase]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The attempts of one node, image digest, template revision or namespace; "" where they have none."""

    value: str
    n: int
    phases: tuple[Percentiles, ...]

    def of(self, phase: str) -> Percentiles | None:
        return next((one for one in self.phases if one.phase == phase), None)


@dataclass(frozen=True, kw_only=True)
class Latency:
    whole: Group
    groups: tuple[Group, ...]
    """The largest ones first."""
    skewed: int
    """Attempts with a clock that disagreed; what it said was put right as far as it can be."""
    since: datetime | None
    """When the oldest of them was queued."""


def latency(by: str, *, value: str | None = None, limit: int = _MOST_ATTEMPTS) -> Latency:
    """The newest ended attempts (those of one `value`), grouped. Raises InvalidInput.

    Indexes: attempt_template, attempt_image, attempt_node, finished rows only; else the key, newest first, past the
    few that are alive.
    """
    if by not in DIMENSIONS:
        raise InvalidInput(f"There is no grouping by {by!r}.", hint=f"Use {', '.join(DIMENSIONS)}.")
    if value is not None and by in _INDEXED:
        found = Attempt.objects.filter(is_ended(), **{DIMENSIONS[by]: value})
    else:
        # By states SQLite would sort all that ever ended.
        found = Attempt.objects.filter(ended_at__isnull=False)
    rows = found.order_by("-id").values_list(DIMENSIONS[by], *COLUMNS)[:limit]
    lines = [(row[0], timeline(dict(zip(COLUMNS, row[1:], strict=True)))) for row in rows]
    if value is not None:
        lines = [line for line in lines if line[0] == value]
    groups: dict[str, list[Timeline]] = defaultdict(list)
    for name, line in lines:
        groups[name].append(line)
    largest = sorted(groups, key=lambda name: (-len(groups[name]), name))[:_MOST_GROUPS]
    every = [line for _, line in lines]
    return Latency(
        whole=_group(value or "", every),
        groups=tuple(_group(name, groups[name]) for name in largest),
        skewed=sum(1 for line in every if line.skews),
        since=min((line.steps[0].at for line in every if line.steps), default=None),
    )


def _group(value: str, lines: Sequence[Timeline]) -> Group:
    seconds: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        for name, spent in _spent(line).items():
            seconds[name].append(spent)
    phases = tuple(_percentiles(name, seconds[name]) for name in PHASE_NAMES if name in seconds)
    return Group(value=value, n=len(lines), phases=phases)


def _spent(line: Timeline) -> Mapping[str, float]:
    """Seconds until each phase from the one before."""
    found = {
        after.phase.name: before.seconds
        for before, after in zip(line.steps, line.steps[1:], strict=False)
        if before.seconds is not None
    }
    at = {step.phase.name: step.at for step in line.steps}
    if "queued" in at and "running" in at:
        found[START] = (at["running"] - at["queued"]).total_seconds()
    return found


def _percentiles(name: str, values: Iterable[float]) -> Percentiles:
    ordered = sorted(values)
    return Percentiles(
        phase=name, n=len(ordered), p50=_rank(ordered, 0.5), p90=_rank(ordered, 0.9), p99=_rank(ordered, 0.99)
    )


def _rank(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: a value that was measured, never one between two."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
