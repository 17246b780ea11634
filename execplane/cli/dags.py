"""`execplane dags …`: what DAGs there are, and the verbs on them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, remark, say, show_done, show_one, show_rows, table
from execplane.cli.session import Acting, acting, parse_conf, parse_date, reading

if TYPE_CHECKING:
    from execplane.store.dag_rows import Triggered
    from execplane.store.queries.dags import DagRow

app = typer.Typer(help="DAGs: list, show, trigger, test, pause.", no_args_is_help=True)

DagId = Annotated[str, typer.Argument(metavar="DAG_ID", help="The DAG's id.")]
DagIds = Annotated[list[str], typer.Argument(metavar="DAG_ID…", help="Ids of DAGs.")]
_PAGE = 500
_RECENT_RUNS = 5
_PARSE_SILENCE = timedelta(seconds=60)


@app.command("list")
def list_dags(
    output: OutputOption = Output.TABLE,
    search: Annotated[str, typer.Option(help="Part of the id, the name or the owners.")] = "",
    tag: Annotated[str, typer.Option(help="Only DAGs with this tag.")] = "",
    status: Annotated[str, typer.Option(help="active, paused, running, failed or removed.")] = "",
) -> None:
    """The DAGs there are. Example: execplane dags list --tag sales -o json"""
    with reading():
        from execplane.contract.errors import InvalidInput
        from execplane.store.queries.dags import DagFilter
        from execplane.store.queries.dags import list_dags as query

        if status not in ("", "active", "paused", "running", "failed", "removed"):
            raise InvalidInput(f"There is no status {status!r}.", hint="Use active, paused, running, failed, removed.")
        rows: list[dict[str, Any]] = []
        after = ""
        while True:
            page = query(DagFilter(search=search, tag=tag, status=status), after=after, limit=_PAGE, recent=1)
            rows += [dag_fields(dag) for dag in page.rows]
            if page.next_key is None:
                break
            after = page.next_key
    columns = ("dag_id", "schedule", "paused", "last_run_state", "next_run_at", "owners", "file")
    found = "No DAG fits." if search or tag or status else "There are no DAGs."
    show_rows(rows, output, columns, empty=f"{found} `execplane dags import-errors` shows files that fail.")


def dag_fields(dag: DagRow) -> dict[str, Any]:
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
def show(dag_id: DagId, output: OutputOption = Output.TABLE) -> None:
    """A DAG with its params, tasks and newest runs. Example: execplane dags show hello"""
    with reading():
        from execplane.store.queries import dags, versions

        dag = dags.get_dag(dag_id, recent=_RECENT_RUNS)
        spec = versions.spec(dag.version_id) if dag.version_id is not None else None
    tasks = [
        {
            "task_id": task.task_id,
            "operator": task.operator,
            "upstream": list(task.upstream),
            "trigger_rule": str(task.trigger_rule),
            "mapped": task.mapped is not None,
            "retries": task.retries,
            "pool": task.pool,
            "queue": task.queue,
            "executor": task.executor,
        }
        for task in (spec.tasks if spec else ())
    ]
    params = {name: param.default for name, param in (spec.params if spec else {}).items()}
    runs = [{"run_id": run.run_id, "state": run.state, "run_after": run.run_after} for run in reversed(dag.recent)]
    if output is not Output.TABLE:
        show_one({**dag_fields(dag), "params": params, "tasks": tasks, "recent_runs": runs}, output)
        return
    show_one({**dag_fields(dag), "params": params}, output)
    say("")
    rows = [[t["task_id"], t["operator"], t["upstream"], t["trigger_rule"], t["retries"]] for t in tasks]
    say(table(["TASK", "OPERATOR", "UPSTREAM", "TRIGGER RULE", "RETRIES"], rows))
    if runs:
        say("")
        say(table(["NEWEST RUNS", "STATE", "RUN AFTER"], [list(run.values()) for run in runs]))


@app.command()
def trigger(
    dag_id: DagId,
    conf: Annotated[str | None, typer.Option(help="The run's conf: a JSON object, or @FILE.")] = None,
    run_id: Annotated[str | None, typer.Option(help="A name for the run; unset: manual__<time>.")] = None,
    logical_date: Annotated[str | None, typer.Option(help="ISO 8601; unset: now.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end; exit code 1 if it fails.")] = False,
    timeout: Annotated[float | None, typer.Option(help="With --wait: give up after so many seconds.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run by hand. Example: execplane dags trigger hello --conf '{"name": "you"}' --wait"""
    values, date = parse_conf(conf), parse_date(logical_date)
    with acting(listen=wait) as session:
        from execplane.actions import dags

        made = dags.trigger(session.actor, dag_id, conf=values, logical_date=date, run_id=run_id)
        if output is Output.TABLE:
            say(f"Triggered the run {made.run_id} of {dag_id}.")
        if made.paused:
            remark(f"The DAG is paused: the run waits for `execplane dags unpause {dag_id}`.")
        if wait:
            _wait(session, made, timeout, output)
            return
    if output is not Output.TABLE:
        show_one({"dag_id": dag_id, "run_id": made.run_id, "state": "queued", "paused": made.paused}, output)


