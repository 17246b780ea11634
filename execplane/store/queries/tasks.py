"""Task instances: those of a run, the cells of a grid, the instances of a mapped task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Min

from execplane.contract.errors import NotFound
from execplane.contract.keys import NOT_MAPPED
from execplane.store.models import TaskInstance
from execplane.store.queries.paging import Page, cut

PRECEDENCE = (
    "failed",
    "upstream_failed",
    "up_for_retry",
    "up_for_reschedule",
    "restarting",
    "running",
    "queued",
    "none",
    "success",
    "skipped",
    "removed",
)
"""Which state stands for many, as in Airflow: what a person must hear of first; skips and removals come last."""


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    id: int
    run_pk: int
    task_id: str
    map_index: int
    state: str
    attempt_no: int
    try_number: int
    author_failures: int
    infra_failures: int
    eligible_at: datetime | None
    map_label: str
    note: str
    reason: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One task of one run, its mapped instances taken together. `states` counts them when it is mapped."""

    task_id: str
    state: str
    try_number: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    states: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.states.values())


_COLUMNS = (
    "id",
    "dagrun_id",
    "task_id",
    "map_index",
    "state",
    "attempt_no",
    "try_number",
    "author_failures",
    "infra_failures",
    "eligible_at",
    "map_label",
    "note",
    "reason",
    "started_at",
    "ended_at",
)
_FIELDS = ("id", "run_pk", *_COLUMNS[2:])


def _row(values: Iterable[Any]) -> TaskRow:
    return TaskRow(**dict(zip(_FIELDS, values, strict=True)))


def summary_state(states: Iterable[str]) -> str:
    """The state that stands for several; "none" for nothing."""
    present = set(states)
    return next((state for state in PRECEDENCE if state in present), "none")


def cells(run_pks: Sequence[int]) -> dict[int, dict[str, Cell]]:
    """Cells per run and task id: two queries for any number of runs (index: task_instance_once).

    Mapped instances are summed up by the database, so a thousand of them cost one cell.
    """
    grid: dict[int, dict[str, Cell]] = {pk: {} for pk in run_pks}
    instances = TaskInstance.objects.filter(dagrun__in=list(run_pks))
    plain = instances.filter(map_index=NOT_MAPPED)
    columns = ("dagrun_id", "task_id", "state", "try_number", "started_at", "ended_at")
    for pk, task_id, state, try_number, started_at, ended_at in plain.values_list(*columns):
        grid[pk][task_id] = Cell(
            task_id=task_id, state=state, try_number=try_number, started_at=started_at, ended_at=ended_at
        )
    mapped = (
        instances.filter(map_index__gt=NOT_MAPPED)
        .order_by()
        .values_list("dagrun_id", "task_id", "state")
        .annotate(n=Count("id"), tries=Max("try_number"), start=Min("started_at"), end=Max("ended_at"))
    )
    parts: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for pk, task_id, *values in mapped:
        parts.setdefault((pk, task_id), []).append(tuple(values))
    for (pk, task_id), found in parts.items():
        grid[pk][task_id] = _summed(task_id, found)
    return grid


def _summed(task_id: str, parts: Sequence[tuple[Any, ...]]) -> Cell:
    """`parts`: (state, n, most tries, first start, last end) per state."""
    states = {state: n for state, n, *_ in parts}
    starts = [start for *_, start, _ in parts if start]
    ends = [end for *_, end in parts if end]
    alive = any(state in ("running", "queued", "restarting") for state in states)
    return Cell(
        task_id=task_id,
        state=summary_state(states),
        try_number=max(part[2] for part in parts),
        started_at=min(starts, default=None),
        ended_at=None if alive else max(ends, default=None),
        states=states,
    )


def get_task(dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> TaskRow:
    """One task instance by its names. Raises NotFound."""
    found = TaskInstance.objects.filter(dagrun__dag=dag_id, dagrun__run_id=run_id, task_id=task_id, map_index=map_index)
    values = found.values_list(*_COLUMNS).first()
    if values is None:
        raise NotFound(
            f"The run {run_id} of DAG {dag_id} has no task instance {task_id}"
            + (f"[{map_index}]." if map_index != NOT_MAPPED else ".")
        )
    return _row(values)


def get_task_by_pk(pk: int) -> TaskRow:
    values = TaskInstance.objects.filter(pk=pk).values_list(*_COLUMNS).first()
    if values is None:
        raise NotFound(f"The task instance {pk} does not exist.")
    return _row(values)


def mapped_instances(
    run_pk: int, task_id: str, *, state: str = "", after: int = NOT_MAPPED, limit: int = 100
) -> Page[TaskRow]:
    """The instances of a mapped task, by map index (index: task_instance_once)."""
    found = TaskInstance.objects.filter(dagrun=run_pk, task_id=task_id, map_index__gt=after)
    if state:
        found = found.filter(state=state)
    values = found.order_by("map_index").values_list(*_COLUMNS)[: limit + 1]
    rows, more = cut([_row(row) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].map_index if more else None)
