"""A DagSpec made ready for deciding: topological order, relatives by number, weights, what is mapped over what.

A DagVersion never changes, so the caller keeps the result per version. Raises InvalidInput for what cannot be
scheduled at all (a cycle, an unknown upstream); the parser refuses those before they are stored.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.errors import InvalidInput
from execplane.contract.states import TriggerRule
from execplane.scheduler.weights import priority_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTask:
    """One task; relatives are indexes into `CompiledDag.tasks`."""

    index: int
    task_id: str
    spec: TaskSpec
    rule: TriggerRule
    upstream: tuple[int, ...]
    downstream: tuple[int, ...]
    upstream_group: int
    """Equal for tasks with equal upstream: what is counted for one holds for all of them."""
    priority_weight: int
    producers: tuple[int, ...] = ()
    """Tasks whose return values this one is expanded over, in the order of its arguments, each once."""
    needs_past: bool = False

    @property
    def mapped(self) -> bool:
        return self.spec.mapped is not None

    @property
    def counts_for_run(self) -> bool:
        """False for a teardown that does not report: the run's state does not depend on it."""
        return not self.spec.is_teardown or self.spec.on_failure_fail_dagrun


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledDag:
    """`tasks` in topological order, ties broken by the order of the spec."""

    spec: DagSpec
    tasks: tuple[CompiledTask, ...]
    index: Mapping[str, int]
    leaves: tuple[int, ...]
    """The effective leaves: they decide the run's state. Work before an uncounted teardown is a leaf."""

    @property
    def dag_id(self) -> str:
        return self.spec.dag_id

    def task(self, task_id: str) -> CompiledTask:
        """Raises KeyError when this version has no such task."""
        return self.tasks[self.index[task_id]]


def compile_dag(spec: DagSpec) -> CompiledDag:
    """Number, order and link the tasks of one DagVersion."""
    by_id = {task.task_id: task for task in spec.tasks}
    producer_ids = {task.task_id: _producer_ids(task) for task in spec.tasks}
    _check_known(spec, by_id, producer_ids)
    order = _topological_order(spec, producer_ids)
    index = {task_id: number for number, task_id in enumerate(order)}
    upstream = [tuple(sorted({index[up] for up in by_id[task_id].upstream})) for task_id in order]
    downstream = _reverse(upstream)
    specs = [by_id[task_id] for task_id in order]
    weights = priority_weights(
        [task.weight_rule for task in specs], [task.priority_weight for task in specs], upstream, downstream
    )
    groups: dict[tuple[int, ...], int] = {}
    tasks = tuple(
        CompiledTask(
            index=number,
            task_id=task.task_id,
            spec=task,
            rule=task.trigger_rule,
            upstream=upstream[number],
            downstream=downstream[number],
            upstream_group=groups.setdefault(upstream[number], len(groups)),
            priority_weight=weights[number],
            producers=tuple(index[producer] for producer in producer_ids[task.task_id]),
            needs_past=task.depends_on_past or task.wait_for_downstream,
        )
        for number, task in enumerate(specs)
    )
    return CompiledDag(spec=spec, tasks=tasks, index=index, leaves=effective_leaves(tasks, present=None))


def effective_leaves(tasks: Sequence[CompiledTask], present: frozenset[int] | None) -> tuple[int, ...]:
    """The tasks that decide the run's state. `present`: which tasks have instances in the run, None for all."""
    members = [task for task in tasks if present is None or task.index in present]
    leaves = tuple(
        task.index
        for task in members
        if task.counts_for_run
        and not any(tasks[d].counts_for_run for d in task.downstream if present is None or d in present)
    )
    if leaves:
        return leaves
    # Only teardowns: then the plain leaves decide.
    return tuple(
        task.index for task in members if not any(present is None or down in present for down in task.downstream)
    )


def _producer_ids(task: TaskSpec) -> tuple[str, ...]:
    args = task.mapped.args if task.mapped is not None else ()
    return tuple(dict.fromkeys(ref.task_id for arg in args for ref in arg.refs))


def _check_known(spec: DagSpec, by_id: Mapping[str, TaskSpec], producers: Mapping[str, tuple[str, ...]]) -> None:
    for task in spec.tasks:
        for other in (*task.upstream, *producers[task.task_id]):
            if other not in by_id:
                raise InvalidInput(
                    f"DAG {spec.dag_id}: task {task.task_id} depends on {other}, which is not a task of this DAG.",
                    hint="Refresh the DAG file; the stored version is not usable.",
                )


def _topological_order(spec: DagSpec, producers: Mapping[str, tuple[str, ...]]) -> list[str]:
    position = {task.task_id: number for number, task in enumerate(spec.tasks)}
    parents = {task.task_id: {*task.upstream, *producers[task.task_id]} for task in spec.tasks}
    children: dict[str, list[str]] = {task_id: [] for task_id in parents}
    for task_id, ids in parents.items():
        for parent in ids:
            children[parent].append(task_id)
    missing = {task_id: len(ids) for task_id, ids in parents.items()}
    ready = [(position[task_id], task_id) for task_id, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        _, task_id = heapq.heappop(ready)
        order.append(task_id)
        for child in children[task_id]:
            missing[child] -= 1
            if missing[child] == 0:
                heapq.heappush(ready, (position[child], child))
    if len(order) != len(parents):
        stuck = sorted(task_id for task_id, count in missing.items() if count > 0)
        raise InvalidInput(
            f"DAG {spec.dag_id}: its tasks form a cycle, among {', '.join(stuck[:10])}.",
            hint="Remove one of the dependencies between them.",
        )
    return order


def _reverse(upstream: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    downstream: list[list[int]] = [[] for _ in upstream]
    for index, ups in enumerate(upstream):
        for up in ups:
            downstream[up].append(index)
    return [tuple(downs) for downs in downstream]
