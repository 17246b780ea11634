"""What `decide` looks at and what it answers: plain values, so that the loop around it does all reading and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from execplane.contract.keys import NOT_MAPPED
from execplane.contract.states import Cause, RunState, TaskState
from execplane.scheduler.compiled import CompiledDag


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task instance as the ledger has it."""

    id: int
    task_id: str
    map_index: int = NOT_MAPPED
    state: TaskState = TaskState.NONE
    attempt_no: int = 0
    try_number: int = 0
    author_failures: int = 0
    infra_failures: int = 0
    eligible_at: datetime | None = None
    """No attempt before: a delay, or an earlier attempt that may live on until then."""
    next_cause: Cause = Cause.FIRST
    """For up_for_retry and up_for_reschedule: the cause that the next attempt will carry."""
    skips: frozenset[str] = frozenset()
    """Task ids that this instance's branch or short circuit dropped; only a successful instance's count."""
    map_length: int | None = None
    """Length of its return_value; None when that is no list or dict."""
    has_return: bool = True
    """It pushed a return_value: an instance that returned None is left out of what is mapped over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The previous run, as far as `past_needed` asked for it.

    Which run is the previous one: with catchup the last earlier scheduled run, else the last earlier run of any
    type, by logical date.
    """

    logical_date: datetime | None = None
    states: Mapping[str, Sequence[TaskState]] = field(default_factory=dict)
    """Task id -> states of its instances in that run; an id without instances is absent or empty."""
    seen: frozenset[str] = frozenset()
    """Those of the asked ids that have an instance in any earlier run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run with everything its next step depends on."""

    dag: CompiledDag
    state: RunState
    rows: Sequence[TaskRow]
    logical_date: datetime | None = None
    start_time: datetime | None = None
    """When the run began running; its timeout counts from there."""
    paused: bool = False
    """The DAG is paused: nothing starts, but what runs may end and the run with it."""
    past: Past | None = None
    """None: there is no earlier run, or nobody asks (see `past_needed`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Insert this task instance."""

    task_id: str
    map_index: int = NOT_MAPPED
    state: TaskState = TaskState.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """The task's instances are now 0 … length-1. The missing ones stand in `Decision.create`."""

    task_id: str
    length: int
    reindex: int | None
    """Id of the instance whose map_index -1 becomes 0, when it is that one that goes on as the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A state change without a launch. `stop`: an attempt of it may be alive and must be told to stop."""

    ti_id: int
    source: TaskState
    target: TaskState
    reason: str = ""
    stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Queue a new attempt (the ledger's next attempt_no)."""

    ti_id: int
    task_id: str
    map_index: int
    source: TaskState
    cause: Cause
    try_number: int
    """The attempt's: one more than before for first, retry and clear; the same for infra and reschedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why an instance that has not started does not start.

    code and data: "upstream" {rule, unfinished, tasks (ten at most)} | "past" {logical_date} | "eligible_at"
    {until, cause} | "expansion" {tasks} | "paused" {} | "max_active_tis_per_dagrun" {limit}.
    """

    code: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to write, in this order: moves, expand (re-index), create, launch, run_state; all in one transaction.

    Applying one decision and deciding again gives an empty one when `again` is False and nothing else happened.
    """

    create: tuple[Create, ...] = ()
    expand: tuple[Expand, ...] = ()
    moves: tuple[Move, ...] = ()
    launch: tuple[Launch, ...] = ()
    run_state: RunState | None = None
    run_reason: str = ""
    wake_at: datetime | None = None
    """Decide again then, even if nothing happens until then."""
    waiting: Mapping[int, Waiting] = field(default_factory=dict)

    @property
    def again(self) -> bool:
        """New instances were made (or re-indexed, or brought back): read the rows and decide once more at once."""
        return bool(self.create or self.expand) or any(move.target is TaskState.NONE for move in self.moves)

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not (self.create or self.expand or self.moves or self.launch or self.run_state)

    @property
    def waits_on_past(self) -> bool:
        """Something waits for an earlier run: decide again when that one changes."""
        return any(waiting.code == "past" for waiting in self.waiting.values())
