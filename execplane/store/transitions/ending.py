"""How attempts end and what becomes of their task instances; who asked them to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import F, QuerySet

from execplane.contract.categories import Category
from execplane.contract.observations import Gone
from execplane.contract.states import (
    ATTEMPT_ENDED,
    AttemptState,
    Cause,
    TaskState,
    attempt_sources,
    task_sources,
)
from execplane.store.database import nudge, write
from execplane.store.models import Attempt, DagRun, TaskInstance, WaitingReason, XCom
from execplane.store.prepared import Delete, Parameter, Update
from execplane.store.texts import clean
from execplane.store.transitions import measured
from execplane.store.transitions.events import event, record
from execplane.store.transitions.locked import locked_attempt, locked_run_of

_WAIT_NO_MORE = Delete(lambda: WaitingReason.objects.filter(attempt_id=Parameter("attempt_id")))
_DECIDE = Update(lambda: DagRun.objects.filter(pk=Parameter("run_pk")), decide_at=Parameter("now"))


def _ended_and(**condition: Any) -> QuerySet[Attempt]:
    return Attempt.objects.filter(pk=Parameter("attempt_id"), state__in=[*ATTEMPT_ENDED], **condition)


_GONE = Update(lambda: _ended_and(gone_at=None), gone_at=Parameter("at"))
_FOLLOWED = Update(lambda: _ended_and(gone_at=None, pod_uid=Parameter("uid")), gone_at=Parameter("at"))
_GONE_SOONER = Update(lambda: _ended_and(gone_at__gt=Parameter("at")), gone_at=Parameter("at"))


@dataclass(frozen=True, kw_only=True, slots=True)
class XComRow:
    """An XCom to keep: the codec's bytes, or the digest of a blob."""

    key: str
    value: bytes | None
    blob: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnd:
    """The verdict in the ledger's terms. `task_state` None: the task instance is not moved."""

    state: AttemptState
    task_state: TaskState | None
    category: str = ""
    reason: str = ""
    hint: str = ""
    exit_code: int | None = None
    author_failure: bool = False
    infra_failure: bool = False
    eligible_at: datetime | None = None
    next_cause: Cause = Cause.RETRY
    skips: tuple[str, ...] | None = None
    map_length: int | None = None
    map_label: str = ""
    xcoms: Sequence[XComRow] = field(default=())
    ended_at: datetime | None = None
    """When the task ended, by its own clock: the report may come minutes later. None: now."""
    columns: dict[str, Any] = field(default_factory=dict)
    """More columns of the attempt: peak_memory_bytes, user_code_at, rendered, gone_at, status …"""


def lock_attempt(attempt_id: int) -> bool:
    """Hold the attempt and its run until the caller's `write()` ends; False: there is no such attempt.

    So that what a verdict was found from is what it is written to.
    """
    return locked_run_of(attempt_id) is not None and locked_attempt(attempt_id) is not None


def end_attempt(attempt_id: int, end: AttemptEnd, *, actor: str, now: datetime, nonce: str | None = None) -> bool:
    """Move an attempt to its end, once; False: it had ended before (the message is kept as an event).

    `nonce` given: only for the process that passed the fence.
    """
    with write():
        run_pk = locked_run_of(attempt_id)
        row = locked_attempt(attempt_id)
        if row is None or run_pk is None:
            return False
        wrong = nonce is not None and row.nonce != nonce
        if wrong or row.state not in attempt_sources(end.state):
            _record_late(row, end, actor, now)
            return False
        # By clocks that may differ: not before it ran, and not in the future.
        ended_at = min(now, max(end.ended_at or now, row.running_at or now))
        _ended(tuple(end.columns))(
            attempt_id=row.pk,
            state=end.state,
            seq=row.seq + 1,
            category=end.category[:40],
            reason=clean(end.reason),
            hint=clean(end.hint),
            exit_code=end.exit_code,
            ended_at=ended_at,
            **end.columns,
        )
        record(
            [
                event(
                    row.pk,
                    row.seq + 1,
                    now,
                    actor=actor,
                    from_state=row.state,
                    to_state=end.state,
                    reason=end.reason,
                    data={"category": end.category} if end.category else None,
                )
            ]
        )
        save_xcoms(row.ti_id, row.attempt_no, end.xcoms, now)
        _move_task(row, run_pk, end, now, ended_at)
        measured.ended(row, end.state, end.category[:40], ended_at)
    return True


def record_only(attempt_id: int, reason: str, *, actor: str, now: datetime) -> None:
    """Keep what was said of an attempt without moving it."""
    with write():
        row = Attempt.objects.filter(pk=attempt_id).first()
        if row is not None:
            record([event(row.pk, row.seq, now, actor=actor, from_state=row.state, to_state=row.state, reason=reason)])


