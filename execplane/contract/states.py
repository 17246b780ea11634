"""Every state there is, and the one table of allowed edges.

`store.transitions` writes states by compare-and-set along these edges; nothing else does.
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class TaskState(StrEnum):
    """A task instance's state, in Airflow's words. `none`: not yet decided."""

    NONE = "none"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    UP_FOR_RETRY = "up_for_retry"
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    RESTARTING = "restarting"
    REMOVED = "removed"


class AttemptState(StrEnum):
    """One launch. queued -> claimed (a driver owns it) -> launched (its intent is committed, so it may exist from
    now on) -> running (the worker passed the fence) -> an end. `stopping`: told to stop, its death not yet confirmed.
    """

    QUEUED = "queued"
    CLAIMED = "claimed"
    LAUNCHED = "launched"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    RESCHEDULED = "rescheduled"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """Why an attempt exists."""

    FIRST = "first"
    RETRY = "retry"
    INFRA = "infra"
    RESCHEDULE = "reschedule"
    CLEAR = "clear"


class RunType(StrEnum):
    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"


class TriggerRule(StrEnum):
    """Airflow's trigger rules, all of them."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"


RUN_ENDED = frozenset({RunState.SUCCESS, RunState.FAILED})

TASK_ENDED = frozenset(
    {
        TaskState.SUCCESS,
        TaskState.FAILED,
        TaskState.SKIPPED,
        TaskState.UPSTREAM_FAILED,
        TaskState.REMOVED,
    }
)
"""The states in which a task instance stays until somebody clears it."""

TASK_IN_FLIGHT = frozenset({TaskState.QUEUED, TaskState.RUNNING, TaskState.RESTARTING})
"""An attempt of the task instance is, or may be, alive."""

ATTEMPT_ENDED = frozenset(
    {
        AttemptState.SUCCESS,
        AttemptState.FAILED,
        AttemptState.SKIPPED,
        AttemptState.RESCHEDULED,
        AttemptState.CANCELLED,
    }
)

_ENDS = ATTEMPT_ENDED
ATTEMPT_EDGES: dict[AttemptState, frozenset[AttemptState]] = {
    # A claimed attempt goes back to queued when its driver dies before the intent was committed.
    AttemptState.QUEUED: frozenset({AttemptState.CLAIMED, AttemptState.CANCELLED, AttemptState.FAILED}),
    AttemptState.CLAIMED: frozenset(
        {AttemptState.QUEUED, AttemptState.LAUNCHED, AttemptState.CANCELLED, AttemptState.FAILED}
    ),
    AttemptState.LAUNCHED: frozenset(
        {AttemptState.RUNNING, AttemptState.STOPPING, AttemptState.CANCELLED, AttemptState.FAILED}
    ),
    AttemptState.RUNNING: frozenset({AttemptState.STOPPING, *_ENDS}),
    AttemptState.STOPPING: _ENDS,
    **{end: frozenset() for end in _ENDS},
}

TASK_EDGES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.NONE: frozenset(
        {
            TaskState.QUEUED,
            TaskState.SKIPPED,
            TaskState.UPSTREAM_FAILED,
            TaskState.SUCCESS,
            TaskState.FAILED,
            TaskState.REMOVED,
        }
    ),
    TaskState.QUEUED: frozenset(set(TaskState) - {TaskState.QUEUED}),
    TaskState.RUNNING: frozenset(set(TaskState) - {TaskState.RUNNING, TaskState.QUEUED}),
    TaskState.UP_FOR_RETRY: frozenset(set(TaskState) - {TaskState.UP_FOR_RETRY, TaskState.RUNNING}),
    TaskState.UP_FOR_RESCHEDULE: frozenset(set(TaskState) - {TaskState.UP_FOR_RESCHEDULE, TaskState.RUNNING}),
    TaskState.RESTARTING: frozenset(
        {TaskState.NONE, TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.REMOVED}
    ),
    # An ended task instance moves only when somebody clears or marks it; cleared while a stopped attempt of it is
    # not yet dead, it restarts.
    **{
        end: frozenset({TaskState.NONE, TaskState.RESTARTING, TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED})
        - {end}
        for end in TASK_ENDED
    },
}


def attempt_sources(target: AttemptState) -> frozenset[AttemptState]:
    """The states from which an attempt may move to `target`."""
    return frozenset(source for source, targets in ATTEMPT_EDGES.items() if target in targets)


def task_sources(target: TaskState) -> frozenset[TaskState]:
    """The states from which a task instance may move to `target`."""
    return frozenset(source for source, targets in TASK_EDGES.items() if target in targets)
