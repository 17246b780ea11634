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

    def __repr__(self) -> str:
        return f"Label({self.label!r})"

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
    befores = _ends(upstream, "edge_leaves")
    for after, after_label in _ends(downstream, "edge_roots"):
        for before, before_label in befores:
            _link(before, after, label or before_label or after_label)


def _ends(end: Any, which: str) -> list[tuple[BaseOperator, Label | None]]:
    """The tasks at one end of a dependency, each with the label that its own edge has."""
    if isinstance(end, Edges):
        return [(task, None) for task in getattr(end, which)()]
    if isinstance(end, Label):
        beyond = end._upstream if which == "edge_leaves" else end._downstream
        if beyond is None:
            raise complaint(
                f"{end!r} has a task on one side only.", "Put it between two: a >> Label('rows') >> b, or in chain()."
            )
        return [(task, end) for task, _ in _ends(beyond, which)]
    if isinstance(end, Iterable) and not isinstance(end, (str, bytes)):
        return [found for entry in end for found in _ends(entry, which)]
    from execplane.sdk.dags import DAG

    if isinstance(end, DAG):
        raise complaint("A DAG is put at one end of a dependency.", "Use `with DAG(...)`, or give each task dag=.")
    plain = end is None or isinstance(end, (str, bytes, int, float))
    shown = repr(end) if plain else f"an object of {type(end).__name__}"
    raise complaint(
        f"A dependency is set with {shown}, which is not a task.",
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
    """`chain(a, [b, c], [d, e], f)`: neighbours depend on each other; two lists of one length, pair by pair. A Label,
    or a list of them, stands between what its edges connect."""
    before: Any = tasks[0] if tasks else ()
    for after in tasks[1:]:
        if _is_list(before) and _is_list(after):
            if len(before) != len(after):
                raise complaint(
                    f"chain() is given two neighbouring lists of lengths {len(before)} and {len(after)}.",
                    "Give them the same length, or use cross_downstream().",
                )
            before = [_follow(left, right) for left, right in zip(before, after, strict=True)]
        elif _is_list(after):
            before = [_follow(before, one) for one in after]
        else:
            before = _follow(before, after)
    for last in before if _is_list(before) else [before]:
        if isinstance(last, Label):
            raise complaint(f"chain() ends with {last!r}.", "Put the task that it leads to behind it.")


def _follow(before: Any, after: Any) -> Any:
    """Put one after the other; gives what the next one follows. A label waits for it."""
    if isinstance(after, Label):
        return after.after(before)
    connect(before, after)
    return after


def chain_linear(*tasks: Any) -> None:
    """Like `chain`, but every task of a list comes before every task of the next."""
    for before, after in pairwise(tasks):
        if isinstance(after, Label):
            raise complaint(f"chain_linear() is given {after!r}, and takes no labels.", "Use chain(), or >>.")
        connect(before, after)


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Every one of `from_tasks` comes before every one of `to_tasks`."""
    connect(list(from_tasks), to_tasks)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))
