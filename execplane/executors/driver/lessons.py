"""What earlier attempts of a task teach the next one; pure. How far that is followed is the executor's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from execplane.contract.categories import Category, tied_to_node
from execplane.contract.states import AttemptState, Cause
from execplane.store.earlier_attempts import Earlier

_SAME_TASK_AGAIN = frozenset({Cause.RETRY, Cause.INFRA, Cause.RESCHEDULE})
"""Causes of an attempt that follow from the one before; a clear begins anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    avoid_nodes: tuple[str, ...] = ()
    """Where infrastructure failed it, the latest first."""
    oom_kills: int = 0
    """How often it was killed for memory."""


def lessons(attempts: Sequence[Earlier]) -> Lessons:
    """From the new attempt and those before it, newest first, back to where the task was last cleared.

    What follows a failure says what paid for it: only a failure that infrastructure paid for speaks against its node.
    An OOM kill counts also when other failures came after it: the memory that did not suffice would not suffice now.
    """
    nodes: dict[str, None] = {}
    oom_kills = 0
    for following, attempt in pairwise(attempts):
        if following.cause not in _SAME_TASK_AGAIN:
            break
        if attempt.state is not AttemptState.FAILED:
            continue
        if following.cause is Cause.INFRA and attempt.node and tied_to_node(attempt.category):
            nodes[attempt.node] = None
        oom_kills += attempt.category == Category.OOM_KILLED
    return Lessons(avoid_nodes=tuple(nodes), oom_kills=oom_kills)
