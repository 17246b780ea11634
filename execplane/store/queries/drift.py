"""Drift for pages and commands: findings, and when was last looked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from execplane.contract.errors import NotFound
from execplane.store.models import DriftFinding, DriftLook
from execplane.store.queries.paging import Count, Page, count, cut


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """A finding. Field names are the columns'."""

    id: int
    executor: str
    kind: str
    mend: str
    cluster: str
    namespace: str
    pod_name: str
    pod_uid: str
    attempt_id: int | None
    task: str
    sentence: str
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None
    holds_since: datetime | None
    tries: int
    action: str
    action_by: str
    decision: str
    decided_by: str
    decided_at: datetime | None
    decision_reason: str

    @property
    def holds(self) -> bool:
        return self.holds_since is not None and self.decided_at is None


@dataclass(frozen=True, kw_only=True)
class LookRow:
    """at None: no driver has compared this executor's cluster with the ledger yet."""

    executor: str
    at: datetime | None
    pods: int
    attempts: int
    unseen: str
    left_off: int


_ROW = tuple(field.name for field in fields(DriftRow))
_LOOK = tuple(field.name for field in fields(LookRow))


def findings(*, resolved: bool = False, before: int | None = None, limit: int = 50) -> Page[DriftRow]:
    """Newest first: those that are open (index: drift_open), or all that are kept (the primary key)."""
    found = DriftFinding.objects.all() if resolved else DriftFinding.objects.filter(resolved_at__isnull=True)
    if before is not None:
        found = found.filter(id__lt=before)
    values = found.order_by("-id").values_list(*_ROW)[: limit + 1]
    rows, more = cut([DriftRow(**dict(zip(_ROW, row, strict=True))) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].id if more else None)


def held(limit: int = 50) -> tuple[DriftRow, ...]:
    """Findings that hold launches, oldest first (index: drift_holds)."""
    found = DriftFinding.objects.filter(decided_at__isnull=True, holds_since__isnull=False)
    values = found.order_by("executor", "id").values_list(*_ROW)[:limit]
    return tuple(DriftRow(**dict(zip(_ROW, row, strict=True))) for row in values)


def finding(finding_id: int) -> DriftRow:
    """Raises NotFound."""
    values = DriftFinding.objects.filter(id=finding_id).values_list(*_ROW).first()
    if values is None:
        raise NotFound(f"There is no drift finding {finding_id}.", hint="Old ones that are resolved are not kept.")
    return DriftRow(**dict(zip(_ROW, values, strict=True)))


def unanswered() -> bool:
    """Whether a repair that was ordered has not been answered (index: drift_open)."""
    return DriftFinding.objects.filter(resolved_at__isnull=True, tries__gt=0, action="").exists()


def count_open() -> Count:
    """Open findings (index: drift_open), counted up to a cap."""
    return count(DriftFinding.objects.filter(resolved_at__isnull=True))


def looks() -> tuple[LookRow, ...]:
    """Each executor's newest look: a handful of rows."""
    found = DriftLook.objects.order_by("executor").values_list(*_LOOK)[:100]
    return tuple(LookRow(**dict(zip(_LOOK, row, strict=True))) for row in found)
