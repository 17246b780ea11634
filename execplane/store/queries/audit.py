"""Who changed what, newest first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from execplane.contract.keys import NOT_MAPPED, TaskKey
from execplane.store.models import Audit
from execplane.store.queries.paging import Page, cut


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """`object` is `dag:ID`, `run:DAG/RUN`, `task:DAG/RUN/TASK[INDEX]`, `attempt:ID`, `variable:KEY`,
    `connection:ID`, `pool:NAME`, `user:NAME`, `dags` or `fernet_keys`."""

    id: int
    at: datetime
    actor: str
    action: str
    object: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def was_marked(key: TaskKey, at: datetime) -> bool:
    """Whether somebody marked the task instance, all of its mapped task, or its run, at that moment (index:
    audit_object).

    Asked with a task instance's end: a verb records itself with the time that it writes.
    """
    run = f"{key.dag_id}/{key.run_id}"
    objects = [f"run:{run}", *(f"task:{run}/{key.task_id}[{index}]" for index in {key.map_index, NOT_MAPPED})]
    return Audit.objects.filter(object__in=objects, at=at, action__startswith="mark ").exists()


def changes(
    *, objects: Collection[str] | None = None, users: bool = True, before: int | None = None, limit: int = 50
) -> Page[AuditRow]:
    """What was done, to all or to these objects (index: the primary key, or audit_object); `users` tells whether what
    was done to accounts is among it."""
    found = Audit.objects.order_by("-id")
    if objects is not None:
        found = found.filter(object__in=objects)
    if not users:
        found = found.exclude(object__startswith="user:")
    if before is not None:
        found = found.filter(id__lt=before)
    columns = tuple(field.name for field in fields(AuditRow))
    values = found.values_list(*columns)[: limit + 1]
    rows, more = cut([AuditRow(**dict(zip(columns, row, strict=True))) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].id if more else None)
