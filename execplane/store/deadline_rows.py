"""What the driver's deadlines look at: attempts that wait, are silent or do not die; and what it says of all of them.

Every list reads attempt_active by (executor, state), a page at a time by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet

from execplane.contract.categories import Category
from execplane.contract.states import AttemptState
from execplane.store.database import nudge, write
from execplane.store.models import Attempt, DeadlineState, WaitingReason
from execplane.store.prepared import Parameter, Select, SelectIn
from execplane.store.queries.literal import is_active

CAPACITY = (Category.QUOTA, Category.UNSCHEDULABLE, Category.SCHEDULING)
"""Waits for room: nobody's fault."""
PAGE = 1000
MOST_QUEUED = 10_000
"""Queued attempts that are looked at beyond task_queued_timeout: those behind them have their turn later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where an attempt stands. `waits_code`, `waits_reason` and `waits_sentence`: what the executor said last of why
    it does not run, as category, as Kubernetes' own word for a container, and in words."""

    attempt_id: int
    state: AttemptState
    seq: int
    is_pod: bool
    queued_at: datetime
    launched_at: datetime | None
    acknowledged: bool
    node: str
    started: bool
    heartbeat_at: datetime | None
    not_claimed_reason: str
    stop_then: str = ""
    """Of what is stopping: what its death will mean (see `executors.task_policy.Stop`)."""
    waits_code: str = ""
    waits_reason: str = ""
    waits_sentence: str = ""


_FIELDS = (
    "pk",
    "state",
    "seq",
    "namespace",
    "queued_at",
    "launched_at",
    "acknowledged_at",
    "node",
    "started_at",
    "heartbeat_at",
    "not_claimed_reason",
    "stop_then",
)
_WAITS = SelectIn(
    lambda keys: WaitingReason.objects.filter(attempt_id__in=keys).values_list("attempt_id", "code", "sentence", "data")
)


def _of(state: AttemptState, *conditions: Any, **more: Any) -> QuerySet[Attempt]:
    return Attempt.objects.filter(is_active(), *conditions, executor=Parameter("executor"), state=state, **more)


def _waits_for_room() -> Q:
    """Launched, and held back by a quota or without a node: there may be thousands of them, for days."""
    quota = WaitingReason.objects.filter(attempt_id=OuterRef("pk"), code__in=CAPACITY)
    unbound = Q(acknowledged_at__isnull=False, namespace__gt="", node="", started_at__isnull=True)
    return unbound | Q(Exists(quota), acknowledged_at__isnull=True)


@cache
def _select(state: AttemptState, limit: int, *conditions: Q, **more: Parameter) -> Select:
    rows = _of(state, *conditions, pk__gt=Parameter("after_id"), **more).order_by("pk").values_list(*_FIELDS)
    return Select(lambda: rows[:limit])


def launched(executor: str, *, limit: int = PAGE) -> Iterator[Standing]:
    """What was sent and does not run yet, with what it waits for; without that which waits for room."""
    select = _select(AttemptState.LAUNCHED, limit, _BEYOND_ROOM)
    yield from _with_waits(_pages(partial(select, executor=executor), limit))


def waiting_for_room(
    executor: str, *, launched_before: datetime, queued_before: datetime, limit: int = PAGE
) -> Iterator[Standing]:
    """What was sent, waits for room, and was launched or queued before then."""
    select = _select(AttemptState.LAUNCHED, limit, _waits_for_room(), _OLD)
    read = partial(select, executor=executor, launched_before=launched_before, queued_before=queued_before)
    yield from _with_waits(_pages(read, limit))


def longest_wait_for_room(executor: str) -> datetime | None:
    """When the first of those that wait for room was launched."""
    found = _FIRST_WITHOUT_ROOM.first(executor=executor)
    return None if found is None else found[0]


def without_room(attempt_ids: Iterable[int], *, launched_before: datetime) -> int:
    """How many of these wait for room and were launched before then (the primary key)."""
    return len(_WITHOUT_ROOM(attempt_ids, launched_before=launched_before))


def silent(executor: str, *, before: datetime, limit: int = PAGE) -> Iterator[Standing]:
    """What runs and was last heard of before then."""
    select = _select(AttemptState.RUNNING, limit, heartbeat_at__lte=_BEFORE)
    for page in _pages(partial(select, executor=executor, before=before), limit):
        yield from (_standing(row, ()) for row in page)


def stopping(executor: str, *, limit: int = PAGE) -> Iterator[Standing]:
    """What was told to stop and is not confirmed dead."""
    for page in _pages(partial(_select(AttemptState.STOPPING, limit), executor=executor), limit):
        yield from (_standing(row, ()) for row in page)


def queued(executor: str, *, before: datetime, limit: int = PAGE) -> Iterator[Standing]:
    """What is queued since before then, the oldest MOST_QUEUED of it."""
    select = _select(AttemptState.QUEUED, limit, queued_at__lte=_BEFORE)
    for number, page in enumerate(_pages(partial(select, executor=executor, before=before), limit)):
        if number * limit >= MOST_QUEUED:
            return
        yield from (_standing(row, ()) for row in page)


