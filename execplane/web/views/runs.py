"""Runs of all DAGs, and one run: its task instances, its graph, its details."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.gzip import gzip_page

from execplane.contract.keys import NOT_MAPPED
from execplane.store.queries import attempts, audit, dags, runs, tasks, versions
from execplane.store.queries.tasks import Cell
from execplane.web import changed, drawing, rendering, wiring
from execplane.web.tree import Line, lines
from execplane.web.views.dag import RUN_STATES, RUN_TYPES, number

FAILED_SHOWN = 5
CHANGES_SHOWN = 100
MAPPED_SHOWN = 100
STOPPED_ASKED = 100
OBJECTS_ASKED = 500
"""SQLite takes some thousand parameters in a statement."""


def run_list(request: HttpRequest) -> HttpResponse:
    state, run_type = request.GET.get("state", ""), request.GET.get("type", "")
    before = number(request.GET.get("before"))
    page = runs.list_runs(state=state, run_type=run_type, before=before)
    return rendering.show(
        request,
        "web/runs.html",
        {
            "page": page,
            "before": before,
            "run_states": RUN_STATES,
            "run_types": RUN_TYPES,
            "state_filter": state,
            "type_filter": run_type,
            "topics": " ".join(["dags", *dict.fromkeys(f"dag:{row.dag_id}" for row in page.rows)]),
        },
    )


@dataclass(frozen=True, kw_only=True)
class TaskLine:
    """One task of the run: its instance, or all instances of a mapped one."""

    line: Line
    cell: Cell | None
    span: drawing.Span | None


def _frame(dag_id: str, run_id: str, tab: str) -> tuple[runs.RunRow, dict[str, Cell], dict[str, Any]]:
    row = runs.get_run(dag_id, run_id)
    dag = dags.get_dag(dag_id, recent=1)
    cells = tasks.cells([row.id])[row.id]
    failed = _failed(cells)
    # Said at once; the scheduler writes it as the run's reason only when it comes by.
    waits_paused = dag.paused and row.state in ("queued", "running")
    # The scheduler's own reason names what failed as text: the links say the same.
    told_by_links = bool(failed) and row.reason.startswith("failed: ")
    context = {
        "run": row,
        "dag": dag,
        "failed": failed[:FAILED_SHOWN],
        "more_failed": len(failed[FAILED_SHOWN:]),
        "reason": "" if waits_paused or told_by_links else row.reason,
        "waits_paused": waits_paused,
        "tab": tab,
        "spec": versions.spec(row.version_id),
        "topics": f"run:{row.id} dag:{dag_id}",
        "older": runs.older_run(dag_id, row.id),
        "newer": runs.newer_run(dag_id, row.id),
    }
    return row, cells, context


def _failed(cells: Mapping[str, Cell]) -> list[Cell]:
    """From the first failure on."""
    found = [cell for cell in cells.values() if cell.state == "failed" or cell.states.get("failed")]
    return sorted(found, key=lambda cell: (cell.ended_at is None, cell.ended_at, cell.task_id))


@gzip_page
def run(request: HttpRequest, dag_id: str, run_id: str) -> HttpResponse:
    """Its task instances with bars on a common time axis."""
    row, cells, context = _frame(dag_id, run_id, "tasks")
    now = wiring.clock().now()
    moments = [cell.started_at for cell in cells.values() if cell.started_at]
    first = min([row.started_at or row.queued_at, *moments])
    last = row.ended_at or now
    known = lines(context["spec"])
    ids = {line.id for line in known if line.task}
    rest = [Line(id=name, label=name, depth=0) for name in sorted(set(cells) - ids)]
    found = [
        TaskLine(line=line, cell=cell, span=drawing.span(cell.started_at, cell.ended_at, first, last) if cell else None)
        for line in (*known, *rest)
        for cell in [cells.get(line.id)]
    ]
    counted: dict[str, int] = {}
    for cell in cells.values():
        for state, n in (cell.states or {cell.state: 1}).items():
            counted[state] = counted.get(state, 0) + n
    context |= {"lines": found, "counted": sorted(counted.items()), "axis": last - first}
    return rendering.show(request, "web/run.html", context)


def graph(request: HttpRequest, dag_id: str, run_id: str) -> HttpResponse:
    _, cells, context = _frame(dag_id, run_id, "graph")
    return rendering.show(
        request, "web/run_graph.html", {**context, "drawing": drawing.graph(context["spec"], cells, run_id)}
    )


def details(request: HttpRequest, dag_id: str, run_id: str) -> HttpResponse:
    row, cells, context = _frame(dag_id, run_id, "details")
    found = audit.changes(objects=_objects(row, cells), limit=CHANGES_SHOWN).rows
    # A trigger is recorded with the DAG, because its run did not exist yet.
    triggers = audit.changes(objects=[f"dag:{dag_id}"], limit=CHANGES_SHOWN).rows if row.triggered_by else ()
    own = [one for one in triggers if one.action == "trigger" and (one.after or {}).get("run_id") == run_id]
    changes = [changed.change(one) for one in (*found, *own)]
    return rendering.show(request, "web/run_details.html", {**context, "changes": changes})


def _objects(row: runs.RunRow, cells: Mapping[str, Cell]) -> list[str]:
    """The names under which verbs on the run, its attempts (they are cancelled) and task instances are recorded."""
    name = f"{row.dag_id}/{row.run_id}"
    found = [f"run:{name}", *(f"attempt:{pk}" for pk in attempts.stopped_attempts(row.id, STOPPED_ASKED))]
    for cell in cells.values():
        indexes = (NOT_MAPPED, *(range(min(cell.total, MAPPED_SHOWN)) if cell.states else ()))
        found += [f"task:{name}/{cell.task_id}[{index}]" for index in indexes]
    return found[:OBJECTS_ASKED]
