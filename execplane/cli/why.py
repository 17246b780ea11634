"""`execplane attempts why`, `execplane tasks why`: one sentence that says what holds a task, and what unblocks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, cell, say, show_one
from execplane.cli.runs import DagId, RunId
from execplane.cli.session import reading
from execplane.cli.tasks import MapIndex, TaskId

if TYPE_CHECKING:
    from execplane.actions.pending import Asked
    from execplane.contract.pending import Reason


def why_attempt(
    attempt_id: Annotated[int, typer.Argument(metavar="ATTEMPT_ID", help="As `attempts list` shows it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Why an attempt does not run yet, in one sentence. Example: execplane attempts why 42"""
    with reading() as deployment:
        _show(deployment.why_pending.attempt(attempt_id), output)


def why_task(
    dag_id: DagId, run_id: RunId, task_id: TaskId, map_index: MapIndex = -1, output: OutputOption = Output.TABLE
) -> None:
    """Why a task does not run yet, in one sentence; also where it has no attempt.

    Example: execplane tasks why hello manual__2025-03-01T12:00:00+00:00 transform
    """
    with reading() as deployment:
        _show(deployment.why_pending.task_instance(dag_id, run_id, task_id, map_index), output)


def _show(asked: Asked, output: Output) -> None:
    if output is Output.TABLE:
        for line in answer_lines(asked):
            say(line)
        return
    answer = asked.pending
    show_one(
        {
            "pending": asked.is_pending,
            "sentence": answer.sentence,
            "attempt_id": asked.attempt_id,
            "queued_at": asked.queued_at,
            "reasons": [_fields(one) for one in (answer.first, *answer.others)],
            "unread": [{"what": one.what, "why": one.why, "allow": one.rule} for one in answer.unread],
        },
        output,
    )


def _fields(one: Reason) -> dict[str, Any]:
    return {
        "code": one.code,
        "source": one.source,
        "sentence": one.sentence,
        "unblocks": one.then,
        "since": one.since,
        "said": one.said,
    }


def answer_lines(asked: Asked) -> Iterator[str]:
    """The one sentence first; the other reasons, and what could not be read, below."""
    answer = asked.pending
    yield f"{cell(answer.sentence)} ({answer.first.code})"
    if answer.first.since is not None:
        yield f"  Since {cell(answer.first.since)}."
    elif asked.queued_at is not None:
        yield f"  Queued since {cell(asked.queued_at)}."
    if answer.first.then:
        yield f"  What unblocks it: {cell(answer.first.then)}"
    if answer.others:
        yield ""
        yield "Besides"
        yield from (f"  {cell(one.sentence)} ({one.code})" for one in answer.others)
    if answer.unread:
        yield ""
        yield "Not read"
        yield from (f"  {cell(one.sentence)}" for one in answer.unread)
