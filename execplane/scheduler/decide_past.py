"""depends_on_past and wait_for_downstream: what a task needs to know of the run before, and whether that is fine."""

from __future__ import annotations

from execplane.contract.states import TaskState
from execplane.scheduler.compiled import CompiledDag, CompiledTask
from execplane.scheduler.decide_view import Past

_FINE = frozenset({TaskState.SUCCESS, TaskState.SKIPPED, TaskState.REMOVED})


def past_needed(dag: CompiledDag) -> frozenset[str]:
    """The task ids whose states in the previous run `RunView.past` must hold; empty: leave `past` None."""
    ids: set[str] = set()
    for task in dag.tasks:
        if task.needs_past:
            ids.add(task.task_id)
        if task.spec.wait_for_downstream:
            ids.update(dag.tasks[down].task_id for down in task.downstream)
    return frozenset(ids)


def past_is_fine(dag: CompiledDag, task: CompiledTask, past: Past | None) -> bool:
    """Whether the previous run lets this task start (the task does ask: `needs_past`)."""
    if past is None:
        return True
    spec = task.spec
    if (
        dag.spec.catchup
        and spec.start_date is not None
        and past.logical_date is not None
        and past.logical_date < spec.start_date
    ):
        return True  # It was not active then.
    if task.task_id not in past.seen and spec.ignore_first_depends_on_past:
        return True
    own = past.states.get(task.task_id, ())
    if not own or any(state not in _FINE for state in own):
        return False
    if not spec.wait_for_downstream:
        return True
    after = (past.states.get(dag.tasks[down].task_id, ()) for down in task.downstream)
    return all(state in _FINE for states in after for state in states)
