"""Verbs on task instances: clear and mark."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from execplane.actions.actor import Actor, demand
from execplane.actions.unserved import end_unserved
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.dag import DagSpec
from execplane.contract.errors import InvalidInput, NotFound
from execplane.contract.keys import NOT_MAPPED, TaskKey
from execplane.contract.states import TaskState
from execplane.store import task_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.transitions import clearing

_CLOCK = SystemClock()
MARKABLE = (TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED)
MOST_AT_ONCE = 10_000


def clear(
    actor: Actor,
    dag_id: str,
    run_id: str,
    task_ids: Collection[str],
    *,
    map_indexes: Collection[int] | None = None,
    upstream: bool = False,
    downstream: bool = False,
    past: bool = False,
    future: bool = False,
    only_failed: bool = False,
    latest: bool = False,
    dry_run: bool = False,
    clock: Clock = _CLOCK,
) -> list[TaskKey]:
    """Run the tasks again, with their relatives and in earlier or later runs where asked; gives what is cleared.

    A run keeps the version it began with unless `latest` asks for the DAG's newest one. `dry_run` only reads.

    `task_ids` empty: all tasks of the run. What is in flight is stopped first. Repeating it changes nothing more.
    """
    demand(actor, "clear tasks")
    now = clock.now()
    run = task_rows.run_of(dag_id, run_id)
    spec = dag_spec(run.dag_version_id)
    clearable = partial(
        task_rows.clearable,
        run,
        related(spec, task_ids, upstream=upstream, downstream=downstream),
        map_indexes=map_indexes,
        named=set(task_ids),
        past=past,
        future=future,
        only_failed=only_failed,
        limit=MOST_AT_ONCE + 1,
    )
    if dry_run:
        return _at_most(clearable(lock=False), "clear")[1]
    with write():
        ids, keys = _at_most(clearable(lock=True), "clear")
        if ids:
            clearing.clear_instances(ids, actor=actor.name, now=now, latest=latest)
            end_unserved(actor, ti_ids=ids, now=now)
            _expand_anew(spec, keys)
            said = {"latest": latest, "tasks": [str(key) for key in keys[:200]]}
            audit(actor.name, "clear", f"run:{dag_id}/{run_id}", after=said, now=now)
    return keys


def _at_most(found: Sequence[tuple[int, TaskKey]], verb: str) -> tuple[list[int], list[TaskKey]]:
    if len(found) > MOST_AT_ONCE:
        hint = "Take fewer runs, or single map indexes."
        raise InvalidInput(f"That would {verb} more than {MOST_AT_ONCE} task instances.", hint=hint)
    return [pk for pk, _ in found], [key for _, key in found]


def _expand_anew(spec: DagSpec, cleared: Sequence[TaskKey]) -> None:
    """Mapped tasks that were cleared together with what they are mapped over."""
    by_run: dict[tuple[str, str], set[str]] = {}
    for key in cleared:
        by_run.setdefault((key.dag_id, key.run_id), set()).add(key.task_id)
    for (dag_id, run_id), task_ids in by_run.items():
        mapped = [
            task.task_id
            for task in spec.tasks
            if task.mapped is not None
            and task.task_id in task_ids
            and any(ref.task_id in task_ids for arg in task.mapped.args for ref in arg.refs)
        ]
        clearing.drop_expansion(dag_id, run_id, mapped)


def related(spec: DagSpec, task_ids: Collection[str], *, upstream: bool, downstream: bool) -> set[str]:
    """The tasks and, where asked, all that lie up- or downstream of them. Raises NotFound for an unknown id."""
    parents = {task.task_id: task.upstream for task in spec.tasks}
    unknown = sorted(set(task_ids) - set(parents))
    if unknown:
        raise NotFound(f"The DAG {spec.dag_id} has no task {unknown[0]} in this run's version.")
    if not task_ids:
        return set(parents)
    children: dict[str, list[str]] = {task_id: [] for task_id in parents}
    for task_id, ups in parents.items():
        for up in ups:
            children[up].append(task_id)
    found = set(task_ids)
    for follow, edges in ((upstream, parents), (downstream, children)):
        if follow:
            found |= _reach(task_ids, edges)
    return found


def _reach(start: Collection[str], edges: object) -> set[str]:
    assert isinstance(edges, dict)
    seen: set[str] = set()
    todo = deque(start)
    while todo:
        for neighbour in edges[todo.popleft()]:
            if neighbour not in seen:
                seen.add(neighbour)
                todo.append(neighbour)
    return seen


def mark(
    actor: Actor,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int,
    state: TaskState | str,
    *,
    dry_run: bool = False,
    clock: Clock = _CLOCK,
) -> list[TaskKey]:
    """Set a task instance's state by hand; what is in flight is stopped and no longer moves it. Gives what is marked.

    `map_index` -1 means the whole task: all its instances, where it is mapped. `dry_run` only reads.

    As in Airflow: tasks downstream that failed for want of it are cleared, so that the run goes on.
    """
    demand(actor, "mark tasks")
    target = TaskState(state) if str(state) in {*MARKABLE} else None
    if target is None:
        raise InvalidInput(f"A task is marked {', '.join(MARKABLE)}, not {state}.")
    now = clock.now()
    run = task_rows.run_of(dag_id, run_id)
    markable = partial(task_rows.markable, run, task_id, map_index, limit=MOST_AT_ONCE + 1)
    if dry_run:
        return _marked(run, task_id, map_index, markable(lock=False))[1]
    with write():
        ids, keys = _marked(run, task_id, map_index, markable(lock=True))
        clearing.mark_instances(ids, target, actor=actor.name, now=now)
        end_unserved(actor, ti_ids=ids, now=now)
        if target is not TaskState.FAILED:
            _resume_downstream(actor, run, task_id, now)
        said = {"instances": len(keys)} if keys[0].map_index != map_index else None
        audit(actor.name, f"mark {target}", f"task:{dag_id}/{run_id}/{task_id}[{map_index}]", after=said, now=now)
    return keys


def _marked(
    run: task_rows.RunOf, task_id: str, map_index: int, found: Sequence[tuple[int, TaskKey]]
) -> tuple[list[int], list[TaskKey]]:
    """Raises NotFound, saying which map indexes there are."""
    if found:
        return _at_most(found, "mark")
    indexes = task_rows.map_index_range(run.pk, task_id)
    hint = f"`execplane runs show {run.dag_id} {run.run_id}` shows its tasks."
    if indexes is None:
        raise NotFound(f"The run {run.run_id} of {run.dag_id} has no task {task_id}.", hint=hint)
    first, last = indexes
    if last == NOT_MAPPED:
        message = f"{task_id} has no map indexes in the run {run.run_id} of {run.dag_id}"
        raise NotFound(f"{message}: it is not mapped, or not expanded yet.", hint="Leave the map index out.")
    raise NotFound(
        f"{task_id} has no map index {map_index} in the run {run.run_id} of {run.dag_id}: it has "
        + (f"{first} to {last}." if first < last else f"only {first}."),
        hint="Without a map index, all its instances are marked.",
    )


def _resume_downstream(actor: Actor, run: task_rows.RunOf, task_id: str, now: datetime) -> None:
    spec = dag_spec(run.dag_version_id)
    if task_id not in {task.task_id for task in spec.tasks}:
        return
    below = related(spec, [task_id], upstream=False, downstream=True) - {task_id}
    found = task_rows.clearable(
        run,
        below,
        named=(),
        map_indexes=None,
        past=False,
        future=False,
        only_failed=True,
        limit=MOST_AT_ONCE,
        lock=True,
    )
    if found:
        clearing.clear_instances([pk for pk, _ in found], actor=actor.name, now=now)
