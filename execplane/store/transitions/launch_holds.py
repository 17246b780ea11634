"""What an operator's launch hold does to attempts: those that were claimed go back, creates that wait keep waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from execplane.contract.states import AttemptState
from execplane.store.database import nudge, write
from execplane.store.models import Attempt
from execplane.store.prepared import Parameter, SelectIn
from execplane.store.texts import clean
from execplane.store.transitions.events import event, record

_CLAIMED = SelectIn(
    lambda keys: (
        Attempt.objects.filter(pk__in=keys, state=AttemptState.CLAIMED, owner=Parameter("owner"))
        .order_by("pk")
        .select_for_update()
        .values_list("pk", "seq")
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldBack:
    """A claimed attempt whose pod would come into a place that is held."""

    attempt_id: int
    cluster: str
    namespace: str
    sentence: str


def put_back(held: Sequence[HeldBack], *, owner: str, now: datetime) -> list[int]:
    """claimed -> queued for what `owner` still holds: no intent was committed, so nothing was sent, and nothing is
    counted. The row keeps where its pod would have gone: so the next claims leave it out without building it again.

    Wakes no driver: it would only meet the same hold.
    """
    by_id = {one.attempt_id: one for one in held}
    with write():
        rows = _CLAIMED(sorted(by_id), owner=owner)
        for pk, _ in rows:
            one = by_id[pk]
            Attempt.objects.filter(pk=pk).update(
                state=AttemptState.QUEUED,
                seq=F("seq") + 1,
                owner="",
                claimed_at=None,
                cluster=one.cluster,
                namespace=one.namespace,
                not_claimed_reason=clean(one.sentence, 300),
            )
            nudge(f"attempt:{pk}")
        record(
            event(
                pk,
                seq + 1,
                now,
                actor=owner,
                from_state=AttemptState.CLAIMED,
                to_state=AttemptState.QUEUED,
                reason=by_id[pk].sentence,
            )
            for pk, seq in rows
        )
    return [pk for pk, _ in rows]
