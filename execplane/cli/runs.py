"""`execplane runs …`: DAG runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, between, duration, say, show_one, table
from execplane.cli.session import reading

app = typer.Typer(help="DAG runs: list and show.", no_args_is_help=True)

DagId = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG's id.")]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id.")]


def run_fields(run: Any) -> dict[str, Any]:
    """A run's fields as every output names them."""
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "run_type": run.run_type,
        "state": run.state,
        "logical_date": run.logical_date,
        "data_interval_start": run.data_interval_start,
        "data_interval_end": run.data_interval_end,
        "run_after": run.run_after,
        "queued_at": run.queued_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "duration_seconds": between(run.started_at, run.ended_at),
        "triggered_by": run.triggered_by,
        "reason": run.reason,
        "dag_version": run.version_number,
        "bundle": run.bundle,
        "conf": dict(run.conf),
    }


@app.command()
def show(dag_id: DagId, run_id: RunId, output: OutputOption = Output.TABLE) -> None:
    """A run and its tasks. Example: execplane runs show hello manual__2025-03-01T12:00:00+00:00 -o json"""
    with reading():
        from execplane.store.queries import runs, tasks

        run = runs.get_run(dag_id, run_id)
        cells = tasks.cells([run.id])[run.id]
    found = [
        {
            "task_id": cell.task_id,
            "state": cell.state,
            "try_number": cell.try_number,
            "started_at": cell.started_at,
            "ended_at": cell.ended_at,
            "duration_seconds": between(cell.started_at, cell.ended_at),
            "instances": dict(cell.states),
        }
        for cell in sorted(cells.values(), key=lambda cell: (cell.started_at is None, cell.started_at, cell.task_id))
    ]
    if output is not Output.TABLE:
        show_one({**run_fields(run), "tasks": found}, output)
        return
    show_one(run_fields(run), output)
    say("")
    rows = [[t["task_id"], t["state"], t["try_number"], t["started_at"], duration(t["duration_seconds"])] for t in found]
    say(table(["TASK", "STATE", "TRY", "STARTED", "TOOK"], rows))
