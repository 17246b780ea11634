"""The deployment's own health: loops and leases, pools, import errors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from execplane.store.models import ImportErrorRow, Lease, LoopStatus, Pool
from execplane.store.queries.paging import Page, cut


@dataclass(frozen=True, kw_only=True)
class LoopRow:
    process: str
    name: str
    version: str
    state: str
    started_at: datetime
    last_tick_at: datetime | None
    last_tick_seconds: float
    max_tick_seconds: float
    ticks: int
    errors: int
    restarts: int
    last_error: str
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class LeaseRow:
    name: str
    holder: str
    token: int
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class PoolRow:
    name: str
    slots: int
    description: str


@dataclass(frozen=True, kw_only=True)
class ImportErrorMark:
    id: int
    bundle_name: str
    file: str
    message: str
    traceback: str
    first_seen_at: datetime
    seen_at: datetime


def loops(limit: int = 500) -> tuple[LoopRow, ...]:
    """What each loop of each process last said (index: loop_status_once)."""
    columns = tuple(field.name for field in fields(LoopRow))
    found = LoopStatus.objects.order_by("process", "name").values_list(*columns)[:limit]
    return tuple(LoopRow(**dict(zip(columns, values, strict=True))) for values in found)


def leases() -> dict[str, LeaseRow]:
    columns = tuple(field.name for field in fields(LeaseRow))
    found = Lease.objects.order_by("name").values_list(*columns)[:500]
    return {values[0]: LeaseRow(**dict(zip(columns, values, strict=True))) for values in found}


def pools(limit: int = 500) -> tuple[PoolRow, ...]:
    columns = tuple(field.name for field in fields(PoolRow))
    found = Pool.objects.order_by("name").values_list(*columns)[:limit]
    return tuple(PoolRow(**dict(zip(columns, values, strict=True))) for values in found)


def import_errors(*, before: int | None = None, limit: int = 50) -> Page[ImportErrorMark]:
    """Files that do not import, newest first (index: the primary key)."""
    columns = tuple(field.name for field in fields(ImportErrorMark))
    found = ImportErrorRow.objects.order_by("-id")
    if before is not None:
        found = found.filter(id__lt=before)
    values = found.values_list(*columns)[: limit + 1]
    rows, more = cut([ImportErrorMark(**dict(zip(columns, row, strict=True))) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].id if more else None)


def count_import_errors() -> int:
    """As many as `import_errors` lists: at most one a DAG file."""
    return ImportErrorRow.objects.count()
