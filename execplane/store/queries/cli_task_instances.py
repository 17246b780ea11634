"""The task instances of a run, page by page: for the public API and scripts, which want every row."""

from __future__ import annotations

from django.db.models import Q

from execplane.store.models import TaskInstance
from execplane.store.queries.paging import Page, cut
from execplane.store.queries.tasks import _COLUMNS, TaskRow, _row


def task_instances(
    run_pk: int, *, state: str = "", after: tuple[str, int] | None = None, limit: int = 100
) -> Page[TaskRow]:
    """By task id and map index (index: task_instance_once). `next_key` is the last row's (task_id, map_index)."""
    found = TaskInstance.objects.filter(dagrun=run_pk)
    if state:
        found = found.filter(state=state)
    if after is not None:
        found = found.filter(Q(task_id__gt=after[0]) | Q(task_id=after[0], map_index__gt=after[1]))
    values = found.order_by("task_id", "map_index").values_list(*_COLUMNS)[: limit + 1]
    rows, more = cut([_row(row) for row in values], limit)
    return Page(rows=rows, next_key=(rows[-1].task_id, rows[-1].map_index) if more else None)
