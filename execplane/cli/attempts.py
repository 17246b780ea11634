"""`execplane attempts …`: the launches of task instances, and what happened to one in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, between, duration, say, show_done, show_one, show_rows
from execplane.cli.session import acting, reading

if TYPE_CHECKING:
    from execplane.store.queries.attempts import AttemptMark

app = typer.Typer(help="Attempts: list, explain, why, latency, release.", no_args_is_help=True)

_ENDS = ("success", "failed", "skipped", "rescheduled", "cancelled")
_ALIVE = ("queued", "claimed", "launched", "running", "stopping")


@app.command("list")
def list_attempts(
    dag_id: Annotated[str, typer.Argument(metavar="[DAG_ID]", help="Only this DAG's.")] = "",
    run_id: Annotated[str, typer.Argument(metavar="[RUN_ID]", help="With TASK_ID: one task instance's.")] = "",
    task_id: Annotated[str, typer.Argument(metavar="[TASK_ID]", help="All attempts of this task instance.")] = "",
    map_index: Annotated[int, typer.Option(help="Which instance of a mapped task.", min=-1)] = -1,
    state: Annotated[str, typer.Option(help="Only attempts in this state.")] = "",
    category: Annotated[str, typer.Option(help="Only ended ones of this category: oom_killed, image_pull, …")] = "",
    node: Annotated[str, typer.Option(help="Only ended ones of this node.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 25,
    output: OutputOption = Output.TABLE,
) -> None:
    """Attempts that are alive, then those that ended, newest first. Example: execplane attempts list --state failed"""
    from execplane.contract.errors import InvalidInput

    if state and state not in (*_ALIVE, *_ENDS):
        raise InvalidInput(f"There is no attempt state {state!r}.", hint=f"Use {', '.join((*_ALIVE, *_ENDS))}.")
    if run_id and not task_id:
        raise InvalidInput("A RUN_ID needs a TASK_ID.", hint="execplane attempts list DAG_ID RUN_ID TASK_ID")
    with reading() as deployment:
        if task_id:
            from execplane.store.queries import attempts, tasks

            pk = tasks.get_task(dag_id, run_id, task_id, map_index).id
            found = [a for a in attempts.attempts_of(pk, limit=limit) if state in ("", a.state)]
        else:
            found = _newest(deployment.config.all_executors, dag_id, state, category, node, limit)
        rows = [attempt_fields(attempt) for attempt in found]
    if output is Output.TABLE:
        rows = [_table_fields(row) for row in rows]
    columns = ("id", "task", "run_id", "attempt", "try", "state", "category", "took", "reason")
    show_rows(rows, output, columns, empty="There are no such attempts.")


def _newest(
    executors: tuple[str, ...], dag_id: str, state: str, category: str, node: str, limit: int
) -> list[AttemptMark]:
    from execplane.store.queries import attempts

    found: list[AttemptMark] = []
    if state not in _ENDS and not (category or node):
        before: int | None = None
        while len(found) < limit:
            page = attempts.active_attempts(executors=executors, before=before, limit=500)
            found += [a for a in page.rows if dag_id in ("", a.dag_id) and state in ("", a.state)]
            before = page.next_key
            if before is None:
                break
    if state not in _ALIVE and len(found) < limit:
        page = attempts.ended_attempts(
            state=state, dag_id=dag_id, category=category, node=node, limit=limit - len(found)
        )
        found += page.rows
    return found[:limit]


def _table_fields(row: dict[str, Any]) -> dict[str, Any]:
    index = f"[{row['map_index']}]" if row["map_index"] >= 0 else ""
    return {
        **row,
        "task": f"{row['dag_id']}.{row['task_id']}{index}",
        "attempt": row["attempt_no"],
        "try": row["try_number"],
        "took": duration(row["duration_seconds"]),
    }


def attempt_fields(attempt: AttemptMark) -> dict[str, Any]:
    """An attempt's fields as every output names them."""
    return {
        "id": attempt.id,
        "dag_id": attempt.dag_id,
        "run_id": attempt.run_id,
        "task_id": attempt.task_id,
        "map_index": attempt.map_index,
        "attempt_no": attempt.attempt_no,
        "try_number": attempt.try_number,
        "cause": attempt.cause,
        "state": attempt.state,
        "category": attempt.category,
        "reason": attempt.reason or attempt.not_claimed_reason,
        "exit_code": attempt.exit_code,
        "executor": attempt.executor,
        "queue": attempt.queue,
        "pool": attempt.pool,
        "cluster": attempt.cluster,
        "namespace": attempt.namespace,
        "pod_name": attempt.pod_name,
        "node": attempt.node,
        "queued_at": attempt.queued_at,
        "launched_at": attempt.launched_at,
        "running_at": attempt.running_at,
        "ended_at": attempt.ended_at,
        "duration_seconds": between(attempt.running_at, attempt.ended_at),
    }


