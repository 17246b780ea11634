"""Dynamic mapping: `Operator.partial(...).expand(...)`, one instance per entry of what is expanded."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from execplane.sdk import accepting, scope
from execplane.sdk.exceptions import AirflowException
from execplane.sdk.operator import BASE_NAMES, BaseOperator, constructor_names
from execplane.sdk.scope import complaint
from execplane.sdk.xcom_arg import RETURN_KEY, ConcatXComArg, MapXComArg, XComArg, ZipXComArg, as_entries

if TYPE_CHECKING:
    from execplane.contract.dag import ExpandArg, MappedSpec
    from execplane.sdk.context import Context

_UNMAPPABLE_KINDS = ("branch", "short_circuit")


class OperatorPartial:
    """What `partial()` gives: it becomes a task by `expand()` or `expand_kwargs()`, and is an error without."""

    def __init__(
        self, operator_class: type[BaseOperator], kwargs: dict[str, Any], *, function_style: bool = False
    ) -> None:
        self.operator_class = operator_class
        self.kwargs = kwargs
        self.function_style = function_style
        self.what = f"{operator_class.shown_as or operator_class.__name__} {kwargs.get('task_id')!r}"
        if operator_class.kind in _UNMAPPABLE_KINDS:
            raise complaint(
                f"{self.what} is mapped, and decides about tasks downstream.",
                "Branch outside of the mapping.",
            )
        known = constructor_names(operator_class)
        for name in kwargs:
            if name not in known and not function_style:
                raise accepting.unknown_parameter(self.what, name, known)
        self._dag = kwargs.get("dag") or scope.current_dag()
        if self._dag is not None:
            self._dag.unexpanded[id(self)] = f"{scope.place(*scope.author_position())}: {self.what}"

    def expand(self, **mapped: Any) -> Any:
        """One instance for each combination of the entries of `mapped`."""
        if not mapped:
            raise complaint(
                f"{self.what}: expand() is given nothing.",
                "Give it at least one list, or call the task plainly.",
            )
        known = constructor_names(self.operator_class)
        shared = self.kwargs.get("op_kwargs", {}) if self.function_style else self.kwargs
        for name, value in mapped.items():
            if not self.function_style:
                if name in BASE_NAMES:
                    raise complaint(
                        f"{self.what}: {name!r} cannot be mapped.",
                        "Give it to partial(); all instances share it.",
                    )
                if name not in known:
                    raise accepting.unknown_parameter(self.what, name, known)
            if name in shared:
                raise complaint(f"{self.what}: {name!r} is given to partial() and to expand().", "Keep one.")
            _check_expandable(self.what, name, value)
        return self._make("product", mapped)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> Any:
        """One instance for each dict of parameters in `kwargs`, a list or another task's result."""
        if isinstance(kwargs, XComArg):
            _check_expandable(self.what, "kwargs", kwargs)
        else:
            if not isinstance(kwargs, (list, tuple)):
                raise complaint(
                    f"{self.what}: expand_kwargs() takes a list of dicts.",
                    "Give it a list, or a task's result.",
                )
            for entry in kwargs:
                if not isinstance(entry, (Mapping, XComArg)):
                    raise complaint(f"{self.what}: expand_kwargs() is given {entry!r} in its list.", "Give it dicts.")
        return self._make("kwargs", {"kwargs": kwargs})

    def _make(self, style: str, mapped: dict[str, Any]) -> Any:
        if self._dag is not None:
            self._dag.unexpanded.pop(id(self), None)
        base = {name: value for name, value in self.kwargs.items() if name in BASE_NAMES}
        task = MappedOperator(
            mapped_class=self.operator_class,
            partial_kwargs=self.kwargs,
            style=style,
            mapped=mapped,
            function_style=self.function_style,
            **base,
        )
        return task.output if self.function_style else task


def _check_expandable(what: str, name: str, value: Any) -> None:
    if isinstance(value, XComArg):
        for task, key in value.references():
            if key != RETURN_KEY:
                raise complaint(
                    f"{what}: expand() is given {name} from the XCom {key!r} of {task.task_id!r}.",
                    "Map over a whole result: return the list from a task of its own.",
                )
        return
    if isinstance(value, (list, tuple, dict)):
        return
    raise complaint(
        f"{what}: expand() is given {name}={value!r}.",
        "Give it a list, a dict, or the result of a task (not text, not a set).",
    )


