"""`execplane pods …`: the pods of attempts, as the ledger knows them (they stay listed after they are gone)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, between, duration, show_rows
from execplane.cli.session import reading

if TYPE_CHECKING:
    from execplane.store.queries.attempts import AttemptMark, WaitingRow

app = typer.Typer(help="Pods of attempts: list, check, reconcile, decide, release.", no_args_is_help=True)


@app.command("list")
def list_pods(
    ended: Annotated[bool, typer.Option("--ended", help="Those that ended instead of those that are alive.")] = False,
    node: Annotated[str, typer.Option(help="Only this node's.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only this namespace's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """Pods that are, or may be, alive; what they wait for. Example: execplane pods list --ended --node worker-3"""
    with reading() as deployment:
        from execplane.store.queries import attempts

        executors = deployment.config.pod_executors
        found: list[AttemptMark] = []
        before: int | None = None
        while len(found) < limit:
            page = (
                attempts.ended_attempts(node=node, before=before, limit=500)
                if ended
                else attempts.active_attempts(executors=executors, before=before, limit=500, launched=True)
            )
            found += [a for a in page.rows if a.namespace and _fits(a, node, namespace)]
            before = page.next_key
            if before is None:
                break
        found = found[:limit]
        waiting = {} if ended else attempts.waiting([attempt.id for attempt in found])
        now = deployment.clock.now()
        rows = [_pod_fields(attempt, waiting.get(attempt.id)) for attempt in found]
    if output is Output.TABLE:
        rows = [{**row, "age": duration(between(row["launched_at"], row["ended_at"] or now))} for row in rows]
    columns = ["namespace", "pod_name", "state", "node", "age", "attempt_id", "dag_id", "task_id", "reason"]
    if any(row["cluster"] for row in rows):
        columns.insert(0, "cluster")
    none = "No executor makes pods here." if not executors else "No pod is alive." if not ended else "No pod has ended."
    show_rows(rows, output, columns, empty=none)


@app.command()
def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, with this process; change nothing.")] = False,
    seconds: Annotated[float, typer.Option(help="Between the two looks of a dry run.", min=0)] = 5.0,
    timeout: Annotated[float, typer.Option(help="How long the driver has to look twice, in seconds.", min=1)] = 45.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Where pods and ledger differ, and what is done about it. Example: execplane pods reconcile --dry-run

    Without --dry-run the running driver looks and repairs, as it does each minute by itself.
    """
    from execplane.cli import drift

    if dry_run:
        drift.dry_run(output, between_seconds=seconds)
    else:
        drift.ask_driver(output, timeout_seconds=timeout)


@app.command()
def decide(
    finding_id: Annotated[int, typer.Argument(metavar="FINDING", help="As `pods reconcile` shows it.")],
    decision: Annotated[
        str, typer.Argument(metavar="DECISION", help="leave, delete, or force (of a pod that is stuck terminating).")
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with the finding and in the audit log.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """What becomes of a pod that only a person can judge. Example: execplane pods decide 7 leave"""
    from execplane.cli import drift

    drift.decide(finding_id, decision, reason, output)


@app.command()
def release(
    executor: Annotated[
        str, typer.Argument(metavar="[EXECUTOR]", help="The executor that launches nothing.")
    ] = "kubernetes",
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Launch again although pods of another database were found. Example: execplane pods release kubernetes"""
    from execplane.cli import drift

    drift.release(executor, reason, output)


def _fits(attempt: AttemptMark, node: str, namespace: str) -> bool:
    return bool(attempt.pod_name) and node in ("", attempt.node) and namespace in ("", attempt.namespace)


def _pod_fields(attempt: AttemptMark, waiting: WaitingRow | None) -> dict[str, Any]:
    return {
        "namespace": attempt.namespace,
        "pod_name": attempt.pod_name,
        "cluster": attempt.cluster,
        "node": attempt.node,
        "state": attempt.state,
        "category": attempt.category,
        "reason": attempt.reason or (waiting.sentence or waiting.code if waiting else ""),
        "attempt_id": attempt.id,
        "dag_id": attempt.dag_id,
        "run_id": attempt.run_id,
        "task_id": attempt.task_id,
        "map_index": attempt.map_index,
        "attempt_no": attempt.attempt_no,
        "launched_at": attempt.launched_at,
        "ended_at": attempt.ended_at,
    }
