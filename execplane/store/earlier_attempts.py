"""What a task's earlier attempts tell the one that is about to be built. Frozen rows, a bounded number of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import F

from execplane.contract.states import AttemptState, Cause
from execplane.store.models import Attempt
from execplane.store.prepared import SelectIn

MOST_LOOKED_AT = 20
"""Attempts of one task, the new one included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """One attempt, or the new one itself, whose cause says what the last of the others was paid from."""

    attempt_no: int
    cause: Cause
    state: AttemptState
    category: str
    node: str


_EARLIER = SelectIn(
    lambda keys: Attempt.objects.filter(
        ti__attempts__pk__in=keys,
        attempt_no__lte=F("ti__attempts__attempt_no"),
        attempt_no__gt=F("ti__attempts__attempt_no") - MOST_LOOKED_AT,
    ).values_list("ti__attempts__pk", "attempt_no", "cause", "state", "category", "node")
)


def earlier_attempts(attempt_ids: Sequence[int]) -> dict[int, list[Earlier]]:
    """For each attempt: itself and those before it, the newest first. Reads the primary key, then attempt_once."""
    found: dict[int, dict[int, Earlier]] = {}
    for pk, attempt_no, cause, state, category, node in _EARLIER(attempt_ids):
        found.setdefault(pk, {})[attempt_no] = Earlier(
            attempt_no=attempt_no, cause=Cause(cause), state=AttemptState(state), category=category, node=node
        )
    return {pk: [rows[number] for number in sorted(rows, reverse=True)] for pk, rows in found.items()}
