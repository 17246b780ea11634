"""`execplane tasks …`: task instances: run them again, set their state, read their logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, say, show_done, show_rows
from execplane.cli.runs import DagId, RunId
from execplane.cli.session import acting, reading

if TYPE_CHECKING:
    from execplane.contract.keys import TaskKey

app = typer.Typer(help="Task instances: clear, mark, logs, why.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The task's id.")]
MapIndex = Annotated[int, typer.Option(help="Which instance of a mapped task; -1: it is not mapped.", min=-1)]


@app.command()
def clear(
    dag_id: DagId,
    run_id: RunId,
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[TASK_ID…]", help="None: all of the run.")] = None,
    map_index: Annotated[list[int] | None, typer.Option(help="Only these instances of mapped tasks.")] = None,
    upstream: Annotated[bool, typer.Option("--upstream", help="And all tasks before them.")] = False,
    downstream: Annotated[bool, typer.Option("--downstream", help="And all tasks after them.")] = False,
    past: Annotated[bool, typer.Option("--past", help="And in earlier runs of the DAG.")] = False,
    future: Annotated[bool, typer.Option("--future", help="And in later runs of the DAG.")] = False,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Only what failed.")] = False,
    latest: Annotated[bool, typer.Option("--latest", help="With the DAG's newest version, not the run's own.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be cleared.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run tasks again; what is in flight is stopped first.

    Example: execplane tasks clear hello manual__2025-03-01T12:00:00+00:00 transform --downstream --dry-run
    """
    with acting() as session:
        from execplane.actions import tasks

        found = tasks.clear(
            session.actor,
            dag_id,
            run_id,
            task_ids or [],
            map_indexes=map_index or None,
            upstream=upstream,
            downstream=downstream,
            past=past,
            future=future,
            only_failed=only_failed,
            latest=latest,
            dry_run=dry_run,
        )
    rows = [_key_fields(key) for key in found]
    show_rows(rows, output, ("run_id", "task_id", "map_index"), empty="There is nothing to clear.")
    if output is Output.TABLE and rows:
        say(f"{'Would clear' if dry_run else 'Cleared'} {len(rows)} task instance{'s' if len(rows) != 1 else ''}.")


@app.command()
def mark(
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    state: Annotated[str, typer.Argument(metavar="STATE", help="success, failed or skipped.")],
    map_index: Annotated[int, typer.Option(help="Which instance of a mapped task; -1: all of them.", min=-1)] = -1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set a task's state by hand; what is in flight is stopped. A mapped task is marked whole, or one map index of it.

    Example: execplane tasks mark hello manual__2025-03-01T12:00:00+00:00 transform success
    """
    with acting() as session:
        from execplane.actions import tasks

        found = tasks.mark(session.actor, dag_id, run_id, task_id, map_index, state)
    whole = f" ({len(found)} instance{'s' if len(found) != 1 else ''})" if found[0].map_index != map_index else ""
    rows = [{**_key_fields(key), "state": state} for key in found]
    words = f"Marked {task_id}{f'[{map_index}]' if map_index >= 0 else whole} of {run_id} as {state}."
    show_done(rows, output, [words])


def _key_fields(key: TaskKey) -> dict[str, Any]:
    return {"dag_id": key.dag_id, "run_id": key.run_id, "task_id": key.task_id, "map_index": key.map_index}


@app.command()
def logs(
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    map_index: MapIndex = -1,
    try_number: Annotated[int | None, typer.Option("--try", help="Its newest attempt of this try.", min=1)] = None,
    attempt_no: Annotated[int | None, typer.Option("--attempt", help="This attempt; unset: the newest.", min=1)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")] = False,
    tail: Annotated[int | None, typer.Option(help="Begin with the last so many lines.", min=1)] = None,
    level: Annotated[str, typer.Option(help="Only lines of this level and above: WARNING, say.")] = "",
    search: Annotated[str, typer.Option(help="Only lines with this text.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object per line; -o json is one array.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """A task's log. Example: execplane tasks logs hello manual__2025-03-01T12:00:00+00:00 transform --follow"""
    with reading() as deployment:
        from execplane.cli import task_logs

        attempt_id = task_logs.find_attempt(
            dag_id, run_id, task_id, map_index, try_number=try_number, attempt_no=attempt_no
        )
        form = task_logs.form(output, as_json=as_json)
        asked = task_logs.Asked(follow=follow, tail=tail, level=level.upper(), search=search, form=form)
        task_logs.print_log(deployment, attempt_id, asked)
