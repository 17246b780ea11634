"""Who may be claimed now, and why the others may not: pure, and the source of "why pending"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
            reason = _no_slot(limits, occupied)
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
    slots = limits.pools.get(one.pool)
    if slots is None:
        return f"The pool {one.pool} does not exist: create it, or name another in the DAG file."
    if slots >= 0 and one.slots > slots:
        return f"The task wants {one.slots} slots and the pool {one.pool} has {slots} in all."
    if slots >= 0 and pools.get(one.pool, 0) + one.slots > slots:
        return f"The pool {one.pool} is full: {pools.get(one.pool, 0)} of {slots} slots are taken."
    limit = limits.dags.get(one.dag_id)
    if limit is not None and dags.get(one.dag_id, 0) >= limit:
        return f"The DAG has {dags.get(one.dag_id, 0)} tasks in flight, its max_active_tasks is {limit}."
    running = tasks.get((one.dag_id, one.task_id), 0)
    if one.max_per_dag is not None and running >= one.max_per_dag:
        return f"The task has {running} instances in flight, its max_active_tis_per_dag is {one.max_per_dag}."
    return ""


def _no_slot(limits: Limits, occupied: Occupied) -> str:
    if limits.parallelism is not None and occupied.total >= limits.parallelism:
        return f"All {limits.parallelism} slots of this deployment (parallelism) are taken."
    return f"All {limits.executor_slots} slots of the {limits.executor} executor are taken."
