"""`@task` and its kin: a function becomes a task, and calling it gives its result to other tasks."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from execplane.sdk import scope
from execplane.sdk.accepting import unknown_parameter
from execplane.sdk.constructors import signature
from execplane.sdk.context import CONTEXT_KEYS
from execplane.sdk.mapping import OperatorPartial
from execplane.sdk.operator import BaseOperator, constructor_names
from execplane.sdk.operators.bash import BashOperator
from execplane.sdk.operators.branch import BranchPythonOperator
from execplane.sdk.operators.python import PythonOperator, ShortCircuitOperator
from execplane.sdk.scope import complaint
from execplane.sdk.sensors.python import PythonSensor
from execplane.sdk.xcom_arg import XComArg


class DecoratedPython(PythonOperator):
    shown_as = "@task"


class DecoratedBranch(BranchPythonOperator):
    shown_as = "@task.branch"


class DecoratedShortCircuit(ShortCircuitOperator):
    shown_as = "@task.short_circuit"


class DecoratedSensor(PythonSensor):
    shown_as = "@task.sensor"


class DecoratedBash(PythonOperator):
    """The function returns the command that bash runs."""

    shown_as = "@task.bash"

    def __init__(
        self,
        *,
        env: dict[str, str] | None = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: Any = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._bash = {
            "env": env,
            "append_env": append_env,
            "output_encoding": output_encoding,
            "skip_on_exit_code": skip_on_exit_code,
            "cwd": cwd,
            "output_processor": output_processor,
        }
        self._inner: BaseOperator | None = None

    def execute(self, context: Any) -> Any:
        command = self.call(context)
        if not isinstance(command, str) or not command.strip():
            raise TypeError(f"A @task.bash function returns the command as text, not {command!r}.")
        self._inner = BashOperator.make_detached({"task_id": self.label, "bash_command": command, **self._bash})
        self._inner.render_template_fields(context)
        return self._inner.execute(context)

    def on_kill(self) -> None:
        if self._inner is not None:
            self._inner.on_kill()


def _has_multiple_outputs(function: Callable[..., Any]) -> bool:
    """A function annotated to return a dict with text keys, or a TypedDict, has its entries pushed one by one."""
    annotation = getattr(function, "__annotations__", {}).get("return")
    if annotation is None:
        return False
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(function).get("return")
        except Exception:  # an annotation that only a type checker can read
            return annotation.startswith(("dict", "Dict", "typing.Dict", "Mapping")) if annotation else False
    found = typing.get_origin(annotation) or annotation
    return isinstance(found, type) and issubclass(found, Mapping)


@functools.cache
def _known(operator_class: type[BaseOperator]) -> frozenset[str]:
    """What `@task(...)` takes; the function and its arguments come by themselves."""
    return constructor_names(operator_class) - {"python_callable", "op_args", "op_kwargs"}


class TaskFactory:
    """What `@task` leaves in place of the function."""

    def __init__(self, operator_class: type[BaseOperator], function: Callable[..., Any], given: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.operator_class = operator_class
        self.function = function
        self.given = given
        self._check_names(given)
        if "multiple_outputs" not in given and operator_class is DecoratedPython and _has_multiple_outputs(function):
            self.given = {**given, "multiple_outputs": True}

    def _check_names(self, given: Mapping[str, Any]) -> None:
        known = _known(self.operator_class)
        for name in given:
            if name not in known:
                raise unknown_parameter(f"{self.operator_class.shown_as} {self.function.__name__!r}", name, known)

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        self._check_arguments(args, kwargs, partial=False)
        operator = self.operator_class(
            python_callable=self.function, op_args=args, op_kwargs=kwargs, **self._parameters()
        )
        return operator.output

    def _parameters(self) -> dict[str, Any]:
        given = dict(self.given)
        given["task_id"] = _free_id(given.get("task_id") or self.function.__name__, given)
        if self.function.__doc__ and not given.get("doc_md"):
            given["doc_md"] = inspect.cleandoc(self.function.__doc__)
        return given

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, partial: bool) -> None:
        if not args and not kwargs and _asks_for_nothing(self.function):
            return
        taken = signature(self.function)
        try:
            if partial:
                taken.bind_partial(*args, **kwargs)
            else:
                from_context = _from_context(self.function).difference(kwargs, list(taken.parameters)[: len(args)])
                taken.bind(*args, **kwargs, **dict.fromkeys(from_context))
        except TypeError as error:
            raise complaint(
                f"The task {self.function.__name__!r} is called wrongly: {error}.", "Correct the call."
            ) from None

    def override(self, **given: Any) -> TaskFactory:
        """The same function as a task with other parameters."""
        self._check_names(given)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, given={**self.given, **given})
        return other

    def partial(self, **kwargs: Any) -> FunctionPartial:
        """Arguments that all mapped instances share."""
        self._check_arguments((), kwargs, partial=True)
        return FunctionPartial(self, kwargs)

    def expand(self, **kwargs: Any) -> XComArg:
        """One instance per entry (per combination of entries) of the arguments."""
        found: XComArg = self.partial().expand(**kwargs)
        return found

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """One instance per dict of arguments."""
        found: XComArg = self.partial().expand_kwargs(kwargs, strict=strict)
        return found


@functools.cache
def _asks_for_nothing(function: Callable[..., Any]) -> bool:
    """A call without arguments is right: a worker makes all tasks of a file, and many are called so."""
    unfilled = signature(function).parameters.keys() - _from_context(function)
    parameters = (signature(function).parameters[name] for name in unfilled)
    return all(p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)


@functools.cache
def _from_context(function: Callable[..., Any]) -> frozenset[str]:
    """The parameters that the task's context fills where the call does not."""
    return frozenset(
        name
        for name, p in signature(function).parameters.items()
        if name in CONTEXT_KEYS and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    )


