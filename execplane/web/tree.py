"""A DAG's tasks in the order in which people read them: groups as a tree, each level in the order of the flow."""

from __future__ import annotations

from dataclasses import dataclass

from execplane.contract.dag import DagSpec, TaskSpec
from execplane.web.layout import ranks


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the grid: a task, or a group with the ids of all tasks below it."""

    id: str
    label: str
    depth: int
    task: TaskSpec | None = None
    members: tuple[str, ...] = ()
    group: str = ""
    """Ids of all groups around it, space-separated, outermost first: what a collapsed group hides."""
    tooltip: str = ""


def lines(spec: DagSpec) -> tuple[Line, ...]:
    """All rows, top to bottom."""
    edges = [(above, task.task_id) for task in spec.tasks for above in task.upstream]
    known = {task.task_id for task in spec.tasks}
    rank = ranks(known, [edge for edge in edges if edge[0] in known])
    return tuple(_below(spec, None, 0, "", rank))


def _below(spec: DagSpec, parent: str | None, depth: int, path: str, rank: dict[str, int]) -> list[Line]:
    groups = {group.group_id for group in spec.groups}
    entries: list[tuple[int, bool, str, list[Line]]] = []
    for group in spec.groups:
        if group.parent_id == parent:
            inner = _below(spec, group.group_id, depth + 1, f"{path} {group.group_id}".strip(), rank)
            members = tuple(line.id for line in inner if line.task)
            head = Line(
                id=group.group_id,
                label=group.label or _short(group.group_id, parent),
                depth=depth,
                members=members,
                group=path,
                tooltip=group.tooltip,
            )
            first = min((rank[name] for name in members), default=0)
            entries.append((first, True, head.label, [head, *inner]))
    for task in spec.tasks:
        # A group that the version does not declare counts as none: a row must never get lost.
        if (task.group_id if task.group_id in groups else None) == parent:
            line = Line(
                id=task.task_id,
                label=task.label or _short(task.task_id, parent),
                depth=depth,
                task=task,
                group=path,
            )
            entries.append((rank[task.task_id], False, line.label, [line]))
    # Of equal rank, tasks stand before groups: under a group one would look like a member.
    entries.sort(key=lambda entry: entry[:3])
    return [line for *_, found in entries for line in found]


def _short(name: str, parent: str | None) -> str:
    return name.removeprefix(f"{parent}.") if parent else name