_BEFORE = Parameter("before")
_BEYOND_ROOM = ~_waits_for_room()
_OLD = Q(launched_at__lte=Parameter("launched_before")) | Q(queued_at__lte=Parameter("queued_before"))
_WITHOUT_ROOM = SelectIn(
    lambda keys: Attempt.objects.filter(
        _waits_for_room(),
        pk__in=keys,
        state=AttemptState.LAUNCHED,
        launched_at__lte=Parameter("launched_before"),
    ).values_list("pk")
)
_FIRST_WITHOUT_ROOM = Select(
    lambda: (
        _of(AttemptState.LAUNCHED, _waits_for_room()).order_by().values("executor").annotate(first=Min("launched_at"))
    ).values_list("first")
)


def _with_waits(pages: Iterator[list[tuple[Any, ...]]]) -> Iterator[Standing]:
    for page in pages:
        waits = {pk: rest for pk, *rest in _WAITS(row[0] for row in page)}
        yield from (_standing(row, waits.get(row[0], ())) for row in page)


def _pages(read: Callable[..., list[tuple[Any, ...]]], limit: int) -> Iterator[list[tuple[Any, ...]]]:
    after = 0
    while page := read(after_id=after):
        yield page
        if len(page) < limit:
            return
        after = page[-1][0]


def _standing(row: tuple[Any, ...], waits: Sequence[Any]) -> Standing:
    pk, state, seq, namespace, queued_at, launched_at, acknowledged_at, node, started_at, heartbeat_at = row[:10]
    reason, stop_then = row[10:]
    code, sentence, data = waits or ("", "", None)
    return Standing(
        attempt_id=pk,
        state=AttemptState(state),
        seq=seq,
        is_pod=bool(namespace),
        queued_at=queued_at,
        launched_at=launched_at,
        acknowledged=acknowledged_at is not None,
        node=node,
        started=started_at is not None,
        heartbeat_at=heartbeat_at,
        not_claimed_reason=reason,
        stop_then=stop_then,
        waits_code=code,
        waits_reason=str((data or {}).get("reason", "")),
        waits_sentence=sentence,
    )


_NEWEST = Select(lambda: _of(AttemptState.RUNNING).order_by().values_list("executor").annotate(Max("heartbeat_at")))


def newest_heartbeat(executor: str) -> datetime | None:
    """The newest one of what runs, by the clock of whoever received it."""
    found = _NEWEST.first(executor=executor)
    return None if found is None else found[1]


def count_active(executor: str) -> dict[AttemptState, int]:
    """Attempts of the executor that have not ended, by state."""
    rows = Attempt.objects.filter(is_active(), executor=executor).order_by().values_list("state")
    return {AttemptState(state): n for state, n in rows.annotate(n=Count("pk"))}


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlineWord:
    """What an executor's deadlines have to say: that they stand still, or that their breaker is open.

    `overdue`: how many attempts would have been ended. `confirmed`: how many an operator allows to be ended.
    """

    executor: str
    sentence: str
    since: datetime
    breaker_open: bool = False
    overdue: int = 0
    confirmed: int | None = None
    confirmed_by: str = ""

    @property
    def asks(self) -> bool:
        """It waits for an operator: more are overdue than anybody has confirmed."""
        return self.breaker_open and (self.confirmed is None or self.overdue > self.confirmed)


_WORD = ("executor", "sentence", "since", "breaker_open", "overdue", "confirmed", "confirmed_by")


def words() -> tuple[DeadlineWord, ...]:
    """At most one an executor (the primary key)."""
    found = DeadlineState.objects.order_by("executor").values_list(*_WORD)[:100]
    return tuple(DeadlineWord(**dict(zip(_WORD, row, strict=True))) for row in found)


def word(executor: str) -> DeadlineWord | None:
    row = DeadlineState.objects.filter(pk=executor).values_list(*_WORD).first()
    return None if row is None else DeadlineWord(**dict(zip(_WORD, row, strict=True)))


def say(executor: str, sentence: str, *, breaker_open: bool = False, overdue: int = 0, now: datetime) -> None:
    """Keep it, since then or since it was first said; "": there is nothing to say. A confirmation stays while the
    breaker stays open."""
    with write():
        kept = DeadlineState.objects.filter(pk=executor)
        before = kept.select_for_update().first()
        nudge("loops")
        if not sentence:
            kept.delete()
        elif before is None or before.breaker_open != breaker_open:
            values = {"sentence": sentence, "since": now, "breaker_open": breaker_open, "overdue": overdue}
            values |= {"confirmed": None, "confirmed_by": ""}
            DeadlineState.objects.update_or_create(executor=executor, defaults=values)
        else:
            kept.update(sentence=sentence, overdue=overdue)


def confirm(executor: str, *, confirmed_by: str) -> int | None:
    """Let the breaker's attempts be ended, as many as are overdue by now; None: it is not open. Inside the caller's
    `write()`."""
    row = DeadlineState.objects.select_for_update().filter(pk=executor, breaker_open=True).first()
    if row is None:
        return None
    DeadlineState.objects.filter(pk=executor).update(confirmed=row.overdue, confirmed_by=confirmed_by[:200])
    nudge("loops", "driver")
    return int(row.overdue)
