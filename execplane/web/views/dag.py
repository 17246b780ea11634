"""One DAG: its grid of runs and tasks, its graph, its runs, its code and details."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.gzip import gzip_page

from execplane.contract.errors import NotFound, Unavailable
from execplane.store.queries import audit, dags, runs, tasks, versions
from execplane.web import changed, drawing, gridding, rendering, wiring
from execplane.web.tree import lines

CHANGES_SHOWN = 10
RUN_COUNTS = (10, 25, 50, 100)
RUN_TYPES = ("scheduled", "manual")
RUN_STATES = ("queued", "running", "success", "failed")


def _frame(dag_id: str, tab: str, recent: int = 1) -> tuple[dags.DagRow, dict[str, Any]]:
    row = dags.get_dag(dag_id, recent=recent)
    spec = versions.spec(row.version_id) if row.version_id is not None else None
    return row, {"dag": row, "spec": spec, "tab": tab, "topics": f"dag:{dag_id} dags"}


def number(text: str | None) -> int | None:
    """A number from an address; None for anything else, because an address is easily cut."""
    return int(text) if text and text.isdecimal() and len(text) < 19 else None


@gzip_page
def grid(request: HttpRequest, dag_id: str) -> HttpResponse:
    """Runs across, tasks down, a square for each."""
    _, context = _frame(dag_id, "grid")
    wanted = number(request.GET.get("runs"))
    limit = wanted if wanted in RUN_COUNTS else 25
    state, run_type = request.GET.get("state", ""), request.GET.get("type", "")
    before = number(request.GET.get("before"))
    page = runs.list_runs(dag_id=dag_id, state=state, run_type=run_type, before=before, limit=limit)
    shown = page.rows[::-1]
    cells = tasks.cells([run.id for run in shown])
    table = gridding.grid(dag_id, context["spec"], shown, cells, wiring.clock().now())
    return rendering.show(
        request,
        "web/dag_grid.html",
        {
            **context,
            "runs": shown,
            "grid": table,
            "older": page.next_key,
            "before": before,
            "limit": limit,
            "run_counts": RUN_COUNTS,
            "run_types": RUN_TYPES,
            "run_states": RUN_STATES,
            "state_filter": state,
            "type_filter": run_type,
        },
    )


def graph(request: HttpRequest, dag_id: str) -> HttpResponse:
    """The newest version's tasks, coloured by the newest run."""
    row, context = _frame(dag_id, "graph")
    last = row.last
    cells = tasks.cells([last.id])[last.id] if last else {}
    spec = context["spec"]
    run_id = last.run_id if last else ""
    return rendering.show(
        request,
        "web/dag_graph.html",
        {**context, "run": last, "drawing": drawing.graph(spec, cells, run_id) if spec else None},
    )


def run_list(request: HttpRequest, dag_id: str) -> HttpResponse:
    _, context = _frame(dag_id, "runs")
    state, run_type = request.GET.get("state", ""), request.GET.get("type", "")
    before = number(request.GET.get("before"))
    page = runs.list_runs(dag_id=dag_id, state=state, run_type=run_type, before=before)
    return rendering.show(
        request,
        "web/dag_runs.html",
        {
            **context,
            "page": page,
            "before": before,
            "run_types": RUN_TYPES,
            "run_states": RUN_STATES,
            "state_filter": state,
            "type_filter": run_type,
        },
    )


def code(request: HttpRequest, dag_id: str) -> HttpResponse:
    """The file in the newest bundle; ?run= as that run uses it, ?version= as it was when a version was first seen.

    A function's body changes the bundle and no version, so only a bundle says what runs.
    """
    row, context = _frame(dag_id, "code")
    known = versions.versions(dag_id)
    wanted = number(request.GET.get("version"))
    chosen = next((one for one in known if one.number == wanted), None)
    run = runs.get_run(dag_id, request.GET["run"]) if request.GET.get("run") else None
    file, bundle, version_id = row.file, row.bundle, row.version_id
    if run is not None:
        file, bundle, version_id = versions.spec(run.version_id).file, run.bundle, run.version_id
    source = None if chosen else _in_bundle(bundle, file)
    if source is None:
        chosen = chosen or next((one for one in known if one.id == version_id), None)
        source = versions.source(chosen.id) if chosen else None
    return rendering.show(
        request,
        "web/dag_code.html",
        {
            **context,
            "file": file,
            "bundle": bundle,
            "run": run,
            "versions": known,
            "chosen": chosen,
            "lines": drawing.code_lines(source),
        },
    )


def _in_bundle(digest: str, file: str) -> str | None:
    """None: the bundle is not kept (any more), or cannot be read now."""
    places = wiring.parts().bundles
    if places is None or not digest:
        return None
    try:
        return places.read(digest, file).decode("utf-8", errors="replace")
    except (NotFound, Unavailable):
        return None


def details(request: HttpRequest, dag_id: str) -> HttpResponse:
    _, context = _frame(dag_id, "details")
    page = audit.changes(objects=[f"dag:{dag_id}"], limit=CHANGES_SHOWN)
    return rendering.show(
        request,
        "web/dag_details.html",
        {
            **context,
            "versions": versions.versions(dag_id, limit=10),
            "changes": [changed.change(row) for row in page.rows],
            "more_changes": page.next_key is not None,
            "tasks": [line.task for line in lines(context["spec"]) if line.task] if context["spec"] else [],
        },
    )
