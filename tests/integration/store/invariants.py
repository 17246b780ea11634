"""What must be true of the whole ledger after every step, whoever did it: read row by row, without cleverness."""

from __future__ import annotations

from collections import defaultdict

from execplane.contract.states import (
    ATTEMPT_EDGES,
    ATTEMPT_ENDED,
    RUN_ENDED,
    TASK_ENDED,
    TASK_IN_FLIGHT,
    AttemptState,
    TaskState,
)
from execplane.store.models import Attempt, AttemptEvent, DagRun, TaskInstance

_STARTING = {AttemptState.QUEUED, AttemptState.CLAIMED, AttemptState.LAUNCHED, AttemptState.STOPPING}


def violations() -> list[str]:
    """Everything that is wrong, in sentences; an empty list when the ledger is sound."""
    found: list[str] = []
    by_instance: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in Attempt.objects.order_by("pk"):
        by_instance[attempt.ti_id].append(attempt)
        found += _story(attempt)
    for instance in TaskInstance.objects.all():
        found += _instance(instance, by_instance.pop(instance.pk, []))
    found += [f"attempts {rows} belong to no task instance" for rows in by_instance.values()]
    for run in DagRun.objects.all():
        found += _run(run)
    return found


def _story(attempt: Attempt) -> list[str]:
    """Events are numbered without a gap, follow the table of edges, and tell the state that the row has."""
    name = f"attempt {attempt.pk} ({attempt.state})"
    rows = AttemptEvent.objects.filter(attempt_id=attempt.pk).order_by("seq", "pk")
    moves = [event for event in rows if event.from_state != event.to_state]
    found = []
    if [event.seq for event in moves] != list(range(attempt.seq + 1)):
        found.append(f"{name}: its events are numbered {[event.seq for event in moves]}, its seq is {attempt.seq}")
    state = ""
    for event in moves:
        if event.from_state != state:
            found.append(f"{name}: event {event.seq} begins at {event.from_state}, the one before ended at {state}")
        if state and AttemptState(event.to_state) not in ATTEMPT_EDGES[AttemptState(state)]:
            found.append(f"{name}: there is no edge from {state} to {event.to_state}")
        state = event.to_state
    if state != attempt.state:
        found.append(f"{name}: its events say {state}")
    if (attempt.state in ATTEMPT_ENDED) != (attempt.ended_at is not None):
        found.append(f"{name}: ended_at is {attempt.ended_at}")
    return found


def _instance(instance: TaskInstance, attempts: list[Attempt]) -> list[str]:
    name = f"{instance.task_id}[{instance.map_index}] of run {instance.dagrun_id} ({instance.state})"
    found = []
    if sorted(attempt.attempt_no for attempt in attempts) != list(range(1, instance.attempt_no + 1)):
        found.append(f"{name}: attempt_no is {instance.attempt_no}, there are {len(attempts)} attempts")
    active = [attempt for attempt in attempts if attempt.state not in ATTEMPT_ENDED]
    if len(active) > 1:
        found.append(f"{name}: {len(active)} attempts are alive")
    if active and active[0].attempt_no != instance.attempt_no:
        found.append(f"{name}: attempt {active[0].attempt_no} is alive, the newest is {instance.attempt_no}")
    alive = AttemptState(active[0].state) if active else None
    state = TaskState(instance.state)
    wrong = {
        TaskState.QUEUED: alive not in _STARTING,
        TaskState.RUNNING: alive not in (AttemptState.RUNNING, AttemptState.STOPPING),
        TaskState.RESTARTING: alive is not AttemptState.STOPPING,
    }.get(state, alive not in ((None, AttemptState.STOPPING) if state in TASK_ENDED else (None,)))
    if wrong:
        found.append(f"{name}: its living attempt is {alive}")
    return found


def _run(run: DagRun) -> list[str]:
    name = f"run {run.run_id} ({run.state})"
    states = set(TaskInstance.objects.filter(dagrun_id=run.pk).values_list("state", flat=True))
    ended = run.state in RUN_ENDED
    found = []
    if ended != (run.ended_at is not None):
        found.append(f"{name}: ended_at is {run.ended_at}")
    if ended and states - {*TASK_ENDED}:
        found.append(f"{name}: has instances in {states - {*TASK_ENDED}}")
    idle = run.state == "running" and states and not states & {*TASK_IN_FLIGHT}
    if idle and run.decide_at is None and not run.dag.paused:
        found.append(f"{name}: nothing is in flight and nobody will look at it again: {states}")
    return found