class MappedOperator(BaseOperator):
    """A task with as many instances as its mapped arguments have entries. Its attributes are what they share."""

    def __init__(
        self,
        *,
        mapped_class: type[BaseOperator],
        partial_kwargs: dict[str, Any],
        style: str,
        mapped: dict[str, Any],
        function_style: bool,
        **kwargs: Any,
    ) -> None:
        self.mapped_class = mapped_class
        self.partial_kwargs = partial_kwargs
        self.style = style
        self.mapped = mapped
        self.function_style = function_style
        super().__init__(**kwargs)
        self.kind = mapped_class.kind  # type: ignore[misc]
        self._require_all()

    def _require_all(self) -> None:
        import inspect

        if self.style == "kwargs" or self.function_style:
            return
        have = set(self.partial_kwargs) | set(self.mapped) | set(self._default_args)
        for p in list(inspect.signature(self.mapped_class.__init__).parameters.values())[1:]:
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in have:
                raise complaint(
                    f"{self.operator_name} {self.task_id!r} lacks the parameter {p.name!r}.",
                    f"Give {p.name} to partial().",
                )

    @property
    def task_type(self) -> str:
        return self.mapped_class.__name__

    @property
    def operator_name(self) -> str:
        return self.mapped_class.shown_as or self.mapped_class.__name__

    @property
    def operator_class(self) -> type[BaseOperator]:
        return self.mapped_class

    def argument_values(self) -> list[Any]:
        fields = [self.partial_kwargs.get(name) for name in self.mapped_class.template_fields]
        return [*fields, *self.mapped.values()]

    def spec(self) -> MappedSpec:
        """What the scheduler must know to count the instances."""
        from execplane.contract.dag import MappedSpec

        args = tuple(_expand_arg(name, value) for name, value in self.mapped.items())
        return MappedSpec(style=self.style, args=args, index_template=self.map_index_template)

    def unmap(self, context: Context, map_index: int) -> tuple[BaseOperator, frozenset[int]]:
        """The task for one instance, and the ids of the values that came from XComs (they are not templates).

        An entry that a `map()` function skips raises AirflowSkipException.
        """
        resolved, from_xcom = self._entries(context, map_index)
        kwargs = {name: value for name, value in self.partial_kwargs.items() if name not in ("dag", "task_group")}
        if self.function_style:
            kwargs["op_kwargs"] = {**kwargs.get("op_kwargs", {}), **resolved}
        else:
            for name in resolved:
                if self.style == "kwargs" and name in self.partial_kwargs:
                    raise AirflowException(
                        f"{self.operator_name} {self.task_id!r} gets {name!r} from partial() and from expand_kwargs()."
                    )
            kwargs.update(resolved)
        kwargs["task_id"] = self.label
        kwargs["default_args"] = self._default_args
        task = self.mapped_class.make_detached(kwargs)
        task.task_id = self.task_id
        task._dag = self._dag
        task.task_group = self.task_group
        task.upstream_task_ids = set(self.upstream_task_ids)
        task.downstream_task_ids = set(self.downstream_task_ids)
        task.line = self.line
        return task, frozenset(id(value) for value in from_xcom)

    def _entries(self, context: Context, map_index: int) -> tuple[dict[str, Any], list[Any]]:
        if self.style == "kwargs":
            value = _entry(self.mapped["kwargs"], context, map_index)
            if not isinstance(value, Mapping):
                raise AirflowException(f"expand_kwargs() of {self.task_id!r} got {value!r} at {map_index}, not a dict.")
            came = list(value.values()) if isinstance(self.mapped["kwargs"], XComArg) else []
            return dict(value), came
        lengths = [_length(value, context) for value in self.mapped.values()]
        if map_index >= functools.reduce(operator.mul, lengths, 1):
            raise AirflowException(
                f"Task {self.task_id!r} has no instance {map_index}: its arguments have {lengths} entries.",
                hint="What it maps over has changed since; clear the upstream task, too.",
            )
        indexes = []
        for length in reversed(lengths):  # the last argument changes fastest
            map_index, index = divmod(map_index, length)
            indexes.append(index)
        resolved: dict[str, Any] = {}
        came = []
        for (name, source), index in zip(self.mapped.items(), reversed(indexes), strict=True):
            resolved[name] = _entry(source, context, index)
            if isinstance(source, XComArg):
                came.append(resolved[name])
        return resolved, came


def _base(source: Any) -> Any:
    return source.base() if isinstance(source, MapXComArg) else source


def _values(source: Any, context: Context) -> Sequence[Any]:
    """The entries of a source before any map(); resolved once per attempt."""
    found = _base(source)
    if isinstance(found, XComArg):
        cache: dict[int, Sequence[Any]] = context.expansions
        if id(found) not in cache:
            cache[id(found)] = as_entries(found.resolve(context))
        return cache[id(found)]
    return as_entries(found)


def _length(source: Any, context: Context) -> int:
    return len(_values(source, context))


def _entry(source: Any, context: Context, index: int) -> Any:
    values = _values(source, context)
    if index >= len(values):
        raise AirflowException(f"There is no entry {index} to map: there are {len(values)}.")
    value = values[index]
    if isinstance(source, MapXComArg):
        return source.entry(value)
    return value.resolve(context) if isinstance(value, XComArg) else value


def _expand_arg(name: str, value: Any) -> ExpandArg:
    from execplane.contract.dag import ExpandArg, XComRef

    if not isinstance(value, XComArg):
        return ExpandArg(name=name, literal_length=len(value))
    base = _base(value)
    combine = "single"
    if isinstance(base, ZipXComArg):
        combine = "zip_longest" if base.longest else "zip"
    elif isinstance(base, ConcatXComArg):
        combine = "concat"
    refs = tuple(XComRef(task_id=task.task_id, key=key) for task, key in value.references())
    return ExpandArg(name=name, refs=refs, combine=combine)
