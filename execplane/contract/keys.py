"""Identities: what names a task instance and one launch of it.

`attempt_no` only grows and is never reused; `try_number` is what the author sees. A reschedule, an infrastructure
retry and a re-launch make a new attempt, not a new try.
"""

from __future__ import annotations

import msgspec

NOT_MAPPED = -1


class TaskKey(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One task of one run; `map_index` is -1 where the task is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = NOT_MAPPED

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index != NOT_MAPPED else ""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped}"


class AttemptKey(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One launch of a task instance: the unit that executors handle."""

    task: TaskKey
    attempt_no: int

    def __str__(self) -> str:
        return f"{self.task}#{self.attempt_no}"
