"""Who may be claimed now, and why the others may not: pure, and the source of "why pending".

What the driver writes on a waiting attempt stays the same while it waits for the same thing, because it is written for
thousands; by whom a limit is used up is added when somebody asks (`actions.pending`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from execplane.contract.pending import Code
from execplane.store.launch_rows import Candidate, Occupied


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """executor_slots and parallelism: None for no limit. pools: slots by name, -1 for no limit."""

    executor: str
    executor_slots: int | None
    parallelism: int | None
    pools: Mapping[str, int]
    dags: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`admitted` in order of priority; `reasons` for those that wait, by attempt id."""

    admitted: tuple[int, ...]
    reasons: dict[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One limit that a candidate does not pass."""

    code: Code
    sentence: str


_STOPPED = {
    Code.EXECUTOR_CANNOT_LAUNCH: "The executor {} cannot launch now: ",
    Code.LAUNCHES_HELD: "Launches of the executor {} are held: ",
    Code.CREATES_SLOWED: "Launches of the executor {} wait their turn: ",
}


def stopped(code: Code, executor: str, reason: str) -> str:
    """What is written on all that waits while nothing at all is launched; `stop_gate` reads it."""
    return _STOPPED[code].format(executor) + reason


def stop_gate(executor: str, not_claimed_reason: str) -> Gate | None:
    """Which of them is written on a waiting attempt; None where something else is."""
    for code, words in _STOPPED.items():
        if not_claimed_reason.startswith(words.format(executor)):
            return Gate(code=code, sentence=not_claimed_reason)
    return None


def free_slots(limits: Limits, occupied: Occupied) -> int | None:
    """How many attempts more fit on the executor; None: no limit."""
    free: list[int] = []
    if limits.executor_slots is not None:
        free.append(limits.executor_slots - occupied.by_executor.get(limits.executor, 0))
    if limits.parallelism is not None:
        free.append(limits.parallelism - occupied.total)
    return max(0, min(free)) if free else None


def full_pools(limits: Limits, occupied: Occupied) -> list[str]:
    """Pools in which not even one slot is free."""
    return [name for name, slots in limits.pools.items() if slots >= 0 and occupied.by_pool.get(name, 0) >= slots]


def full_dags(limits: Limits, occupied: Occupied) -> list[str]:
    return [dag_id for dag_id, n in occupied.by_dag.items() if n >= limits.dags.get(dag_id, n + 1)]


def admit(waiting: Sequence[Candidate], limits: Limits, occupied: Occupied) -> Admission:
    """Take candidates in their order while every limit holds; a candidate that does not fit blocks nobody behind it.

    Admitted candidates occupy their slots for those after them.
    """
    free = free_slots(limits, occupied)
    pools, dags, tasks = dict(occupied.by_pool), dict(occupied.by_dag), dict(occupied.by_task)
    admitted: list[int] = []
    reasons: dict[int, str] = {}
    for one in waiting:
        reason = _blocked(one, limits, pools, dags, tasks)
        if not reason and free is not None and len(admitted) >= free:
            reason = next(_slot_gates(limits, occupied, admitted=len(admitted))).sentence
        if reason:
            reasons[one.attempt_id] = reason
            continue
        admitted.append(one.attempt_id)
        pools[one.pool] = pools.get(one.pool, 0) + one.slots
        dags[one.dag_id] = dags.get(one.dag_id, 0) + 1
        tasks[one.dag_id, one.task_id] = tasks.get((one.dag_id, one.task_id), 0) + 1
    return Admission(admitted=tuple(admitted), reasons=reasons)


def _blocked(
    one: Candidate,
    limits: Limits,
    pools: Mapping[str, int],
    dags: Mapping[str, int],
    tasks: Mapping[tuple[str, str], int],
) -> str:
    gate = next(_own_gates(one, limits, pools, dags, tasks), None)
    return gate.sentence if gate is not None else ""


def _own_gates(
    one: Candidate,
    limits: Limits,
    pools: Mapping[str, int],
    dags: Mapping[str, int],
    tasks: Mapping[tuple[str, str], int],
) -> Iterator[Gate]:
    """The limits that depend on what the candidate is."""
    slots = limits.pools.get(one.pool)
    taken = pools.get(one.pool, 0)
    if slots is None:
        sentence = f"The pool {one.pool} does not exist: create it, or name another in the DAG file."
        yield Gate(code=Code.POOL_MISSING, sentence=sentence)
    elif 0 <= slots < one.slots:
        sentence = f"The task wants {one.slots} slots and the pool {one.pool} has {slots} in all."
        yield Gate(code=Code.POOL_TOO_SMALL, sentence=sentence)
    elif slots >= 0 and taken + one.slots > slots:
        sentence = f"The pool {one.pool} is full: {taken} of {slots} slots are taken."
        yield Gate(code=Code.POOL_FULL, sentence=sentence)
    limit = limits.dags.get(one.dag_id)
    in_dag = dags.get(one.dag_id, 0)
    if limit is not None and in_dag >= limit:
        sentence = f"The DAG has {in_dag} tasks in flight, its max_active_tasks is {limit}."
        yield Gate(code=Code.MAX_ACTIVE_TASKS, sentence=sentence)
    running = tasks.get((one.dag_id, one.task_id), 0)
    if one.max_per_dag is not None and running >= one.max_per_dag:
        sentence = f"The task has {running} instances in flight, its max_active_tis_per_dag is {one.max_per_dag}."
        yield Gate(code=Code.MAX_ACTIVE_TIS_PER_DAG, sentence=sentence)


def _slot_gates(limits: Limits, occupied: Occupied, *, admitted: int = 0) -> Iterator[Gate]:
    """The limits that all candidates share, once so many were `admitted` beside what is occupied."""
    on_executor = occupied.by_executor.get(limits.executor, 0) + admitted
    if limits.parallelism is not None and occupied.total + admitted >= limits.parallelism:
        sentence = f"All {limits.parallelism} slots of this deployment (parallelism) are taken."
        yield Gate(code=Code.PARALLELISM, sentence=sentence)
    if limits.executor_slots is not None and on_executor >= limits.executor_slots:
        sentence = f"All {limits.executor_slots} slots of the {limits.executor} executor are taken."
        yield Gate(code=Code.EXECUTOR_SLOTS, sentence=sentence)


def closed_gates(one: Candidate, limits: Limits, occupied: Occupied) -> tuple[Gate, ...]:
    """Every limit that keeps this candidate out as things stand, not only the first one."""
    own = _own_gates(one, limits, occupied.by_pool, occupied.by_dag, occupied.by_task)
    return (*own, *_slot_gates(limits, occupied))
