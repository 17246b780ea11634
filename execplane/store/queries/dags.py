"""DAGs: the list with its recent runs, one DAG, tags."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from execplane.contract.errors import NotFound
from execplane.store.models import Dag, DagRun, DagTag
from execplane.store.queries.literal import run_is_active
from execplane.store.queries.paging import Count, Page, count, cut
from execplane.store.queries.runs import RunMark, recent_marks

RECENT = 14


@dataclass(frozen=True, kw_only=True)
class DagRow:
    dag_id: str
    display_name: str
    description: str
    schedule: str
    paused: bool
    active: bool
    owners: str
    file: str
    bundle_name: str
    max_active_runs: int
    next_run_at: datetime | None
    next_logical_date: datetime | None
    next_interval_start: datetime | None
    next_interval_end: datetime | None
    parsed_at: datetime | None
    version_id: int | None
    version_number: int | None
    bundle: str
    """Digest of the files that the next run will use; "" before the first import."""
    tags: tuple[str, ...] = ()
    recent: tuple[RunMark, ...] = ()

    @property
    def last(self) -> RunMark | None:
        return self.recent[-1] if self.recent else None


@dataclass(frozen=True, kw_only=True)
class DagFilter:
    """status: "" | "active" (not paused) | "paused" | "running" (a run is queued or running) | "failed" (the
    newest run failed) | "removed" (no file defines it any more)."""

    search: str = ""
    status: str = ""
    tag: str = ""


def _newest(column: str, nth: int = 0) -> Subquery:
    runs = DagRun.objects.filter(dag=OuterRef("pk")).order_by("-id")
    return Subquery(runs.values(column)[nth : nth + 1])


def _filtered(wanted: DagFilter) -> QuerySet[Dag, Dag]:
    found = Dag.objects.filter(active=wanted.status != "removed")
    if wanted.search:
        found = found.filter(
            Q(dag_id__icontains=wanted.search)
            | Q(display_name__icontains=wanted.search)
            | Q(owners__icontains=wanted.search)
        )
    if wanted.tag:
        found = found.filter(Exists(DagTag.objects.filter(dag=OuterRef("pk"), name=wanted.tag)))
    if wanted.status in ("active", "paused"):
        found = found.filter(paused=wanted.status == "paused")
    elif wanted.status == "running":
        found = found.filter(Exists(DagRun.objects.filter(run_is_active(), dag=OuterRef("pk"))))
    elif wanted.status == "failed":
        found = found.annotate(newest_state=_newest("state")).filter(newest_state="failed")
    return found


def list_dags(wanted: DagFilter, *, after: str = "", limit: int = 50, recent: int = RECENT) -> Page[DagRow]:
    """DAGs by id, with tags and recent runs, in three queries whatever the length of history."""
    found = _filtered(wanted).order_by("dag_id")
    if after:
        found = found.filter(dag_id__gt=after)
    dags, more = cut(list(_with_floor(found, recent)[: limit + 1]), limit)
    return Page(rows=_rows(dags), next_key=dags[-1].dag_id if more else None)


def get_dag(dag_id: str, *, recent: int = RECENT) -> DagRow:
    """One DAG. Raises NotFound."""
    dags = list(_with_floor(Dag.objects.filter(dag_id=dag_id), recent))
    if not dags:
        raise NotFound(f"The DAG {dag_id} does not exist.", hint="Check its id, or look at the import errors.")
    return _rows(tuple(dags))[0]


def count_dags(wanted: DagFilter) -> Count:
    return count(_filtered(wanted))


def all_tags(limit: int = 100) -> tuple[str, ...]:
    """Tags in use (index: dag_tag_name)."""
    return tuple(DagTag.objects.order_by("name").values_list("name", flat=True).distinct()[:limit])


def _with_floor(dags: QuerySet[Dag, Dag], recent: int) -> QuerySet[Dag, Dag]:
    return dags.select_related("latest_version").annotate(
        floor=_newest("id", recent - 1), has_runs=Exists(DagRun.objects.filter(dag=OuterRef("pk")))
    )


def _rows(dags: tuple[Dag, ...]) -> tuple[DagRow, ...]:
    # Fewer runs than asked for: there is no n-th newest one, and all of them are wanted.
    marks = recent_marks({dag.dag_id: getattr(dag, "floor") or 0 for dag in dags if getattr(dag, "has_runs")})  # noqa: B009 - annotations, unknown to the model's type
    tags: dict[str, list[str]] = {}
    names = DagTag.objects.filter(dag__in=[dag.dag_id for dag in dags]).order_by("name")
    for dag_id, name in names.values_list("dag_id", "name"):
        tags.setdefault(dag_id, []).append(name)
    return tuple(
        DagRow(
            dag_id=dag.dag_id,
            display_name=dag.display_name,
            description=dag.description,
            schedule=dag.schedule,
            paused=dag.paused,
            active=dag.active,
            owners=dag.owners,
            file=dag.file,
            bundle_name=dag.bundle_name,
            max_active_runs=dag.max_active_runs,
            next_run_at=dag.next_run_at,
            next_logical_date=dag.next_logical_date,
            next_interval_start=dag.next_interval_start,
            next_interval_end=dag.next_interval_end,
            parsed_at=dag.parsed_at,
            version_id=dag.latest_version.pk if dag.latest_version else None,
            version_number=dag.latest_version.number if dag.latest_version else None,
            bundle=dag.latest_bundle_id or "",
            tags=tuple(tags.get(dag.dag_id, ())),
            recent=marks.get(dag.dag_id, ()),
        )
        for dag in dags
    )
