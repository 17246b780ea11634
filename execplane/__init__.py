"""execplane: workflow tasks on Kubernetes that operators can see through.

The package root loads lazily: a DAG file's `from execplane import DAG` must not pull Django in, and
`import execplane.contract` must load neither the sdk nor Django.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from execplane.sdk import (
        DAG,
        Connection,
        Param,
        TaskGroup,
        TriggerRule,
        Variable,
        chain,
        cross_downstream,
        dag,
        get_current_context,
        task,
        task_group,
    )

__all__ = [
    "DAG",
    "Connection",
    "Param",
    "TaskGroup",
    "TriggerRule",
    "Variable",
    "__version__",
    "chain",
    "cross_downstream",
    "dag",
    "get_current_context",
    "task",
    "task_group",
]


def __getattr__(name: str) -> object:
    """What a DAG author imports lives in `execplane.sdk`; it is loaded at the first use of a name."""
    if name not in __all__:
        raise AttributeError(f"module 'execplane' has no attribute {name!r}")
    return getattr(import_module("execplane.sdk"), name)