def _wait(session: Acting, made: Triggered, timeout: float | None, output: Output) -> None:
    from execplane.cli.follow import follow_run
    from execplane.cli.runs import run_fields

    run = follow_run(session.deployment, made.dag_id, made.run_id, made.id, timeout_seconds=timeout)
    if output is not Output.TABLE:
        show_one(run_fields(run), output)
    elif run.state in ("success", "failed"):
        say(f"The run ended: {run.state}." + (f" ({run.reason})" if run.reason else ""))
    if run.state not in ("success", "failed"):
        remark(f"The run is still {run.state} after {timeout:g} s; it goes on.")
    if run.state != "success":
        raise typer.Exit(1)


@app.command("test")
def run_once(
    dag: Annotated[str, typer.Argument(metavar="DAG_ID|FILE", help="A DAG's id, or a DAG file.")],
    dag_id: Annotated[str | None, typer.Option(help="Which DAG of the file, when it has several.")] = None,
    conf: Annotated[str | None, typer.Option(help="The run's conf: a JSON object, or @FILE.")] = None,
    logical_date: Annotated[str | None, typer.Option(help="ISO 8601; unset: now.")] = None,
    mark_success: Annotated[str | None, typer.Option(help="Do not run tasks whose ids match this regex.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a DAG once in this process, without database and server. Example: execplane dags test dags/hello.py

    Task logs go to the terminal; retries come at once; the exit code is 1 when the run fails. Nothing is recorded.
    """
    from execplane.cli.local_run import run_dag_test

    if not run_dag_test(dag, dag_id, parse_conf(conf), parse_date(logical_date), mark_success, output):
        raise typer.Exit(1)


@app.command()
def pause(dag_ids: DagIds, output: OutputOption = Output.TABLE) -> None:
    """Nothing of these DAGs starts any more; what runs goes on. Example: execplane dags pause hello"""
    _set_paused(dag_ids, True, output)


@app.command()
def unpause(dag_ids: DagIds, output: OutputOption = Output.TABLE) -> None:
    """Let these DAGs start runs and tasks again. Example: execplane dags unpause hello"""
    _set_paused(dag_ids, False, output)


def _set_paused(dag_ids: list[str], paused: bool, output: Output) -> None:
    """One after the other: what was done before one that does not exist is told."""
    done: list[str] = []
    try:
        with acting() as session:
            from execplane.actions import dags

            verb = dags.pause if paused else dags.unpause
            for dag_id in dag_ids:
                verb(session.actor, dag_id)
                done.append(dag_id)
    finally:
        if done:
            rows = [{"dag_id": dag_id, "paused": paused} for dag_id in done]
            show_done(rows, output, [f"{'Paused' if paused else 'Unpaused'} {dag_id}." for dag_id in done])


@app.command()
def refresh(output: OutputOption = Output.TABLE) -> None:
    """Ask the running server to look at the DAG folders now. Example: git pull && execplane dags refresh"""
    with acting() as session:
        from execplane.actions import dags
        from execplane.store.queries.system import loops

        dags.refresh(session.actor)
        now = session.deployment.clock.now()
        parsing = any(loop.name == "parsing" and now - loop.seen_at < _PARSE_SILENCE for loop in loops())
    row = {"requested": True, "parse_loop_is_heard_of": parsing}
    show_one(row, output, words="Asked for a look at the DAG folders.")
    if not parsing:
        remark("No parse loop has been heard of for a minute: is execplane running? See `execplane status`.")


@app.command("import-errors")
def import_errors(
    output: OutputOption = Output.TABLE,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the tracebacks, too.")] = False,
) -> None:
    """DAG files that cannot be imported; exit code 1 when there are any. Example: execplane dags import-errors"""
    rows: list[dict[str, Any]] = []
    with reading():
        from execplane.store.queries.system import import_errors as query

        before: int | None = None
        while True:
            page = query(before=before, limit=_PAGE)
            rows += [
                {
                    "file": error.file,
                    "bundle_name": error.bundle_name,
                    "message": error.message,
                    "traceback": error.traceback,
                    "first_seen_at": error.first_seen_at,
                    "seen_at": error.seen_at,
                }
                for error in page.rows
            ]
            if page.next_key is None:
                break
            before = page.next_key
    if output is Output.TABLE and rows:
        for row in rows:
            say(f"{row['file']}: {row['message']}")
            if traceback and row["traceback"]:
                say(row["traceback"].rstrip() + "\n")
    else:
        show_rows(rows, output, (), empty="Every DAG file imports.")
    if rows:
        raise typer.Exit(1)
