"""PythonSensor: waits until a callable gives something true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from execplane.sdk.operators.python import wanted_kwargs
from execplane.sdk.sensors.base import BaseSensorOperator

if TYPE_CHECKING:
    from execplane.sdk.context import Context


class PythonSensor(BaseSensorOperator):
    """Pokes by `python_callable(*op_args, **op_kwargs)`; only a PokeReturnValue gives a result."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Any = None,
        op_kwargs: Any = None,
        templates_dict: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}
        self.templates_dict = templates_dict

    def poke(self, context: Context) -> Any:
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        kwargs = wanted_kwargs(self.python_callable, self.op_args, self.op_kwargs, context)
        return self.python_callable(*self.op_args, **kwargs)
