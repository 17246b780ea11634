"""Dependencies: `>>`, `<<`, `chain`, `cross_downstream` and edge labels, the same for tasks, groups and XComArgs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.sdk.operator import BaseOperator


class Edges:
    """Something that stands at either end of a dependency: it has first tasks and last tasks."""

    def edge_roots(self) -> Sequence[BaseOperator]:
        """The tasks that an edge into this leads to."""
        raise NotImplementedError

    def edge_leaves(self) -> Sequence[BaseOperator]:
        """The tasks that an edge out of this starts from."""
        raise NotImplementedError

    def set_downstream(self, other: Any, edge_modifier: Label | None = None) -> None:
        connect(self, other, edge_modifier)

    def set_upstream(self, other: Any, edge_modifier: Label | None = None) -> None:
        connect(other, self, edge_modifier)

    def __rshift__(self, other: Any) -> Any:
        if isinstance(other, Label):
            return other.after(self)
        connect(self, other)
        return other

    def __lshift__(self, other: Any) -> Any:
        if isinstance(other, Label):
            return other.before(self)
        connect(other, self)
        return other

    def __rrshift__(self, other: Any) -> Any:
        connect(other, self)
        return self

    def __rlshift__(self, other: Any) -> Any:
        connect(self, other)
        return self


class Label:
    """`a >> Label("rows") >> b`: the edge's text in the graph."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._upstream: Any = None
        self._downstream: Any = None

    def after(self, upstream: Any) -> Label:
        made = Label(self.label)
        made._upstream = upstream
        return made

    def before(self, downstream: Any) -> Label:
        made = Label(self.label)
        made._downstream = downstream
        return made

    def __rshift__(self, other: Any) -> Any:
        connect(self._upstream, other, self)
        return other

    def __lshift__(self, other: Any) -> Any:
        connect(other, self._downstream, self)
        return other

    def __rrshift__(self, other: Any) -> Label:
        return self.after(other)

    def __rlshift__(self, other: Any) -> Label:
        return self.before(other)


def connect(upstream: Any, downstream: Any, label: Label | None = None) -> None:
    """Every last task of `upstream` comes before every first task of `downstream`."""
    befores = _tasks(upstream, "edge_leaves")
    for after in _tasks(downstream, "edge_roots"):
        for before in befores:
            _link(before, after, label)


def _tasks(end: Any, which: str) -> list[BaseOperator]:
    if isinstance(end, Edges):
        return list(getattr(end, which)())
    if isinstance(end, Iterable) and not isinstance(end, (str, bytes)):
        return [task for entry in end for task in _tasks(entry, which)]
    from execplane.sdk.dags import DAG

    if isinstance(end, DAG):
        raise complaint("A DAG is put at one end of a dependency.", "Use `with DAG(...)`, or give each task dag=.")
    raise complaint(
        f"A dependency is set with {end!r}, which is not a task.",
        "Use tasks, task groups, their results, or lists of them.",
    )


def _link(before: BaseOperator, after: BaseOperator, label: Label | None) -> None:
    dag = before.dag or after.dag
    if dag is not None:
        for task in (before, after):
            if task.dag is None:
                task.dag = dag
    if before.dag is not after.dag:
        raise complaint(
            f"Tasks {before.task_id!r} and {after.task_id!r} belong to different DAGs.",
            "A dependency stays inside one DAG.",
        )
    before.downstream_task_ids.add(after.task_id)
    after.upstream_task_ids.add(before.task_id)
    if label is not None:
        after.upstream_labels[before.task_id] = label.label


def chain(*tasks: Any) -> None:
    """`chain(a, [b, c], [d, e], f)`: neighbours depend on each other; two lists of one length, pair by pair."""
    for before, after in pairwise(tasks):
        if _is_list(before) and _is_list(after):
            if len(before) != len(after):
                raise complaint(
                    f"chain() is given two neighbouring lists of lengths {len(before)} and {len(after)}.",
                    "Give them the same length, or use cross_downstream().",
                )
            for left, right in zip(before, after, strict=True):
                connect(left, right)
        else:
            connect(before, after)


def chain_linear(*tasks: Any) -> None:
    """Like `chain`, but every task of a list comes before every task of the next."""
    for before, after in pairwise(tasks):
        connect(before, after)


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Every one of `from_tasks` comes before every one of `to_tasks`."""
    connect(list(from_tasks), to_tasks)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))