def _record_late(row: Attempt, end: AttemptEnd, actor: str, now: datetime) -> None:
    record(
        [
            event(
                row.pk,
                row.seq,
                now,
                actor=actor,
                from_state=row.state,
                to_state=row.state,
                reason=f"too late, moves nothing: {end.state} ({end.reason})",
                data={"category": end.category},
            )
        ]
    )
    if row.state in ATTEMPT_ENDED and end.columns.get("gone_at") and row.gone_at is None:
        Attempt.objects.filter(pk=row.pk).update(gone_at=end.columns["gone_at"])


@cache
def _ended(more: tuple[str, ...]) -> Update:
    """What ends an attempt, with these columns besides those that every end sets."""
    names = ("state", "seq", "category", "reason", "hint", "exit_code", "ended_at", *more)
    changes: dict[str, Any] = {name: Parameter(name) for name in names}
    found = Attempt.objects.filter(pk=Parameter("attempt_id"))
    return Update(lambda: found, retry_at=None, not_claimed_reason="", **changes)


@cache
def _task_ended(target: TaskState, names: tuple[str, ...], author_failure: bool, infra_failure: bool) -> Update:
    """What moves a task instance that is still at this attempt."""
    sources = task_sources(target) & {TaskState.QUEUED, TaskState.RUNNING}
    found = TaskInstance.objects.filter(
        pk=Parameter("ti_id"), attempt_no=Parameter("attempt_no"), state__in=sorted(sources)
    )
    changes: dict[str, Any] = {name: Parameter(name) for name in names}
    if author_failure:
        changes["author_failures"] = F("author_failures") + 1
    if infra_failure:
        changes["infra_failures"] = F("infra_failures") + 1
    return Update(lambda: found, **changes)


def _move_task(row: Attempt, run_pk: int, end: AttemptEnd, now: datetime, ended_at: datetime) -> None:
    """The task instance follows its newest attempt only; a marked or cleared one stays where it was put."""
    target = end.task_state
    if target is TaskState.NONE:
        newest = TaskInstance.objects.filter(pk=row.ti_id, attempt_no=row.attempt_no)
        reset_instances(newest.filter(state=TaskState.RESTARTING).values_list("pk", flat=True), now=now)
    elif target is not None:
        changes: dict[str, Any] = {
            "state": target,
            "ended_at": ended_at,
            "eligible_at": end.eligible_at,
            "next_cause": end.next_cause,
            "reason": clean(end.reason) if target is not TaskState.SUCCESS else "",
        }
        if end.skips is not None:
            changes["skips"] = list(end.skips)
        if end.map_length is not None:
            changes["map_length"] = end.map_length
        if end.map_label:
            changes["map_label"] = clean(end.map_label, 250)
        update = _task_ended(target, tuple(changes), end.author_failure, end.infra_failure)
        update(ti_id=row.ti_id, attempt_no=row.attempt_no, **changes)
    _WAIT_NO_MORE(attempt_id=row.pk)
    _DECIDE(run_pk=run_pk, now=now)
    nudge("scheduler", "driver", f"run:{run_pk}", f"attempt:{row.pk}", f"dag:{row.dag_id}")


def reset_instances(ti_ids: Iterable[int], *, now: datetime) -> None:
    """Cleared: back to none, with budgets, results and XComs as before the first try. Inside the caller's `write()`.

    What waits for an attempt that vanished to have fenced itself goes on waiting.
    """
    ids = list(ti_ids)
    if not ids:
        return
    TaskInstance.objects.filter(pk__in=ids).update(
        state=TaskState.NONE,
        author_failures=0,
        infra_failures=0,
        eligible_at=None,
        next_cause=Cause.CLEAR,
        skips=None,
        map_length=None,
        reason="",
        started_at=None,
        ended_at=None,
    )
    XCom.objects.filter(ti_id__in=ids).delete()
    unconfirmed = Attempt.objects.filter(ti_id__in=ids, gone_at__gt=now).order_by("gone_at")
    for ti_id, gone_at in list(unconfirmed.values_list("ti_id", "gone_at")):
        why = f"The attempt before vanished and may live on: the next one waits until {gone_at:%H:%M:%S} UTC."
        TaskInstance.objects.filter(pk=ti_id).update(eligible_at=gone_at, reason=why)


def save_xcoms(ti_id: int, attempt_no: int, values: Sequence[XComRow], now: datetime) -> None:
    """Insert or overwrite; a later push of the same key wins. Inside the caller's `write()`."""
    XCom.objects.bulk_create(
        [
            XCom(
                ti_id=ti_id,
                key=value.key,
                attempt_no=attempt_no,
                value=value.value,
                blob_sha256=value.blob,
                size_bytes=value.size_bytes,
                at=now,
            )
            for value in values
        ],
        update_conflicts=True,
        update_fields=["attempt_no", "value", "blob_sha256", "size_bytes", "at"],
        unique_fields=["ti", "key"],
    )


