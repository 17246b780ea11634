"""The operators that come with execplane: `from execplane.sdk.operators import BashOperator`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from execplane.sdk.operators.bash import BashOperator as BashOperator
    from execplane.sdk.operators.branch import BaseBranchOperator as BaseBranchOperator
    from execplane.sdk.operators.branch import BranchPythonOperator as BranchPythonOperator
    from execplane.sdk.operators.empty import DummyOperator as DummyOperator
    from execplane.sdk.operators.empty import EmptyOperator as EmptyOperator
    from execplane.sdk.operators.latest_only import LatestOnlyOperator as LatestOnlyOperator
    from execplane.sdk.operators.python import PythonOperator as PythonOperator
    from execplane.sdk.operators.python import ShortCircuitOperator as ShortCircuitOperator

_WHERE = {
    "BaseBranchOperator": "branch",
    "BashOperator": "bash",
    "BranchPythonOperator": "branch",
    "DummyOperator": "empty",
    "EmptyOperator": "empty",
    "LatestOnlyOperator": "latest_only",
    "PythonOperator": "python",
    "ShortCircuitOperator": "python",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'execplane.sdk.operators' has no attribute {name!r}")
    return getattr(importlib.import_module(f"execplane.sdk.operators.{_WHERE[name]}"), name)
