"""The card "Why pending": one sentence first, what unblocks it, then everything else that holds it.

A part of its own, because the cluster is asked for it: the page around it never waits for the API server.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from execplane.actions import pending
from execplane.contract.keys import NOT_MAPPED
from execplane.store.queries import attempts, runs, tasks
from execplane.web import rendering


def attempt(request: HttpRequest, attempt_id: int) -> HttpResponse:
    """?card gives the card alone, for the page that shows it."""
    row = attempts.get_attempt(attempt_id)
    ti = tasks.get_task_by_pk(row.ti_id)
    return _show(request, pending.current().attempt(attempt_id), runs.get_run(row.dag_id, row.run_id), ti)


def task(request: HttpRequest, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> HttpResponse:
    asked = pending.current().task_instance(dag_id, run_id, task_id, map_index)
    return _show(request, asked, runs.get_run(dag_id, run_id), tasks.get_task(dag_id, run_id, task_id, map_index))


def _show(request: HttpRequest, asked: pending.Asked, run: runs.RunRow, ti: tasks.TaskRow) -> HttpResponse:
    topics = f"run:{run.id}" + (f" attempt:{asked.attempt_id}" if asked.attempt_id else "")
    context = {"asked": asked, "answer": asked.pending, "run": run, "ti": ti, "topics": topics}
    return rendering.show(request, "web/why_pending.html", {**context, "card": "card" in request.GET})
