"""`execplane runs …`: DAG runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, between, duration, say, show_one, show_rows, table
from execplane.cli.session import reading

if TYPE_CHECKING:
    from execplane.store.queries.runs import RunRow
    from execplane.store.queries.tasks import Cell

app = typer.Typer(help="DAG runs: list and show.", no_args_is_help=True)

DagId = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG's id.")]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id.")]
_STATES = ("queued", "running", "success", "failed")


@app.command("list")
def list_runs(
    dag_id: Annotated[str, typer.Argument(metavar="[DAG_ID]", help="Only this DAG's runs.")] = "",
    state: Annotated[str, typer.Option(help="queued, running, success or failed.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 25,
    output: OutputOption = Output.TABLE,
) -> None:
    """The newest runs. Example: execplane runs list hello --state failed --limit 5"""
    with reading():
        from execplane.contract.errors import InvalidInput
        from execplane.store.queries import dags, runs

        if state and state not in _STATES:
            raise InvalidInput(f"There is no run state {state!r}.", hint=f"Use {', '.join(_STATES)}.")
        if dag_id:
            dags.get_dag(dag_id, recent=1)
        rows = [run_fields(run) for run in runs.list_runs(dag_id=dag_id, state=state, limit=limit).rows]
    columns = ("dag_id", "run_id", "state", "run_type", "started_at", "duration", "triggered_by")
    if output is Output.TABLE:
        rows = [{**row, "duration": duration(row["duration_seconds"])} for row in rows]
    show_rows(rows, output, columns, empty="There are no such runs.")


def run_fields(run: RunRow) -> dict[str, Any]:
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
    found = [_cell_fields(cell) for cell in sorted(cells.values(), key=_by_start)]
    if output is not Output.TABLE:
        show_one({**run_fields(run), "tasks": found}, output)
        return
    show_one(run_fields(run), output)
    say("")
    rows = [
        [t["task_id"], t["state"], t["try_number"], t["started_at"], duration(t["duration_seconds"]), _counts(t)]
        for t in found
    ]
    say(table(["TASK", "STATE", "TRY", "STARTED", "TOOK", "INSTANCES"], rows))


def _by_start(cell: Cell) -> tuple[bool, Any, str]:
    return cell.started_at is None, cell.started_at, cell.task_id


def _cell_fields(cell: Cell) -> dict[str, Any]:
    return {
        "task_id": cell.task_id,
        "state": cell.state,
        "try_number": cell.try_number,
        "started_at": cell.started_at,
        "ended_at": cell.ended_at,
        "duration_seconds": between(cell.started_at, cell.ended_at),
        "instances": dict(cell.states),
    }


def _counts(task: dict[str, Any]) -> str:
    return ", ".join(f"{n} {state}" for state, n in sorted(task["instances"].items()))
