"""What the worker API reads for a claim and for a running task. Each read names one attempt or one run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count

from execplane.contract.keys import AttemptKey
from execplane.contract.states import AttemptState
from execplane.store.keyed import attempt_columns
from execplane.store.models import DagRun, TaskInstance, XCom
from execplane.store.prepared import Named, Parameter
from execplane.store.queries.literal import run_succeeded


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRow:
    """One attempt with its run and task instance, as the claim's answer needs them."""

    attempt_id: int
    key: AttemptKey
    state: AttemptState
    executor: str
    namespace: str
    pod_name: str
    try_number: int
    pool: str
    queue: str
    priority: int
    ti_id: int
    author_failures: int
    first_started_at: datetime | None
    run_pk: int
    run_type: str
    logical_date: datetime | None
    interval_start: datetime | None
    interval_end: datetime | None
    run_after: datetime
    queued_at: datetime
    started_at: datetime | None
    conf: dict[str, Any]
    triggered_by: str
    dag_version_id: int
    dag_version_hash: str
    bundle: str


_CLAIM = attempt_columns(
    executor="executor",
    namespace="namespace",
    pod_name="pod_name",
    try_number="try_number",
    pool="pool",
    queue="queue",
    priority="priority",
    ti_id="ti_id",
    author_failures="ti__author_failures",
    first_started_at="ti__first_started_at",
    run_pk="ti__dagrun_id",
    run_type="ti__dagrun__run_type",
    logical_date="ti__dagrun__logical_date",
    interval_start="ti__dagrun__data_interval_start",
    interval_end="ti__dagrun__data_interval_end",
    run_after="ti__dagrun__run_after",
    queued_at="ti__dagrun__queued_at",
    started_at="ti__dagrun__started_at",
    conf="ti__dagrun__conf",
    triggered_by="ti__dagrun__triggered_by",
    dag_version_id="ti__dagrun__dag_version_id",
    dag_version_hash="ti__dagrun__dag_version__hash",
    bundle="ti__dagrun__bundle_id",
)


def claim_row(attempt_id: int) -> ClaimRow | None:
    row = _CLAIM(attempt_id)
    return None if row is None else ClaimRow(**{**row, "pod_name": row["pod_name"] or ""})


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviousSuccess:
    logical_date: datetime | None
    interval_start: datetime | None
    interval_end: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


_PREVIOUS_SUCCESS = Named(
    lambda: DagRun.objects.filter(
        run_succeeded(), dag=Parameter("dag_id"), logical_date__lt=Parameter("before")
    ).order_by("-logical_date")[:1],
    logical_date="logical_date",
    interval_start="data_interval_start",
    interval_end="data_interval_end",
    started_at="started_at",
    ended_at="ended_at",
)


def previous_success(dag_id: str, before: datetime) -> PreviousSuccess | None:
    """The newest successful run of the DAG with an earlier logical date. Reads one row of dagrun_success."""
    row = _PREVIOUS_SUCCESS.first(dag_id=dag_id, before=before)
    return None if row is None else PreviousSuccess(**row)


def mapped_lengths(run_pk: int, task_ids: Collection[str]) -> dict[str, int]:
    """How many instances each of these mapped tasks has in the run."""
    rows = TaskInstance.objects.filter(dagrun_id=run_pk, task_id__in=task_ids, map_index__gte=0)
    return dict(rows.exclude(state="removed").values_list("task_id").annotate(n=Count("pk")).order_by())


@dataclass(frozen=True, kw_only=True, slots=True)
class XComFound:
    task_id: str
    map_index: int
    key: str
    value: bytes | None
    blob: str
    size_bytes: int


def xcoms(
    run_pk: int,
    task_ids: Sequence[str],
    *,
    key: str = "",
    map_index: int | None = None,
    limit: int,
    without_values_above: int | None = None,
) -> list[XComFound]:
    """XComs of one run in the order of task id and map index; at most `limit`. Removed instances do not count."""
    rows = XCom.objects.filter(ti__dagrun_id=run_pk, ti__task_id__in=task_ids).exclude(ti__state="removed")
    if key:
        rows = rows.filter(key=key)
    if map_index is not None:
        rows = rows.filter(ti__map_index=map_index)
    if without_values_above is not None:
        rows = rows.filter(size_bytes__lte=without_values_above)
    fields = ("ti__task_id", "ti__map_index", "key", "value", "blob_sha256", "size_bytes")
    return [
        XComFound(
            task_id=task_id,
            map_index=index,
            key=name,
            value=None if value is None else bytes(value),
            blob=blob,
            size_bytes=size,
        )
        for task_id, index, name, value, blob, size in rows.order_by("ti__task_id", "ti__map_index").values_list(
            *fields
        )[:limit]
    ]


def run_pk(dag_id: str, run_id: str) -> int | None:
    return DagRun.objects.filter(dag_id=dag_id, run_id=run_id).values_list("pk", flat=True).first()


def date_of(run_pk: int) -> datetime:
    """The run's logical date; of a run without one, when it was due."""
    logical, due = DagRun.objects.values_list("logical_date", "run_after").get(pk=run_pk)
    return logical or due


def runs_up_to(dag_id: str, logical_date: datetime, *, limit: int) -> list[int]:
    """The run at `logical_date` and those before it, newest first, at most `limit`. Reads
    dagrun_logical_date_once."""
    rows = DagRun.objects.filter(dag_id=dag_id, logical_date__lte=logical_date).order_by("-logical_date")
    return list(rows.values_list("pk", flat=True)[:limit])


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveAttempt:
    """What a call with an attempt token is checked against."""

    attempt_id: int
    key: AttemptKey
    state: AttemptState
    nonce: str
    stop_reason: str
    ti_id: int
    run_pk: int


_LIVE = attempt_columns(nonce="nonce", stop_reason="stop_reason", ti_id="ti_id", run_pk="ti__dagrun_id")


def live_attempt(attempt_id: int) -> LiveAttempt | None:
    row = _LIVE(attempt_id)
    return None if row is None else LiveAttempt(**row)
