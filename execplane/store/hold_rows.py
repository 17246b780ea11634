"""What is read of attempts whose failed containers are to be kept alive for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from execplane.store.models import Attempt
from execplane.store.queries.literal import is_ended


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldRow:
    executor: str
    task_id: str
    dag_version_id: int


def holdable(attempt_id: int) -> HoldRow | None:
    """None: it has no container (a process has no namespace). By the primary key."""
    found = Attempt.objects.filter(pk=attempt_id).exclude(namespace="")
    row = found.values_list("executor", "task_id", "ti__dagrun__dag_version_id").first()
    return None if row is None else HoldRow(executor=row[0], task_id=row[1], dag_version_id=row[2])


def held(executor: str, *, now: datetime, limit: int) -> int:
    """How many containers of the executor are held now, counted up to `limit`; not those that are dead already. Reads
    attempt_to_clean."""
    rows = Attempt.objects.filter(is_ended(), executor=executor, launched_at__isnull=False, cleaned_at=None)
    rows = rows.exclude(gone_at__isnull=False, gone_at__lte=now)
    return len(rows.filter(held_until__gt=now).order_by("pk").values_list("pk")[:limit])


def held_until(attempt_id: int) -> datetime | None:
    """By the primary key."""
    return Attempt.objects.filter(pk=attempt_id).values_list("held_until", flat=True).first()
