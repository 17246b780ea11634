"""EmptyOperator: a node of the graph. The scheduler completes it without a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execplane.sdk.operator import BaseOperator

if TYPE_CHECKING:
    from execplane.sdk.context import Context


class EmptyOperator(BaseOperator):
    """Does nothing."""

    kind = "empty"
    ui_color = "#e8f7e4"

    def execute(self, context: Context) -> Any:
        return None


class DummyOperator(EmptyOperator):
    """EmptyOperator's old name."""
