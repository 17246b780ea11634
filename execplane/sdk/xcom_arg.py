"""A task's result, given to another task before it exists: an edge now, a value when the other task runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from execplane.sdk.edges import Edges
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.sdk.context import Context
    from execplane.sdk.operator import BaseOperator

RETURN_KEY = "return_value"
"""The key under which a task's result is kept."""
_MISSING: Any = object()


class XComArg(Edges):
    """The XCom `key` of `operator`. Given as an argument it makes an edge; `[key]` chooses another key."""

    def __init__(self, operator: BaseOperator, key: str = RETURN_KEY) -> None:
        self.operator = operator
        self.key = key

    def edge_roots(self) -> Sequence[BaseOperator]:
        return [self.operator]

    def edge_leaves(self) -> Sequence[BaseOperator]:
        return [self.operator]

    def references(self) -> tuple[tuple[BaseOperator, str], ...]:
        """(task, key) of every XCom that the value is made from."""
        return ((self.operator, self.key),)

    def __getitem__(self, key: str) -> XComArg:
        if not isinstance(key, str):
            raise complaint(
                f"The result of {self.operator.task_id!r} is asked for {key!r}, and XComs have text keys.",
                "Take the whole result, and index it inside the task that uses it.",
            )
        return XComArg(self.operator, key)

    def __iter__(self) -> Iterator[Any]:
        raise complaint(
            f"The result of {self.operator.task_id!r} is looped over before it exists.",
            "Use .expand() for a task per entry, or loop inside a task.",
        )

    def __str__(self) -> str:
        inner = f"task_ids='{self.operator.task_id}', dag_id='{self.operator.dag_id}', key='{self.key}'"
        return "{{ task_instance.xcom_pull(" + inner + ") }}"

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, {self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, XComArg) and self.operator is other.operator and self.key == other.key

    def __hash__(self) -> int:
        return hash((id(self.operator), self.key))

    def map(self, function: Callable[[Any], Any]) -> XComArg:
        """The entries, each passed through `function` when the mapped task runs."""
        return MapXComArg(self, function)

    def zip(self, *others: XComArg, fillvalue: Any = _MISSING) -> XComArg:
        """Tuples of entries, as Python's zip; with `fillvalue` as long as the longest."""
        return ZipXComArg((self, *others), fillvalue)

    def concat(self, *others: XComArg) -> XComArg:
        """The entries of all, one after the other."""
        return ConcatXComArg((self, *others))

    def resolve(self, context: Context) -> Any:
        """The value, in the running task's context.

        A `return_value` that was not pushed is None, and so is a missing key of multiple_outputs; another key that was
        never pushed raises XComNotFound.
        """
        from execplane.sdk.exceptions import XComNotFound

        found = context.ti.pull_argument(self.operator, self.key, _MISSING)
        if found is not _MISSING:
            return found
        if self.key == RETURN_KEY or getattr(self.operator, "multiple_outputs", False):
            return None
        raise XComNotFound(
            f"Task {self.operator.task_id!r} never pushed the XCom {self.key!r}.",
            hint="Push it with ti.xcom_push, or give the task multiple_outputs=True.",
        )


class _Combined(XComArg):
    """An XComArg made of others: only a mapped argument can be one."""

    combine = ""

    def __init__(self, parts: tuple[XComArg, ...]) -> None:
        for part in parts:
            if not isinstance(part, XComArg):
                raise complaint(f"{self.combine}() is given {part!r}.", "Give it results of tasks.")
            if isinstance(part, (_Combined, MapXComArg)):
                raise complaint(
                    f"{self.combine}() is given a result that is itself combined.", "Combine inside a task."
                )
        super().__init__(parts[0].operator, parts[0].key)
        self.parts = parts

    def edge_leaves(self) -> Sequence[BaseOperator]:
        return [part.operator for part in self.parts]

    def edge_roots(self) -> Sequence[BaseOperator]:
        return self.edge_leaves()

    def references(self) -> tuple[tuple[BaseOperator, str], ...]:
        return tuple((part.operator, part.key) for part in self.parts)

    def __getitem__(self, key: str) -> XComArg:
        raise complaint(f"A {self.combine} result is asked for {key!r}.", "Index the entries inside the task.")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class ZipXComArg(_Combined):
    combine = "zip"

    def __init__(self, parts: tuple[XComArg, ...], fillvalue: Any) -> None:
        super().__init__(parts)
        self.fillvalue = fillvalue

    @property
    def longest(self) -> bool:
        return self.fillvalue is not _MISSING

    def resolve(self, context: Context) -> Any:
        from itertools import zip_longest

        values = [as_entries(part.resolve(context)) for part in self.parts]
        if self.longest:
            return list(zip_longest(*values, fillvalue=self.fillvalue))
        return list(zip(*values, strict=False))


class ConcatXComArg(_Combined):
    combine = "concat"

    def resolve(self, context: Context) -> Any:
        return [entry for part in self.parts for entry in as_entries(part.resolve(context))]


class MapXComArg(XComArg):
    """The entries of another XComArg through one or more functions; as many as before."""

    def __init__(self, source: XComArg, function: Callable[[Any], Any]) -> None:
        from execplane.sdk.decorators import TaskFactory

        if isinstance(function, TaskFactory) or not callable(function):
            raise complaint("map() takes a plain function, not a task.", "Give it a function without @task.")
        super().__init__(source.operator, source.key)
        self.source = source
        self.function = function

    def edge_leaves(self) -> Sequence[BaseOperator]:
        return self.source.edge_leaves()

    def edge_roots(self) -> Sequence[BaseOperator]:
        return self.source.edge_roots()

    def references(self) -> tuple[tuple[BaseOperator, str], ...]:
        return self.source.references()

    def __getitem__(self, key: str) -> XComArg:
        raise complaint(f"A mapped result is asked for {key!r}.", "Index the entries inside the function.")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def entry(self, value: Any) -> Any:
        """One entry, through every function; only the entry that a mapped instance uses is computed."""
        inner = self.source.entry(value) if isinstance(self.source, MapXComArg) else value
        return self.function(inner)

    def base(self) -> XComArg:
        return self.source.base() if isinstance(self.source, MapXComArg) else self.source

    def resolve(self, context: Context) -> Any:
        return [self.entry(value) for value in as_entries(self.base().resolve(context))]


def as_entries(value: Any) -> list[Any]:
    """What mapping goes over: a dict gives its (key, value) pairs, None gives nothing."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.items())
    return list(value)


def find(value: Any) -> Iterator[XComArg]:
    """Every XComArg in `value`, inside lists, tuples, sets, dicts and objects with template_fields."""
    if isinstance(value, XComArg):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from find(key)
            yield from find(entry)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for entry in value:
            yield from find(entry)
    elif (
        not isinstance(value, (str, bytes, type)) and hasattr(value, "template_fields") and not isinstance(value, Edges)
    ):
        for name in value.template_fields:
            yield from find(getattr(value, name, None))
