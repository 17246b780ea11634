"""Stops that a deadline asks for: only of what still stands where the verdict saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from execplane.contract.states import AttemptState
from execplane.store.database import nudge, write
from execplane.store.deadline_rows import Standing
from execplane.store.models import Attempt
from execplane.store.prepared import Parameter, SelectIn, Update
from execplane.store.texts import clean
from execplane.store.transitions.events import event, record

_STANDING = SelectIn(
    lambda keys: (
        Attempt.objects.filter(pk__in=keys, state__in=[AttemptState.LAUNCHED, AttemptState.RUNNING])
        .order_by("pk")
        .select_for_update()
        .values_list("pk", "state", "seq", "heartbeat_at", "dag_id")
    )
)
_STOPPED = Update(
    lambda: Attempt.objects.filter(pk=Parameter("attempt_id")),
    state=AttemptState.STOPPING,
    seq=Parameter("seq"),
    stop_reason=Parameter("stop_reason"),
    stop_actor=Parameter("stop_actor"),
    stop_then=Parameter("stop_then"),
    stop_at=Parameter("now"),
    category=Parameter("category"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueStop:
    """`then`: what its death will mean (see `executors.task_policy.Stop`); `category`: of a "waited"."""

    standing: Standing
    then: str
    sentence: str
    category: str = ""


def stop_overdue(stops: Sequence[OverdueStop], *, actor: str, now: datetime) -> list[int]:
    """-> stopping for those that have neither moved nor been heard of since they were looked at; gives their ids."""
    by_id = {stop.standing.attempt_id: stop for stop in stops}
    with write():
        rows = sorted(_STANDING(sorted(by_id)))
        moved = [row for row in rows if _still(by_id[row[0]].standing, row)]
        _STOPPED.many(
            {
                "attempt_id": pk,
                "seq": seq + 1,
                "stop_reason": clean(by_id[pk].sentence, 2000),
                "stop_actor": actor[:200],
                "stop_then": by_id[pk].then,
                "category": by_id[pk].category[:40],
                "now": now,
            }
            for pk, _, seq, _, _ in moved
        )
        record(
            event(
                pk,
                seq + 1,
                now,
                actor=actor,
                from_state=state,
                to_state=AttemptState.STOPPING,
                reason=by_id[pk].sentence,
                data={"category": by_id[pk].category} if by_id[pk].category else None,
            )
            for pk, state, seq, _, _ in moved
        )
        for pk, _, _, _, dag_id in moved:
            nudge("driver", f"attempt:{pk}", f"dag:{dag_id}")
    return [row[0] for row in moved]


def _still(seen: Standing, row: tuple[int, str, int, datetime | None, str]) -> bool:
    _, state, seq, heartbeat_at, _ = row
    return (seen.state, seen.seq, seen.heartbeat_at) == (state, seq, heartbeat_at)
