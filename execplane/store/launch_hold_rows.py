"""Launch holds in the ledger: which count now, which DAGs and attempts they cover, and how they begin and end.

A hold that has expired just stops counting; nothing needs to happen for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet

from execplane.contract.errors import NotFound
from execplane.contract.launch_holds import LaunchHold, Scope
from execplane.store import models
from execplane.store.database import nudge
from execplane.store.models import Attempt, DagTag, Deployment
from execplane.store.prepared import Parameter, Select, SelectIn
from execplane.store.queries.paging import Page, cut
from execplane.store.texts import clean

TOPIC = "holds"
MOST_ACTIVE = 100
"""Holds that count at the same time: each claim reads them all."""
KEPT = 1000
"""Newest holds that stay, those that ended included."""

_MOST_TAGGED = 20_000

_COLUMNS = ("pk", "scope", "name", "reason", "author", "created_at", "expires_at")


def _counting(now: datetime | Parameter) -> QuerySet[models.LaunchHold]:
    return models.LaunchHold.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), ended_at__isnull=True)


_ACTIVE = Select(lambda: _counting(Parameter("now")).order_by("pk").values_list(*_COLUMNS)[:MOST_ACTIVE])


def active(now: datetime) -> tuple[LaunchHold, ...]:
    """What counts now, the oldest first (index: launch_hold_open)."""
    return tuple(
        LaunchHold(id=pk, scope=Scope(scope), name=name, reason=reason, author=author, since=since, until=until)
        for pk, scope, name, reason, author, since, until in _ACTIVE(now=now)
    )


@dataclass(frozen=True, kw_only=True)
class HoldRow:
    """A hold as pages and commands list it, also after its end."""

    hold: LaunchHold
    ended_at: datetime | None
    ended_by: str

    def counts(self, now: datetime) -> bool:
        return self.ended_at is None and (self.hold.until is None or self.hold.until > now)


def page(*, now: datetime, ended: bool = False, before: int | None = None, limit: int = 50) -> Page[HoldRow]:
    """Newest first: those that count (index: launch_hold_open), or all that are kept (the primary key)."""
    found = models.LaunchHold.objects.all() if ended else _counting(now)
    if before is not None:
        found = found.filter(pk__lt=before)
    rows, more = cut([_row(one) for one in found.order_by("-pk")[: limit + 1]], limit)
    return Page(rows=rows, next_key=rows[-1].hold.id if more else None)


def get(hold_id: int) -> HoldRow:
    """Raises NotFound."""
    row = models.LaunchHold.objects.filter(pk=hold_id).first()
    if row is None:
        raise NotFound(
            f"There is no launch hold {hold_id}.", hint="`execplane holds list --all` shows those there were."
        )
    return _row(row)


def _row(row: models.LaunchHold) -> HoldRow:
    hold = LaunchHold(
        id=row.pk,
        scope=Scope(row.scope),
        name=row.name,
        reason=row.reason,
        author=row.author,
        since=row.created_at,
        until=row.expires_at,
    )
    ended_at = row.ended_at
    return HoldRow(hold=hold, ended_at=ended_at, ended_by=row.ended_by)


# What they cover


def tagged(tags: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """DAGs that have one of these tags: DAG id -> its tags of these (index: dag_tag_name). All of them, whether
    anything of theirs is queued or not: it may be a moment later."""
    found: dict[str, tuple[str, ...]] = {}
    if tags:
        rows = DagTag.objects.filter(name__in=tags).order_by("dag_id", "pk")[:_MOST_TAGGED]
        for dag_id, name in rows.values_list("dag_id", "name"):
            found[dag_id] = (*found.get(dag_id, ()), name)
    return found


def tags_of(dag_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each DAG's tags (index: the foreign key's)."""
    found: dict[str, tuple[str, ...]] = {}
    for dag_id, name in DagTag.objects.filter(dag_id__in=set(dag_ids)).order_by("pk").values_list("dag_id", "name"):
        found[dag_id] = (*found.get(dag_id, ()), name)
    return found


def tag_exists(name: str) -> bool:
    """Whether any DAG has it (index: dag_tag_name)."""
    return DagTag.objects.filter(name=name).exists()


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What holds ask of an attempt. cluster and namespace are "" while nobody has built its pod."""

    attempt_id: int
    executor: str
    dag_id: str
    cluster: str
    namespace: str


_PLACES = SelectIn(
    lambda keys: Attempt.objects.filter(pk__in=keys).values_list("pk", "executor", "dag_id", "cluster", "namespace")
)


def places(attempt_ids: Iterable[int]) -> list[Place]:
    """By the primary key."""
    return [
        Place(attempt_id=pk, executor=executor, dag_id=dag_id, cluster=cluster, namespace=namespace)
        for pk, executor, dag_id, cluster, namespace in _PLACES(attempt_ids)
    ]


def since(moment: datetime) -> list[HoldRow]:
    """What counted at some time after this moment, of those that are kept (a bounded table)."""
    rows = models.LaunchHold.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=moment), Q(ended_at=None) | Q(ended_at__gt=moment)
    )
    return [_row(row) for row in rows.order_by("pk")[: KEPT + MOST_ACTIVE]]


# How they begin and end


def add(scope: Scope, name: str, reason: str, *, author: str, until: datetime | None, now: datetime) -> int | None:
    """A new hold's id, or that of one that says just the same; None: MOST_ACTIVE count already. Inside the caller's
    `write()`."""
    # One at a time: else two could be the last that fits, and reads stop at MOST_ACTIVE.
    Deployment.objects.select_for_update().filter(pk=1).first()
    models.LaunchHold.objects.filter(ended_at__isnull=True, expires_at__lte=now).update(ended_at=F("expires_at"))
    said = {"scope": scope, "name": name, "reason": clean(reason), "author": author[:200], "expires_at": until}
    same = _counting(now).filter(**said).values_list("pk", flat=True).first()
    if same is not None:
        return same
    if len(_counting(now).values_list("pk")[:MOST_ACTIVE]) >= MOST_ACTIVE:
        return None
    row = models.LaunchHold.objects.create(**said, created_at=now)
    _prune()
    nudge(TOPIC, "driver")
    return int(row.pk)


def end(hold_id: int, *, by: str, now: datetime) -> bool:
    """Compare-and-set: whether it counted until now. Inside the caller's `write()`."""
    ended = _counting(now).filter(pk=hold_id).update(ended_at=now, ended_by=by[:200])
    nudge(TOPIC, "driver")
    return bool(ended)


def _prune() -> None:
    """By the primary key; what counts stays."""
    oldest = list(models.LaunchHold.objects.order_by("-pk").values_list("pk", flat=True)[KEPT : KEPT + 1])
    if oldest:
        models.LaunchHold.objects.filter(pk__lte=oldest[0], ended_at__isnull=False).delete()
