"""Attempts: one with its story, those of a task instance, and the lists of pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Sum

from execplane.contract.errors import NotFound
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.phases import COLUMNS, Timeline, timeline
from execplane.store.models import Attempt, AttemptEvent, SecretAccess, WaitingReason
from execplane.store.models.attempts import ENDED
from execplane.store.queries.literal import is_active, is_ended
from execplane.store.queries.paging import Page, cut


@dataclass(frozen=True, kw_only=True)
class AttemptMark:
    """An attempt in a list. Field names are the columns'."""

    id: int
    ti_id: int
    attempt_no: int
    try_number: int
    cause: str
    state: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    executor: str
    queue: str
    pool: str
    cluster: str
    namespace: str
    pod_name: str | None
    node: str
    category: str
    reason: str
    exit_code: int | None
    not_claimed_reason: str
    queued_at: datetime
    launched_at: datetime | None
    running_at: datetime | None
    ended_at: datetime | None

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, kw_only=True)
class AttemptRow(AttemptMark):
    """An attempt, whole."""

    slots: int
    priority: int
    pod_uid: str
    image_digest: str
    template_rev: str
    intent_sha256: str
    hint: str
    owner: str
    heartbeat_at: datetime | None
    log_offset: int
    bundle_found: str
    stop_reason: str
    stop_actor: str
    retry_at: datetime | None
    launch_failures: int
    rendered: Mapping[str, Any] | None
    status: Mapping[str, Any] | None
    worker_version: str
    peak_memory_bytes: int | None
    claimed_at: datetime | None
    acknowledged_at: datetime | None
    scheduled_at: datetime | None
    initialized_at: datetime | None
    pulled_at: datetime | None
    started_at: datetime | None
    user_code_at: datetime | None
    gone_at: datetime | None
    held_until: datetime | None
    cleaned_at: datetime | None

    def is_held(self, now: datetime) -> bool:
        """Its failed container is kept alive, to look into it."""
        return self.held_until is not None and self.held_until > now and (self.gone_at is None or self.gone_at > now)

    @property
    def timeline(self) -> Timeline:
        """Its phases, in order."""
        return timeline({column: getattr(self, column) for column in COLUMNS})

    @property
    def key(self) -> AttemptKey:
        task = TaskKey(dag_id=self.dag_id, run_id=self.run_id, task_id=self.task_id, map_index=self.map_index)
        return AttemptKey(task=task, attempt_no=self.attempt_no)


@dataclass(frozen=True, kw_only=True)
class EventRow:
    seq: int
    at: datetime
    from_state: str
    to_state: str
    actor: str
    reason: str
    data: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class WaitingRow:
    code: str
    sentence: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class AccessRow:
    """A Variable or Connection that the attempt asked for."""

    kind: str
    name: str
    found: bool
    at: datetime


_MARK = tuple(field.name for field in fields(AttemptMark))
_ROW = tuple(field.name for field in fields(AttemptRow))


def _mark(values: Iterable[Any]) -> AttemptMark:
    return AttemptMark(**dict(zip(_MARK, values, strict=True)))


def get_attempt(attempt_id: int) -> AttemptRow:
    """One attempt. Raises NotFound."""
    values = Attempt.objects.filter(id=attempt_id).values_list(*_ROW).first()
    if values is None:
        raise NotFound(f"The attempt {attempt_id} does not exist.", hint="It may be gone with its run.")
    return AttemptRow(**dict(zip(_ROW, values, strict=True)))


def attempts_of(ti_pk: int, limit: int = 100, *, before_no: int | None = None) -> tuple[AttemptMark, ...]:
    """A task instance's newest attempts (before that number), oldest first (index: attempt_once)."""
    rows = Attempt.objects.filter(ti=ti_pk)
    if before_no is not None:
        rows = rows.filter(attempt_no__lt=before_no)
    found = rows.order_by("-attempt_no").values_list(*_MARK)[:limit]
    return tuple(_mark(values) for values in reversed(list(found)))


def stopped_attempts(run_pk: int, limit: int = 100) -> tuple[int, ...]:
    """The newest attempts of the run that somebody or something told to stop (indexes: task_instance_once, then
    attempt_once)."""
    found = Attempt.objects.filter(ti__dagrun=run_pk, stop_at__isnull=False)
    return tuple(found.order_by("-id").values_list("id", flat=True)[:limit])


def events(attempt_id: int, limit: int = 500) -> tuple[EventRow, ...]:
    """The attempt's story, in order (index: attempt_event_story)."""
    columns = tuple(field.name for field in fields(EventRow))
    found = AttemptEvent.objects.filter(attempt_id=attempt_id).order_by("seq", "id")
    rows = found.values_list(*columns)[:limit]
    return tuple(EventRow(**dict(zip(columns, values, strict=True))) for values in rows)


def waiting(attempt_ids: Iterable[int]) -> dict[int, WaitingRow]:
    """Why attempts wait, by attempt, as last seen (index: the primary key)."""
    found = WaitingReason.objects.filter(attempt_id__in=list(attempt_ids))
    return {row.attempt_id: WaitingRow(code=row.code, sentence=row.sentence, since=row.since) for row in found}


def secret_accesses(attempt_id: int, limit: int = 200) -> tuple[AccessRow, ...]:
    """What the attempt asked for (index: secret_access_once)."""
    columns = tuple(field.name for field in fields(AccessRow))
    found = SecretAccess.objects.filter(attempt_id=attempt_id).order_by("kind", "name")
    return tuple(AccessRow(**dict(zip(columns, values, strict=True))) for values in found.values_list(*columns)[:limit])


def active_attempts(
    *, executors: Iterable[str], before: int | None = None, limit: int = 100, launched: bool = False
) -> Page[AttemptMark]:
    """Attempts that are, or may be, alive, newest first (index: attempt_active).

    `launched`: only those with a pod's name.
    """
    found = Attempt.objects.filter(is_active(), executor__in=list(executors))
    if launched:
        found = found.filter(pod_name__isnull=False)
    return _page(found, before, limit)


def ended_attempts(
    *,
    state: str = "",
    dag_id: str = "",
    category: str = "",
    node: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Page[AttemptMark]:
    """Attempts that ended, newest first.

    Indexes, finished rows only: attempt_dag, attempt_category, attempt_node, attempt_state; else the key.
    """
    found = Attempt.objects.filter(is_ended())
    for column, value in (("state", state), ("dag_id", dag_id), ("category", category), ("node", node)):
        if value:
            found = found.filter(**{column: value})
    return _page(found, before, limit)


def _page(found: Any, before: int | None, limit: int) -> Page[AttemptMark]:
    if before is not None:
        found = found.filter(id__lt=before)
    values = found.order_by("-id").values_list(*_MARK)[: limit + 1]
    rows, more = cut([_mark(row) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].id if more else None)


def active_by_pool(executors: Iterable[str]) -> dict[str, dict[str, int]]:
    """Slots in use: pool -> attempt state -> slots (index: attempt_active)."""
    used: dict[str, dict[str, int]] = {}
    found = (
        Attempt.objects.filter(is_active(), executor__in=list(executors))
        .order_by()
        .values_list("pool", "state")
        .annotate(held=Sum("slots"))
    )
    for pool, state, held in found:
        used.setdefault(pool, {})[state] = held
    return used
