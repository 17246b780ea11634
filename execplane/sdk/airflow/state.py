"""Small names of Airflow's that DAG files compare with."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from execplane.contract.states import RunState, TaskState

TaskInstanceState = TaskState
DagRunState = RunState


class State:
    """Airflow's older names of the states."""

    NONE = None
    QUEUED = TaskState.QUEUED
    RUNNING = TaskState.RUNNING
    SUCCESS = TaskState.SUCCESS
    FAILED = TaskState.FAILED
    SKIPPED = TaskState.SKIPPED
    REMOVED = TaskState.REMOVED
    RESTARTING = TaskState.RESTARTING
    UPSTREAM_FAILED = TaskState.UPSTREAM_FAILED
    UP_FOR_RETRY = TaskState.UP_FOR_RETRY
    UP_FOR_RESCHEDULE = TaskState.UP_FOR_RESCHEDULE


class WeightRule(StrEnum):
    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    ABSOLUTE = "absolute"


class WeekDay(IntEnum):
    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7


class _NotSet:
    """The mark of an argument that was not given."""


NOTSET = _NotSet()