class FunctionPartial(OperatorPartial):
    """A `@task` function with the arguments that its mapped instances share."""

    def __init__(self, factory: TaskFactory, shared: dict[str, Any]) -> None:
        self._factory = factory
        given = {**factory._parameters(), "python_callable": factory.function, "op_kwargs": shared}
        super().__init__(factory.operator_class, given, function_style=True)

    def expand(self, **mapped: Any) -> XComArg:
        known = signature(self._factory.function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            for name in mapped:
                if name not in known:
                    raise unknown_parameter(self.what, name, known)
        found: XComArg = super().expand(**mapped)
        return found


def _free_id(label: str, given: dict[str, Any]) -> str:
    """`label`, or `label__1` and so on where the DAG has that task already."""
    group = given.get("task_group")
    dag = given.get("dag") or getattr(group, "dag", None) or scope.current_dag()
    if dag is None:
        return label
    group = group or scope.current_group(dag)

    def full(candidate: str) -> str:
        found: str = group.child_id(candidate) if group is not None else candidate
        return found

    candidate, number = label, 0
    while full(candidate) in dag.task_dict:
        number += 1
        candidate = f"{label}__{number}"
    return candidate


class _TaskDecorator:
    """`@task`, `@task(retries=2)`, `@task.branch` and so on."""

    _CLASSES: typing.ClassVar[dict[str, type[BaseOperator]]] = {
        "python": DecoratedPython,
        "branch": DecoratedBranch,
        "short_circuit": DecoratedShortCircuit,
        "sensor": DecoratedSensor,
        "bash": DecoratedBash,
    }
    _ADVICE: typing.ClassVar[dict[str, str]] = {
        "virtualenv": "Give the task its own image: executor_config={'pod_override': ...}, and use @task.",
        "external_python": "Use @task.bash and call the other interpreter, or give the task its own image.",
        "branch_virtualenv": "Use @task.branch.",
        "branch_external_python": "Use @task.branch.",
        "docker": "Use @task with executor_config={'pod_override': ...} and the image.",
        "kubernetes": "Use @task with executor_config={'pod_override': ...}: every task is a pod already.",
        "run_if": "Use @task.short_circuit before the task.",
        "skip_if": "Use @task.short_circuit before the task.",
        "setup": "Setup tasks are not supported; use plain dependencies.",
        "teardown": "Use @task(trigger_rule='all_done').",
    }

    def __call__(self, function: Any = None, **given: Any) -> Any:
        return _decorate(DecoratedPython, function, given)

    def __getattr__(self, name: str) -> Any:
        if name in self._CLASSES:
            cls = self._CLASSES[name]
            return lambda function=None, **given: _decorate(cls, function, given)
        if name.startswith("__"):
            raise AttributeError(name)
        raise complaint(
            f"execplane does not support @task.{name}.",
            self._ADVICE.get(name, "Use @task, or one of " + ", ".join(self._CLASSES) + "."),
        )


def _decorate(cls: type[BaseOperator], function: Any, given: dict[str, Any]) -> Any:
    if isinstance(function, str):
        raise complaint(f"@task is given {function!r} without a name.", f"Write @task(task_id={function!r}).")
    if function is None:
        return lambda found: _decorate(cls, found, given)
    if isinstance(function, TaskFactory):
        return TaskFactory(function.operator_class, function.function, {**function.given, **given})
    if not callable(function) or isinstance(function, type):
        raise complaint(f"@task is put on {function!r}.", "Put it on a function.")
    return TaskFactory(cls, function, given)


task = _TaskDecorator()