def push_xcoms(
    attempt_id: int, ti_id: int, attempt_no: int, values: Sequence[XComRow], map_length: int | None, *, now: datetime
) -> None:
    """XComs of a running task; those of an attempt that has ended meanwhile are not kept."""
    with write():
        alive = Attempt.objects.filter(pk=attempt_id, state__in=[AttemptState.RUNNING, AttemptState.STOPPING])
        if not alive.select_for_update().values_list("pk", flat=True):
            return
        save_xcoms(ti_id, attempt_no, values, now)
        if map_length is not None:
            TaskInstance.objects.filter(pk=ti_id).update(map_length=map_length)
        nudge(f"attempt:{attempt_id}")


def request_stop(
    attempt_ids: Sequence[int], *, actor: str, reason: str, then: str, now: datetime
) -> tuple[list[int], list[int]]:
    """Tell attempts to end: gives (cancelled at once, being stopped). Those not yet launched end here and now."""
    with write():
        rows = list(
            Attempt.objects.select_for_update()
            .filter(pk__in=attempt_ids, state__in=["queued", "claimed", "launched", "running"])
            .order_by("pk")
        )
        ended = [row for row in rows if row.state in (AttemptState.QUEUED, AttemptState.CLAIMED)]
        stopping = [row for row in rows if row not in ended]
        for group, target in ((ended, AttemptState.CANCELLED), (stopping, AttemptState.STOPPING)):
            Attempt.objects.filter(pk__in=[row.pk for row in group]).update(
                state=target,
                seq=F("seq") + 1,
                stop_reason=clean(reason, 500),
                stop_actor=actor[:200],
                stop_then=then,
                stop_at=now,
                **(
                    {"ended_at": now, "category": Category.STOPPED, "reason": clean(reason, 500)}
                    if target == AttemptState.CANCELLED
                    else {}
                ),
            )
            record(
                event(
                    row.pk,
                    row.seq + 1,
                    now,
                    actor=actor,
                    from_state=row.state,
                    to_state=target,
                    reason=reason,
                )
                for row in group
            )
        for row in ended:
            measured.ended(row, AttemptState.CANCELLED, Category.STOPPED, now)
        for row in rows:
            nudge(f"attempt:{row.pk}", f"dag:{row.dag_id}")
        if rows:
            nudge("driver", "scheduler")
    return [row.pk for row in ended], [row.pk for row in stopping]


def request_stop_of_instances(reasons: dict[int, str], *, actor: str, now: datetime) -> None:
    """Tell whatever attempt of these task instances is alive to end; their states are moved by the caller."""
    if not reasons:
        return
    active = ["queued", "claimed", "launched", "running"]
    with write():
        rows = Attempt.objects.filter(ti_id__in=reasons, state__in=active)
        # All of them at once and in one order, whatever their reasons: no deadlocks.
        attempts = list(rows.order_by("pk").select_for_update().values_list("pk", "ti_id"))
        for reason in sorted(set(reasons.values())):
            ids = [pk for pk, ti_id in attempts if reasons[ti_id] == reason]
            request_stop(ids, actor=actor, reason=reason, then="", now=now)


def followed(deaths: Iterable[Gone]) -> set[tuple[int, str]]:
    """Deaths of attempts that had ended before, as nearly all have: noted together, because nothing waits for those.
    Gives them (attempt, uid); the others move nothing here."""
    ordered = sorted(deaths, key=lambda fact: fact.attempt_id)  # rows are locked in one order: no deadlocks
    with write():
        return {
            (fact.attempt_id, fact.uid)
            for fact in ordered
            if fact.uid and _FOLLOWED(attempt_id=fact.attempt_id, uid=fact.uid, at=fact.at)
        }


def gone(attempt_id: int, at: datetime) -> None:
    """An ended attempt's process or pod is confirmed dead: what waited for it to have fenced itself waits no more.

    A wait is found by `gone_at`, so where that does not stand yet, there is nothing to lock.
    """
    with write():
        if _GONE(attempt_id=attempt_id, at=at):
            return
        run_pk, row = locked_run_of(attempt_id), locked_attempt(attempt_id)
        if run_pk is None or row is None or not _GONE_SOONER(attempt_id=attempt_id, at=at):
            return
        waits = TaskInstance.objects.filter(pk=row.ti_id, eligible_at=row.gone_at)
        if waits.filter(state__in=[TaskState.NONE, TaskState.UP_FOR_RETRY]).update(eligible_at=at):
            _DECIDE(run_pk=run_pk, now=at)
            nudge("scheduler", f"run:{run_pk}", f"attempt:{attempt_id}")


def cleaned(attempt_ids: Sequence[int], at: datetime) -> None:
    """What was left of ended attempts has been deleted (or is kept for good by the policy)."""
    with write():
        Attempt.objects.filter(pk__in=attempt_ids, state__in=[*ATTEMPT_ENDED], cleaned_at=None).update(cleaned_at=at)
