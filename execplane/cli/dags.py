"""`execplane dags …`: what DAGs there are, and the verbs on them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, remark, say, show_one, show_rows
from execplane.cli.session import acting, parse_conf, parse_date, reading

app = typer.Typer(help="DAGs: list, show, trigger, test, pause.", no_args_is_help=True)

DagId = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG's id.")]
_PAGE = 500


@app.command("list")
def list_dags(output: OutputOption = Output.TABLE) -> None:
    """The DAGs there are. Example: execplane dags list -o json"""
    with reading():
        from execplane.store.queries.dags import DagFilter, list_dags as query

        rows: list[dict[str, Any]] = []
        after = ""
        while True:
            page = query(DagFilter(), after=after, limit=_PAGE, recent=1)
            rows += [dag_fields(dag) for dag in page.rows]
            if page.next_key is None:
                break
            after = page.next_key
    columns = ("dag_id", "schedule", "paused", "last_run_state", "next_run_at", "owners", "file")
    show_rows(rows, output, columns, empty="There are no DAGs. `execplane dags import-errors` shows files that fail.")


def dag_fields(dag: Any) -> dict[str, Any]:
    """A DAG's fields as every output names them."""
    last = dag.last
    return {
        "dag_id": dag.dag_id,
        "display_name": dag.display_name,
        "description": dag.description,
        "schedule": dag.schedule,
        "paused": dag.paused,
        "active": dag.active,
        "owners": dag.owners,
        "tags": list(dag.tags),
        "file": dag.file,
        "bundle_name": dag.bundle_name,
        "version": dag.version_number,
        "max_active_runs": dag.max_active_runs,
        "next_run_at": None if dag.paused else dag.next_run_at,
        "last_run_id": last.run_id if last else None,
        "last_run_state": last.state if last else None,
        "parsed_at": dag.parsed_at,
    }


@app.command()
def trigger(
    dag_id: DagId,
    conf: Annotated[str | None, typer.Option(help="The run's conf: a JSON object, or @FILE.")] = None,
    run_id: Annotated[str | None, typer.Option(help="A name for the run; unset: manual__<time>.")] = None,
    logical_date: Annotated[str | None, typer.Option(help="ISO 8601; unset: now.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run by hand. Example: execplane dags trigger hello --conf '{"name": "you"}'"""
    values, date = parse_conf(conf), parse_date(logical_date)
    with acting() as session:
        from execplane.actions import dags

        made = dags.trigger(session.actor, dag_id, conf=values, logical_date=date, run_id=run_id)
    if output is Output.TABLE:
        say(f"Triggered the run {made.run_id} of {dag_id}.")
    else:
        show_one({"dag_id": dag_id, "run_id": made.run_id, "paused": made.paused}, output)
    if made.paused:
        remark(f"The DAG is paused: the run waits for `execplane dags unpause {dag_id}`.")