@app.command()
def explain(
    attempt_id: Annotated[int, typer.Argument(metavar="ATTEMPT_ID", help="As `attempts list` shows it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """What happened to an attempt, or why it does not start, in plain words. Example: execplane attempts explain 42"""
    with reading() as deployment:
        from execplane.cli import explain as words
        from execplane.cli import telling
        from execplane.contract.flight import plain
        from execplane.contract.phases import COLUMNS
        from execplane.contract.states import AttemptState
        from execplane.store.queries import attempts, flights, tasks

        row = attempts.get_attempt(attempt_id)
        policy = deployment.config.kubernetes_of(row.executor)
        deletion = deployment.kubernetes_options(row.executor).patience
        known = words.Known(
            row=row,
            events=attempts.events(attempt_id),
            waiting=attempts.waiting([attempt_id]).get(attempt_id),
            accesses=attempts.secret_accesses(attempt_id),
            now=deployment.clock.now(),
            web_url=deployment.config.web_url,
            kubectl=words.kubectl_options(str(policy.kubeconfig or ""), policy.context),
            task=tasks.get_task_by_pk(row.ti_id),
            flight=flights.flight_of(attempt_id),
            keeps_pod_seconds=deletion.kept_for_seconds(AttemptState(row.state)),
        )
    if output is Output.TABLE:
        for line in words.story(known):
            say(line)
        return
    events = [
        {"at": e.at, "from": e.from_state, "to": e.to_state, "actor": e.actor, "reason": e.reason, "data": e.data}
        for e in known.events
    ]
    waiting = known.waiting
    show_one(
        {
            **attempt_fields(row),
            "hint": row.hint,
            "phases": {name: getattr(row, name) for name in COLUMNS},
            "clocks": [skew.sentence for skew in row.timeline.skews],
            "story": list(telling.told(row, known.now)),
            "flight_record": None if known.flight is None else plain(known.flight),
            "events": events,
            "waiting": None if waiting is None else {"code": waiting.code, "sentence": waiting.sentence},
            "accesses": [{"kind": a.kind, "name": a.name, "found": a.found, "at": a.at} for a in known.accesses],
            "commands": list(words.commands(known)),
        },
        output,
    )


@app.command()
def latency(
    by: Annotated[str, typer.Option(help="Group by template, image, node or namespace.")] = "node",
    value: Annotated[str | None, typer.Option(help="Only attempts of this node (template, …).")] = None,
    phase: Annotated[
        str, typer.Option(help="Only the time until this phase (scheduled, pulled, …); start: from queued to running.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Percentiles of the time from phase to phase, over the newest that ended. Example: execplane attempts latency"""
    from execplane.contract.errors import InvalidInput

    with reading():
        from execplane.store.queries import latency as queries

        if phase and phase not in queries.PHASE_NAMES:
            raise InvalidInput(f"There is no phase {phase!r}.", hint=f"Use {', '.join(queries.PHASE_NAMES)}.")
        found = queries.latency(by, value=value)
    groups = [("(all)", found.whole), *((group.value or "(none)", group) for group in found.groups)]
    rows = [
        {
            by: name,
            "phase": one.phase,
            "spent": one.spent,
            "n": one.n,
            "p50_seconds": one.p50,
            "p90_seconds": one.p90,
            "p99_seconds": one.p99,
            "p50": duration(one.p50),
            "p90": duration(one.p90),
            "p99": duration(one.p99),
        }
        for name, group in groups
        for one in group.phases
        if phase in ("", one.phase)
    ]
    none = f"No attempt with {by} {value} is among the newest that ended." if value else "No attempt has ended yet."
    show_rows(rows, output, (by, "spent", "n", "p50", "p90", "p99"), empty=none)


@app.command()
def release(
    attempt_id: Annotated[int, typer.Argument(metavar="ATTEMPT_ID", help="As `attempts list` shows it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a failed container go that hold_on_failure keeps. Example: execplane attempts release 42"""
    with acting() as session:
        from execplane.actions import attempts

        attempts.release(session.actor, attempt_id)
    words = f"The container of attempt {attempt_id} is let go; it ends within a minute."
    show_done([{"attempt": attempt_id, "released": True}], output, [words])
