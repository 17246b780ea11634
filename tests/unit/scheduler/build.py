"""Small DAGs and rows for the scheduler's tests, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from execplane.contract.dag import DagSpec, ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.contract.states import RunState, TaskState
from execplane.scheduler.compiled import CompiledDag, compile_dag
from execplane.scheduler.decide import decide
from execplane.scheduler.decide_view import Decision, RunView, TaskRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def task(task_id: str, *upstream: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="Op", upstream=tuple(sorted(upstream)), **fields)


def dag(*tasks: TaskSpec, **fields: Any) -> CompiledDag:
    return compile_dag(DagSpec(dag_id="d", tasks=tasks, **fields))


def over(*producers: str, literal: int | None = None, combine: str = "single") -> MappedSpec:
    """Mapped over the return values of these tasks, or over a literal."""
    refs = tuple(XComRef(task_id=producer) for producer in producers)
    return MappedSpec(args=(ExpandArg(name="x", literal_length=literal, refs=refs, combine=combine),))


def rows(**states: TaskState | TaskRow) -> list[TaskRow]:
    """`a=TaskState.SUCCESS` is task a's only instance; ids count from 1 in the order given."""
    return [
        state if isinstance(state, TaskRow) else TaskRow(id=number, task_id=task_id, state=state)
        for number, (task_id, state) in enumerate(states.items(), start=1)
    ]


def ask(compiled: CompiledDag, instances: Sequence[TaskRow], now: datetime = NOW, **view: Any) -> Decision:
    return decide(RunView(**{"dag": compiled, "state": RunState.RUNNING, "rows": instances, **view}), now)


def launched(decision: Decision) -> list[int]:
    return [launch.ti_id for launch in decision.launch]


def moved(decision: Decision) -> dict[int, TaskState]:
    return {move.ti_id: move.target for move in decision.moves}


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)
