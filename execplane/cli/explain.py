"""An attempt's story in plain words, from its row, its events and why it waits. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from execplane.cli import telling
from execplane.cli.output import between, cell, duration

if TYPE_CHECKING:
    from execplane.contract.flight import Flight
    from execplane.store.queries.attempts import AccessRow, AttemptRow, EventRow, WaitingRow
    from execplane.store.queries.tasks import TaskRow

_CAUSES = {
    "first": "the task's first launch",
    "retry": "a retry after the task's own failure",
    "infra": "launched anew after an infrastructure failure (this costs the author no try)",
    "reschedule": "launched anew because the sensor asked to be called later",
    "clear": "launched anew because somebody cleared the task",
}
_STANDING = {
    "queued": "waits to be launched",
    "claimed": "is being launched: a driver holds it",
    "launched": "was launched and has not reported yet",
    "running": "is running",
    "stopping": "was told to stop; its death is not confirmed yet",
    "success": "ended well",
    "failed": "failed",
    "skipped": "was skipped",
    "rescheduled": "was put off to be called later",
    "cancelled": "was cancelled",
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """All that is known of the attempt."""

    row: AttemptRow
    events: Sequence[EventRow] = ()
    waiting: WaitingRow | None = None
    accesses: Sequence[AccessRow] = ()
    now: datetime
    web_url: str = ""
    kubectl: str = "kubectl"
    task: TaskRow | None = None
    """Its task instance, for what follows."""
    flight: Flight | None = None
    keeps_pod_seconds: float = 0.0
    """The deletion policy, for its outcome."""


def story(known: Known) -> Iterator[str]:
    """Line by line, what matters most first."""
    row = known.row
    index = f"[{row.map_index}]" if row.map_index >= 0 else ""
    yield f"Attempt {row.id}: {cell(row.dag_id)}.{cell(row.task_id)}{index}, run {cell(row.run_id)}"
    yield f"  It is attempt {row.attempt_no} of the task (try {row.try_number}): {_CAUSES.get(row.cause, row.cause)}."
    yield f"  It {_standing(known)}."
    yield from _why(known)
    yield ""
    yield "The story"
    yield from (f"  {line}" for line in telling.told(row, known.now))
    yield from (f"  {line}" for line in telling.follows(row, known.task, known.now))
    if known.flight is not None:
        yield ""
        yield "What its pod left"
        yield from (f"  {line}" for line in telling.left(known.flight))
    yield ""
    yield "What was recorded"
    yield from (f"  {line}" for line in _events(known))
    yield ""
    yield "Where"
    yield from (f"  {line}" for line in _where(row))
    if known.accesses:
        yield ""
        yield "What it asked for"
        yield from (f"  {a.kind} {cell(a.name)}{'' if a.found else ' (there is none)'}" for a in known.accesses)
    yield ""
    yield "To look further"
    yield from (f"  {line}" for line in commands(known))


def _standing(known: Known) -> str:
    row = known.row
    words = _STANDING.get(row.state, f"is {row.state}")
    if row.is_ended:
        took = between(row.running_at or row.launched_at or row.queued_at, row.ended_at)
        return f"{words} after {duration(took)}" if took is not None else words
    since = between(_last_moment(row), known.now)
    return f"{words}, since {duration(since)}" if since is not None else words


def _last_moment(row: AttemptRow) -> datetime | None:
    by_state = {"queued": row.queued_at, "claimed": row.claimed_at, "launched": row.launched_at}
    return by_state.get(row.state) or row.running_at or row.launched_at or row.queued_at


def _why(known: Known) -> Iterator[str]:
    row = known.row
    if row.reason:
        yield f"  Why: {cell(row.reason)}"
    if row.exit_code is not None:
        yield f"  Exit code: {row.exit_code}" + (f", category {row.category}" if row.category else "")
    elif row.category:
        yield f"  Category: {row.category}"
    if row.stop_reason and not row.is_ended:
        yield f"  Told to stop by {cell(row.stop_actor) or 'execplane'}: {cell(row.stop_reason)}"
    if not row.is_ended:
        if row.not_claimed_reason and row.state == "queued":
            yield f"  Not launched yet: {cell(row.not_claimed_reason)}"
        if known.waiting is not None:
            since = duration(between(known.waiting.since, known.now))
            yield f"  Waiting since {since}: {cell(known.waiting.sentence) or known.waiting.code}"
        if row.retry_at is not None and row.launch_failures:
            yield f"  {row.launch_failures} launches went wrong; the next one is at {cell(row.retry_at)}."
        if row.heartbeat_at is not None:
            yield f"  Last sign of life {duration(between(row.heartbeat_at, known.now))} ago."
    if row.is_held(known.now):
        left = duration(between(known.now, row.held_until))
        yield f"  Its failed container is held for debugging for {left} more, until {cell(row.held_until)}:"
        yield f"  look into it with `kubectl exec` (below), then `execplane attempts release {row.id}`."
    if row.hint:
        yield f"  What to do: {cell(row.hint)}"


def _events(known: Known) -> Iterator[str]:
    before: datetime | None = None
    for event in known.events:
        passed = f"+{duration(between(before, event.at))}" if before is not None else ""
        before = event.at
        moved = event.to_state if event.to_state != event.from_state else "note"
        reason = f": {cell(event.reason)}" if event.reason else ""
        stamp = event.at.strftime("%H:%M:%S.%f")[:-3]
        yield f"{stamp}  {passed:>8}  {moved:<11}  by {cell(event.actor)}{reason}"
    if not known.events:
        yield "Nothing is recorded."


def _where(row: AttemptRow) -> Iterator[str]:
    slots = f"{row.slots} slot{'s' if row.slots > 1 else ''}"
    yield f"executor {row.executor}, queue {row.queue}, pool {row.pool} ({slots})"
    if row.pod_name:
        place = f"{row.namespace}/{row.pod_name}" if row.namespace else row.pod_name
        where = (f" in cluster {row.cluster}" if row.cluster else "") + (f" on {row.node}" if row.node else "")
        yield f"{'pod' if row.namespace else 'process'} {place}{where}"
    if row.image_digest:
        yield f"image {row.image_digest}"
    if row.template_rev:
        yield f"pod template {row.template_rev}"
    if row.peak_memory_bytes:
        yield f"peak memory {row.peak_memory_bytes / (1 << 20):.0f} MiB"


def kubectl_options(kubeconfig: str, context: str) -> str:
    """`kubectl` as it reaches the cluster that the configuration names."""
    words = ["kubectl"]
    if kubeconfig:
        words += ["--kubeconfig", kubeconfig]
    if context:
        words += ["--context", context]
    return shlex.join(words)


def commands(known: Known) -> Iterator[str]:
    """What to type next. A pod that is gone has no kubectl lines."""
    row = known.row
    gone = row.gone_at is not None and row.gone_at <= known.now
    kept = row.ended_at is not None and (known.now - row.ended_at).total_seconds() < known.keeps_pod_seconds
    if row.namespace and row.pod_name and row.launched_at is not None and (kept or not gone):
        pod = shlex.join(["-n", row.namespace, row.pod_name])
        flag, name = shlex.join(["-n", row.namespace]), shlex.quote(row.pod_name)
        yield f"{known.kubectl} describe pod {pod}"
        yield f"{known.kubectl} logs {pod} -c base"
        if not gone and (row.running_at is not None or row.started_at is not None):
            yield f"{known.kubectl} exec -it {pod} -c base -- sh"
        yield f"{known.kubectl} {flag} get events --field-selector involvedObject.name={name}"
    words = ["execplane", "tasks", "logs", row.dag_id, row.run_id, row.task_id, "--attempt", str(row.attempt_no)]
    if row.map_index >= 0:
        words += ["--map-index", str(row.map_index)]
    yield shlex.join(words)
    if known.web_url:
        yield f"{known.web_url}/attempts/{row.id}"
