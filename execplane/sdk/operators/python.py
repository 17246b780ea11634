"""PythonOperator and ShortCircuitOperator, and how a callable gets what it asks for of the context."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from execplane.contract.states import TriggerRule
from execplane.sdk import context as contexts
from execplane.sdk.operator import BaseOperator
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.sdk.context import Context


class PythonOperator(BaseOperator):
    """Calls `python_callable(*op_args, **op_kwargs)`, with those names of the context that it has parameters for."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "op_args": "py",
        "op_kwargs": "py",
        "templates_dict": "json",
    }
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Any = None,
        op_kwargs: Any = None,
        templates_dict: dict[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True,
        provide_context: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(python_callable):
            raise complaint(
                f"{self.operator_name} {self.task_id!r}: python_callable is {python_callable!r}.",
                "Give it a function.",
            )
        if not provide_context:
            raise complaint(
                f"{self.operator_name} {self.task_id!r}: provide_context=False is not supported.",
                "Remove it; a callable gets what its parameters ask for.",
            )
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}
        self.templates_dict = templates_dict
        if templates_exts:
            self.template_ext = tuple(templates_exts)
        self.show_return_value_in_logs = show_return_value_in_logs

    def call(self, context: Context) -> Any:
        """Call the callable, and give back what it gives."""
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        kwargs = wanted_kwargs(self.python_callable, self.op_args, self.op_kwargs, context)
        return self.python_callable(*self.op_args, **kwargs)

    def execute(self, context: Context) -> Any:
        result = self.call(context)
        if self.show_return_value_in_logs:
            self.log.info("Done. Returned value was: %s", result)
        else:
            self.log.info("Done. Returned value not shown")
        return result


class ShortCircuitOperator(PythonOperator):
    """Skips everything downstream when its callable gives something false.

    With ignore_downstream_trigger_rules=False only its direct downstream, and the trigger rules decide beyond.
    """

    kind = "short_circuit"

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules

    def execute(self, context: Context) -> Any:
        condition = super().execute(context)
        if condition:
            return condition
        if self.ignore_downstream_trigger_rules:
            dropped = self.get_flat_relative_ids()
        else:
            dropped = set(self.downstream_task_ids)
        self.log.info("The condition is %r: skipping %s", condition, ", ".join(sorted(dropped)) or "nothing")
        context.drop(droppable(self, dropped))
        return condition


def droppable(task: BaseOperator, ids: set[str]) -> set[str]:
    """Those of `ids` that a decision can skip: a task with the rule `always` has not waited for it."""
    return {name for name in ids if task.dag.task_dict[name].trigger_rule != TriggerRule.ALWAYS}


def wanted_kwargs(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], context: Context
) -> dict[str, Any]:
    """`kwargs`, with the names of the context that the function has parameters for (all of them for **kwargs).

    Raises ValueError, as Airflow does, where a positional argument meets a parameter that the context fills.
    """
    try:
        found = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):  # some builtins have no signature
        return dict(kwargs)
    positional = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][: len(args)]
    for name in positional:
        if name in contexts.CONTEXT_KEYS:
            raise ValueError(f"The key {name!r} in args is a part of kwargs and therefore reserved.")
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return {**{name: value for name, value in context.items() if name not in positional}, **kwargs}
    wanted = dict(kwargs)
    for p in found:
        takes = p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        if takes and p.name not in wanted and p.name not in positional and p.name in context:
            wanted[p.name] = context[p.name]
    # Airflow drops op_kwargs that the callable has no parameter for.
    names = {p.name for p in found}
    return {name: value for name, value in wanted.items() if name in names}
