"""How many creates one API server is asked for at once: pure, from what its answers say.

It begins with as many as are allowed at most. Trouble (429, 5xx, no answer, creates that take far longer than they
used to) halves the number, once for all that was on its way; a full round of good answers adds one. When one at a
time is still too many, creates rest a while that doubles. What an answer says of the pod or its namespace (a bad
spec, a full quota, a webhook) says nothing of the server, and moves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median


class Answer(StrEnum):
    """What one create tells of its API server."""

    GOOD = "good"
    NOTHING = "nothing"
    """Answered; the trouble, if any, is the pod's or its namespace's."""
    TOO_MANY = "too_many"
    """429."""
    FAULT = "fault"
    """5xx."""
    SILENCE = "silence"
    """No answer came, or there was no connection."""


class Why(StrEnum):
    """What made it fewer."""

    SLOW = "slow"
    TOO_MANY = "too_many"
    FAULT = "fault"
    SILENCE = "silence"


_TROUBLE = {Answer.TOO_MANY: Why.TOO_MANY, Answer.FAULT: Why.FAULT, Answer.SILENCE: Why.SILENCE}

SLOW_FACTOR = 4.0
SLOW_LEAST_SECONDS = 0.5
"""No create that takes less is called slow, however fast they used to be."""
SLOW_SHARE = 8
"""Slowness alone leaves the eighth part: a server that answers late may still answer many at once."""
JUDGED = 15
"""Of so many answers the middle one counts: a few slow ones, of one namespace's webhook, say, are not the server."""
LEAST_JUDGED = 5
FORGETS_SECONDS = 600.0
"""In this time what is usual may double: what lasts is the server's own normal."""
FIRST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Times are monotonic seconds."""

    most: int
    allowed: float
    """Whole ones count."""
    recent: tuple[float, ...] = ()
    """How long the latest good answers took, of creates that were sent since the last cut."""
    usual_seconds: float | None = None
    """How long a create takes when the server is well; None: not known yet."""
    usual_at: float = 0.0
    cut_at: float = -math.inf
    why: Why | None = None
    """None: it was never cut, or has recovered."""
    slow_seconds: float = 0.0
    """How long creates took when it was cut for that last."""
    rest_until: float = -math.inf
    rest_seconds: float = 0.0

    @property
    def at_once(self) -> int:
        return int(self.allowed)


def begin(most: int) -> State:
    return State(most=most, allowed=most)


def resized(state: State, most: int) -> State:
    """Another number is allowed at most; what was cut stays cut."""
    whole = state.at_once == state.most
    return replace(state, most=most, allowed=most if whole else min(state.allowed, most))


def answered(state: State, answer: Answer, *, sent: float, now: float, asked_seconds: float = 0.0) -> State:
    """After one answer to a create that was sent at `sent`. `asked_seconds`: the server asked to wait so long."""
    if asked_seconds > 0:
        state = replace(state, rest_until=max(state.rest_until, now + asked_seconds))
    if answer is Answer.NOTHING:
        return state
    if answer is Answer.GOOD:
        return _good(state, sent, now)
    return _cut(state, _TROUBLE[answer], sent, now, least=1)


def wait_seconds(state: State, under_way: int, now: float) -> float:
    """How long the next create waits: 0 it goes now, inf: until one of those under way is answered."""
    if now < state.rest_until:
        return state.rest_until - now
    return 0.0 if under_way < state.at_once else math.inf


def _good(state: State, sent: float, now: float) -> State:
    if sent < state.cut_at:
        # Of before the cut: it tells nothing of whether the cut helped.
        return state
    recent = (*state.recent, max(now - sent, 0.0))[-JUDGED:]
    typical, usual = None, state.usual_seconds
    if len(recent) >= LEAST_JUDGED:
        typical = median(recent)
        risen = math.inf if usual is None else usual * 2 ** ((now - state.usual_at) / FORGETS_SECONDS)
        usual = min(typical, risen)
    allowed = min(state.allowed + 1 / state.at_once, float(state.most))
    well = replace(
        state,
        allowed=allowed,
        recent=recent,
        usual_seconds=usual,
        usual_at=now if typical is not None else state.usual_at,
        why=None if int(allowed) == state.most else state.why,
        rest_seconds=0.0,
    )
    if typical is None or usual is None or typical <= max(SLOW_FACTOR * usual, SLOW_LEAST_SECONDS):
        return well
    slow = replace(well, allowed=state.allowed, slow_seconds=typical)
    return _cut(slow, Why.SLOW, sent, now, least=max(state.most // SLOW_SHARE, 1))


def _cut(state: State, why: Why, sent: float, now: float, *, least: int) -> State:
    """Half as many, once for all that was on its way when it was cut; where that is not possible, a rest."""
    if sent < state.cut_at:
        return state
    allowed = max(min(float(least), state.allowed), state.allowed / 2)
    cut = replace(state, allowed=allowed, why=why, cut_at=now, recent=())
    if state.at_once > 1 or why is Why.SLOW:
        return cut
    rest = min(max(state.rest_seconds * 2, FIRST_REST_SECONDS), LONGEST_REST_SECONDS)
    return replace(cut, rest_seconds=rest, rest_until=max(state.rest_until, now + rest))
