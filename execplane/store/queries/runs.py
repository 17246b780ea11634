"""DAG runs: lists by DAG and by state, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from execplane.contract.errors import NotFound
from execplane.store.models import DagRun
from execplane.store.models.runs import ENDED, UNSCHEDULED
from execplane.store.queries.literal import run_is_active, run_is_ended, run_is_unscheduled
from execplane.store.queries.paging import Page, cut


@dataclass(frozen=True, kw_only=True)
class RunRow:
    id: int
    dag_id: str
    run_id: str
    run_type: str
    state: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    triggered_by: str
    reason: str
    version_id: int
    version_number: int
    bundle: str
    conf: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunMark:
    """A run as one square or bar in a list."""

    id: int
    run_id: str
    state: str
    run_type: str
    run_after: datetime
    started_at: datetime | None
    ended_at: datetime | None


_COLUMNS = (
    "id",
    "dag_id",
    "run_id",
    "run_type",
    "state",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "run_after",
    "queued_at",
    "started_at",
    "ended_at",
    "triggered_by",
    "reason",
    "dag_version_id",
    "dag_version__number",
    "bundle_id",
    "conf",
)
_FIELDS = (*_COLUMNS[:14], "version_id", "version_number", "bundle", "conf")


def _row(values: Iterable[Any]) -> RunRow:
    return RunRow(**dict(zip(_FIELDS, values, strict=True)))


def list_runs(
    *,
    dag_id: str = "",
    state: str = "",
    run_type: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Page[RunRow]:
    """Runs, newest first.

    Indexes: dagrun_recent by DAG, with a state dagrun_ended or dagrun_active; dagrun_by_state by state;
    dagrun_unscheduled, dagrun_dag_unscheduled by type; else the primary key.
    What is rare is not searched for among all runs.
    """
    found = DagRun.objects.order_by("-id")
    if dag_id:
        found = found.filter(dag=dag_id)
    if state:
        found = found.filter(run_is_ended() if state in ENDED else run_is_active(), state=state)
    if run_type:
        found = found.filter(run_type=run_type)
    if run_type in UNSCHEDULED:
        found = found.filter(run_is_unscheduled())
    if before is not None:
        found = found.filter(id__lt=before)
    rows, more = cut([_row(values) for values in found.values_list(*_COLUMNS)[: limit + 1]], limit)
    return Page(rows=rows, next_key=rows[-1].id if more else None)


def get_run(dag_id: str, run_id: str) -> RunRow:
    """One run by its names. Raises NotFound."""
    values = DagRun.objects.filter(dag=dag_id, run_id=run_id).values_list(*_COLUMNS).first()
    if values is None:
        raise NotFound(f"The run {run_id} of DAG {dag_id} does not exist.", hint="It may have been deleted.")
    return _row(values)


def newer_run(dag_id: str, run_pk: int) -> str | None:
    """The run_id that follows a run in its DAG (index: dagrun_recent)."""
    return DagRun.objects.filter(dag=dag_id, id__gt=run_pk).order_by("id").values_list("run_id", flat=True).first()


def older_run(dag_id: str, run_pk: int) -> str | None:
    return DagRun.objects.filter(dag=dag_id, id__lt=run_pk).order_by("-id").values_list("run_id", flat=True).first()


def recent_marks(floors: Mapping[str, int]) -> dict[str, tuple[RunMark, ...]]:
    """Each DAG's runs from a lowest id on, oldest first: one query of short index ranges (dagrun_recent).

    `floors` maps a dag_id to the id of its n-th newest run.
    """
    if not floors:
        return {}
    ranges = Q()
    for dag_id, floor in floors.items():
        ranges |= Q(dag=dag_id, id__gte=floor)
    columns = ("dag_id", "id", "run_id", "state", "run_type", "run_after", "started_at", "ended_at")
    marks: dict[str, list[RunMark]] = {dag_id: [] for dag_id in floors}
    for dag_id, *values in DagRun.objects.filter(ranges).values_list(*columns):
        marks[dag_id].append(RunMark(**dict(zip(columns[1:], values, strict=True))))
    return {dag_id: tuple(sorted(found, key=lambda mark: mark.id)) for dag_id, found in marks.items()}
