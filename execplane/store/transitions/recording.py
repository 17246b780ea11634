"""Flight records of pods: kept once, with the times that only they tell. Moves no state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Case, CharField, DateTimeField, F, When
from django.db.models.functions import Coalesce

from execplane.contract.observations import Recorded
from execplane.store import blob_rows
from execplane.store.database import nudge, write
from execplane.store.models import Attempt, FlightRecord
from execplane.store.prepared import Insert, Parameter, Update

_INSERT = Insert(FlightRecord, or_ignore=True)
_TIMES = ("scheduled_at", "initialized_at", "pulled_at", "started_at")
_TEXTS = ("node", "image_digest")


def _unless_known(name: str) -> Case:
    return Case(When(**{name: ""}, then=Parameter(name)), default=F(name), output_field=CharField())


_BECAME_KNOWN = Update(
    lambda: Attempt.objects.filter(pk=Parameter("attempt_id")),
    **{name: Coalesce(F(name), Parameter(name), output_field=DateTimeField()) for name in _TIMES},
    **{name: _unless_known(name) for name in _TEXTS},
)


def keep(facts: Sequence[Recorded], *, now: datetime) -> None:
    """Store the records of attempts that have none; a second one (after a restart) is not better than the first."""
    ordered = sorted(facts, key=lambda fact: fact.attempt_id)  # rows are locked in one order: no deadlocks
    with write():
        known = set(
            FlightRecord.objects.filter(attempt_id__in=[fact.attempt_id for fact in ordered]).values_list(
                "attempt_id", flat=True
            )
        )
        new = {fact.attempt_id: fact for fact in ordered if fact.attempt_id not in known}
        digests = blob_rows.put_all([fact.body for fact in new.values()], now, packed=True)
        _INSERT.many(
            {"attempt_id": fact.attempt_id, "captured_at": fact.at, "blob_sha256": digest}
            for fact, digest in zip(new.values(), digests, strict=True)
        )
        _BECAME_KNOWN.many(_known(fact) for fact in new.values())
        nudge(*(f"attempt:{attempt_id}" for attempt_id in new))


def _known(fact: Recorded) -> dict[str, Any]:
    return {"attempt_id": fact.attempt_id, **{name: getattr(fact, name) for name in (*_TIMES, *_TEXTS)}}
