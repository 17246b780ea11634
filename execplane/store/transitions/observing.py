"""What becomes known of attempts while they live: that they exist, where, since when, why they wait, their heartbeats.

Nothing here moves a state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import Case, CharField, DateTimeField, F, QuerySet, When
from django.db.models.functions import Coalesce

from execplane.contract.observations import Acknowledged, Diagnosis, Progress
from execplane.contract.states import AttemptState
from execplane.store.database import nudge, write
from execplane.store.launch_rows import IN_HAND
from execplane.store.models import Attempt, WaitingReason
from execplane.store.prepared import Insert, Parameter, SelectIn, Update
from execplane.store.texts import clean


def _in_hand() -> QuerySet[Attempt]:
    return Attempt.objects.filter(pk=Parameter("attempt_id"), state__in=IN_HAND)


_ACKNOWLEDGED = Update(
    _in_hand,
    pod_uid=Case(When(pod_uid="", then=Parameter("uid")), default=F("pod_uid"), output_field=CharField()),
    acknowledged_at=Coalesce(F("acknowledged_at"), Parameter("at"), output_field=DateTimeField()),
    retry_at=None,
)
_HAS_NODE = Update(_in_hand, node=Parameter("node"))


def acknowledge(facts: Iterable[Acknowledged]) -> None:
    """The launch exists: note its uid and when. Moves nothing, so a lost race does not matter."""
    ordered = sorted(facts, key=lambda fact: fact.attempt_id)  # rows are locked in one order: no deadlocks
    with write():
        _ACKNOWLEDGED.many({"attempt_id": fact.attempt_id, "uid": fact.uid, "at": fact.at} for fact in ordered)
        _HAS_NODE.many({"attempt_id": fact.attempt_id, "node": fact.node} for fact in ordered if fact.node)


@cache
def _observed(names: tuple[str, ...]) -> Update:
    return Update(_in_hand, **{name: Parameter(name) for name in names})


_IN_HAND_OF = SelectIn(
    lambda keys: (
        Attempt.objects.filter(pk__in=keys, state__in=IN_HAND)
        .order_by("pk")
        .select_for_update()
        .values_list("pk", "state")
    )
)
_WAITS = Insert(WaitingReason, or_update=("code", "sentence", "data"))


def observe(facts: Sequence[Progress], *, now: datetime) -> None:
    """Times, places and waiting reasons that became known. Finished rows never change."""
    changes: dict[int, dict[str, Any]] = defaultdict(dict)
    waits: dict[int, Diagnosis] = {}
    for fact in facts:
        changes[fact.attempt_id].update(_became_known(fact))
        if fact.waiting is not None:
            waits[fact.attempt_id] = fact.waiting
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    with write():
        states = dict(_IN_HAND_OF(sorted(pk for pk in changes if changes[pk] or pk in waits)))
        for pk in states:
            if changes[pk]:
                groups[tuple(changes[pk])].append({"attempt_id": pk, **changes[pk]})
        for names, rows in groups.items():
            _observed(names).many(rows)
        _WAITS.many(
            {
                "attempt_id": pk,
                "code": waiting.category[:40],
                "sentence": clean(waiting.sentence),
                "data": waiting.data or None,
                "since": now,
            }
            for pk, waiting in waits.items()
            if states.get(pk) == AttemptState.LAUNCHED
        )
        nudge(*(f"attempt:{pk}" for pk in states))


def _became_known(fact: Progress) -> dict[str, Any]:
    known = {
        "node": fact.node,
        "image_digest": fact.image_digest,
        "scheduled_at": fact.scheduled_at,
        "initialized_at": fact.initialized_at,
        "started_at": fact.started_at,
        "status": fact.status,
    }
    return {name: value for name, value in known.items() if value}


def keep_rendered(attempt_id: int, rendered: dict[str, Any] | None, bundle_found: str) -> None:
    """What the worker says once: its rendered fields, the digest of the files it found."""
    changes: dict[str, Any] = {}
    if rendered is not None:
        changes["rendered"] = rendered
    if bundle_found:
        changes["bundle_found"] = clean(bundle_found, 64)
    with write():
        Attempt.objects.filter(pk=attempt_id, state__in=IN_HAND).update(**changes)
        nudge(f"attempt:{attempt_id}")


def beat(beats: Sequence[tuple[int, str, int, datetime]]) -> None:
    """Heartbeats as (attempt id, nonce, log offset, at): one transaction for all."""
    with write():
        for attempt_id, nonce, log_offset, at in sorted(beats):  # rows are locked in one order: no deadlocks
            Attempt.objects.filter(pk=attempt_id, nonce=nonce, state__in=["running", "stopping"]).update(
                heartbeat_at=at, log_offset=log_offset
            )
