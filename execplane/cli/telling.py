"""One attempt told as a story: what happened after what, what it left behind, and what follows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from execplane.cli.output import cell, duration

if TYPE_CHECKING:
    from execplane.contract.flight import Flight
    from execplane.contract.phases import Step
    from execplane.store.queries.attempts import AttemptRow
    from execplane.store.queries.tasks import TaskRow

_SHOWN_LINES = 10
_SHOWN_EVENTS = 8
_ENDS = {
    "success": "ended well",
    "failed": "failed",
    "skipped": "was skipped",
    "rescheduled": "asked to be called later",
    "cancelled": "was cancelled",
}


def told(row: AttemptRow, now: datetime) -> Iterator[str]:
    """One sentence a phase, each with how long it took since the one before."""
    found = row.timeline
    took: float | None = None
    for step in found.steps:
        sentence = _sentence(step, row, "" if took is None else duration(took))
        yield f"{step.at.strftime('%H:%M:%S')}  {sentence}"
        took = step.seconds
    for skew in found.skews:
        yield f"          {skew.sentence}"
    if not row.is_ended and found.steps:
        last = found.steps[-1]
        yield f"          Since then {duration((now - last.at).total_seconds())} have passed."


def _sentence(step: Step, row: AttemptRow, took: str) -> str:
    pod = bool(row.namespace)
    thing = "pod" if pod else "process"
    match step.phase.name:
        case "queued":
            return "It was queued."
        case "claimed":
            return f"A driver took it after {took}{f' ({cell(row.owner)})' if row.owner else ''}."
        case "launched":
            return f"Its {thing} {cell(row.pod_name or '')} was built and sent within {took}."
        case "acknowledged":
            return f"{'The API server' if pod else 'This host'} said after {took} that it exists."
        case "scheduled":
            return f"It got the node {cell(row.node) or '(unknown)'} after {took}."
        case "initialized":
            return f"Its init containers were done after {took}."
        case "pulled":
            return f"Its image was on the node after {took}."
        case "started":
            return f"Its {'container' if pod else 'process'} started after {took}."
        case "running":
            return f"Its worker claimed it after {took}."
        case "user_code":
            return f"The task's own code began after {took}."
        case "ended":
            ran = "running for " if row.running_at is not None else ""
            reason = f": {cell(row.reason)}" if row.reason and row.state != "success" else "."
            return f"It {_ENDS.get(row.state, row.state)} after {ran}{took}{reason}"
        case "gone":
            return f"Its {thing} was certainly dead {took} later."
    return f"What was left of it was cleaned up {took} later."


def follows(row: AttemptRow, task: TaskRow | None, now: datetime) -> Iterator[str]:
    """What becomes of the task instance, where this is its newest attempt."""
    if task is None or not row.is_ended:
        return
    if task.attempt_no != row.attempt_no:
        yield f"          What followed: attempt {task.attempt_no} of the task."
    elif task.state == "up_for_retry" and task.eligible_at is not None:
        yield f"          What follows: a retry, {_due(task.eligible_at, now)}."
    elif task.state == "up_for_reschedule" and task.eligible_at is not None:
        yield f"          What follows: the sensor is called again, {_due(task.eligible_at, now)}."
    elif task.state == "failed":
        yield "          What follows: nothing by itself; clear the task to run it again."


def _due(at: datetime, now: datetime) -> str:
    left = (at - now).total_seconds()
    return f"due at {cell(at)}" + (f", in {duration(left)}" if left > 0 else ", as soon as there is a slot")


def left(flight: Flight) -> Iterator[str]:
    """The flight record in short: each container's end, warnings, the node's troubles, and the last lines."""
    yield f"Recorded at {cell(flight.captured_at)}."
    for sentence in flight.unread:
        yield cell(sentence)
    for name, state in _containers(flight.pod):
        yield f"container {name}: {state}"
    warnings = [event for event in flight.events if event.type == "Warning"]
    for event in warnings[-_SHOWN_EVENTS:]:
        at = event.at.strftime("%H:%M:%S") if event.at else "--:--:--"
        yield f"{at}  {cell(event.reason)}: {cell(event.message)}"
    if flight.node is not None:
        troubles = [
            f"{one.type} is {one.status}"
            for one in flight.node.conditions
            if (one.status != "True") == (one.type == "Ready")
        ]
        yield f"node {flight.node.name}: {', '.join(troubles) or 'nothing unusual'}" + (
            ", cordoned" if flight.node.unschedulable else ""
        )
    for one in flight.lines:
        if one.unread:
            yield f"last lines of {one.container}: could not be read, {cell(one.unread)}"
            continue
        lines = one.text.rstrip("\n").split("\n") if one.text.strip() else []
        if lines:
            yield f"last lines of {one.container} ({len(lines)} are kept):"
            yield from (f"  | {cell(line)}" for line in lines[-_SHOWN_LINES:])


def _containers(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    status: dict[str, Any] = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        states: dict[str, dict[str, Any]] = one.get("state") or {"unknown": {}}
        kind, detail = next(iter(states.items()))
        words = [kind]
        if reason := detail.get("reason"):
            words.append(str(reason))
        if detail.get("exitCode") is not None:
            words.append(f"exit code {detail['exitCode']}")
        yield str(one.get("name", "")), ", ".join(words)
