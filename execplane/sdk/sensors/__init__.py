"""Sensors: tasks that wait, holding their process ("poke") or not ("reschedule")."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from execplane.sdk.sensors.base import BaseSensorOperator as BaseSensorOperator
    from execplane.sdk.sensors.base import PokeReturnValue as PokeReturnValue
    from execplane.sdk.sensors.filesystem import FileSensor as FileSensor
    from execplane.sdk.sensors.python import PythonSensor as PythonSensor

_WHERE = {"BaseSensorOperator": "base", "FileSensor": "filesystem", "PokeReturnValue": "base", "PythonSensor": "python"}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'execplane.sdk.sensors' has no attribute {name!r}")
    return getattr(importlib.import_module(f"execplane.sdk.sensors.{_WHERE[name]}"), name)
