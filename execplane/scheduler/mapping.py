"""Dynamic mapping: into how many instances a mapped task expands, and which rows that makes.

Lengths come from literals and from the return values of other tasks (the producers). A mapped producer gives one
entry per successful instance that returned something, re-indexed: failed, skipped and None entries are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from execplane.contract.dag import ExpandArg, MappedSpec
from execplane.contract.keys import NOT_MAPPED
from execplane.contract.states import TASK_ENDED, TaskState
from execplane.scheduler.decide_view import Create, Expand, Move, TaskRow

NOTHING_TO_MAP = -1
"""The length of a return value that is neither list nor dict: nothing can be mapped over it."""

SCHEDULABLE = frozenset({TaskState.NONE, TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What turns the present rows of a mapped task into instances 0 … length-1 (or one skipped -1)."""

    expand: tuple[Expand, ...] = ()
    create: tuple[Create, ...] = ()
    moves: tuple[Move, ...] = ()


def literal_length(mapped: MappedSpec) -> int | None:
    """The length when every argument is a literal; None when some length comes from a run's XComs."""
    if any(arg.refs for arg in mapped.args):
        return None
    return mapped_length(mapped, lambda _: None)


def mapped_length(mapped: MappedSpec, produced: Callable[[str], int | None]) -> int | None:
    """How many instances; None while a length is unknown, NOTHING_TO_MAP when one never will be.

    `produced` gives the length of a task's return value in the same terms.
    """
    lengths = [_argument_length(arg, produced) for arg in mapped.args]
    if NOTHING_TO_MAP in lengths:
        return NOTHING_TO_MAP
    known = [length for length in lengths if length is not None]
    return math.prod(known) if len(known) == len(lengths) else None


def _argument_length(arg: ExpandArg, produced: Callable[[str], int | None]) -> int | None:
    parts: list[int | None] = [] if arg.literal_length is None else [arg.literal_length]
    # Only return values have a recorded length; the SDK refuses to map over another key.
    parts += [produced(ref.task_id) if ref.key == "return_value" else NOTHING_TO_MAP for ref in arg.refs]
    if NOTHING_TO_MAP in parts or not parts:
        return NOTHING_TO_MAP
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if arg.combine == "zip":
        return min(known)
    return max(known) if arg.combine == "zip_longest" else sum(known)


def produced_length(rows: Sequence[tuple[TaskRow, TaskState]]) -> int | None:
    """The length of what the instances of one task returned, given their states; None while it may still change."""
    live = [(row, state) for row, state in rows if state is not TaskState.REMOVED]
    if not live or any(state not in TASK_ENDED for _, state in live):
        return None
    if any(row.map_index != NOT_MAPPED for row, _ in live):
        # One that became a success by this very decision was not launched and returned nothing.
        return sum(1 for row, _ in live if row.state is TaskState.SUCCESS and row.has_return)
    row, state = live[0]
    if state is not TaskState.SUCCESS or row.map_length is None:
        return NOTHING_TO_MAP
    return row.map_length


def expansion(task_id: str, rows: Sequence[TaskRow], length: int) -> Expansion:
    """Fit the rows to the length. Only rows that may still be scheduled (or were removed) are touched."""
    by_index = {row.map_index: row for row in rows}
    fixed = any(row.state not in SCHEDULABLE and row.state is not TaskState.REMOVED for row in rows)
    if length == 0 and not fixed:
        return _nothing_to_run(task_id, by_index)
    moves: list[Move] = []
    base = by_index.get(NOT_MAPPED)
    reindex: int | None = None
    if base is not None and base.state in SCHEDULABLE:
        if length > 0 and 0 not in by_index:
            reindex = base.id
        else:
            moves.append(_remove(base, length))
    for index, row in by_index.items():
        if index >= length and row.state in SCHEDULABLE:
            moves.append(_remove(row, length))
        elif 0 <= index < length and row.state is TaskState.REMOVED:
            moves.append(
                Move(ti_id=row.id, source=row.state, target=TaskState.NONE, reason=f"mapped over {length} again")
            )
    absent = [index for index in range(length) if index not in by_index and (index > 0 or reindex is None)]
    create = tuple(Create(task_id=task_id, map_index=index) for index in absent)
    changed = reindex is not None or bool(create)
    return Expansion(
        expand=(Expand(task_id=task_id, length=length, reindex=reindex),) if changed else (),
        create=create,
        moves=tuple(moves),
    )


def _remove(row: TaskRow, length: int) -> Move:
    return Move(
        ti_id=row.id, source=row.state, target=TaskState.REMOVED, reason=f"the task is mapped over {length} now"
    )


def _nothing_to_run(task_id: str, by_index: dict[int, TaskRow]) -> Expansion:
    """Zero length: one skipped instance with index -1, all others are removed."""
    reason = "mapped over nothing"
    base = by_index.get(NOT_MAPPED)
    moves = [_remove(row, 0) for i, row in by_index.items() if i != NOT_MAPPED and row.state in SCHEDULABLE]
    if base is None:
        return Expansion(create=(Create(task_id=task_id, state=TaskState.SKIPPED, reason=reason),), moves=tuple(moves))
    moves.append(Move(ti_id=base.id, source=base.state, target=TaskState.SKIPPED, reason=reason))
    return Expansion(moves=tuple(moves))
