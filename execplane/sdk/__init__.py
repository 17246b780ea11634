"""What a DAG author imports. Names load their modules when they are first used: an import costs what it uses."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from execplane.sdk.connections import BaseHook, Connection
    from execplane.sdk.context import Context, get_current_context
    from execplane.sdk.dags import DAG, dag
    from execplane.sdk.decorators import task
    from execplane.sdk.edges import Label, chain, chain_linear, cross_downstream
    from execplane.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    from execplane.sdk.groups import TaskGroup, task_group
    from execplane.sdk.operator import BaseOperator
    from execplane.sdk.operators.bash import BashOperator
    from execplane.sdk.operators.branch import BaseBranchOperator, BranchPythonOperator
    from execplane.sdk.operators.empty import DummyOperator, EmptyOperator
    from execplane.sdk.operators.latest_only import LatestOnlyOperator
    from execplane.sdk.operators.python import PythonOperator, ShortCircuitOperator
    from execplane.sdk.params import Param
    from execplane.sdk.sensors.base import BaseSensorOperator, PokeReturnValue
    from execplane.sdk.sensors.filesystem import FileSensor
    from execplane.sdk.sensors.python import PythonSensor
    from execplane.sdk.variables import Variable
    from execplane.sdk.xcom_arg import XComArg

_MODULES: dict[str, tuple[str, ...]] = {
    "execplane.contract.states": ("TriggerRule",),
    "execplane.sdk.connections": ("BaseHook", "Connection"),
    "execplane.sdk.context": ("Context", "get_current_context"),
    "execplane.sdk.dags": ("DAG", "dag"),
    "execplane.sdk.decorators": ("task",),
    "execplane.sdk.edges": ("Label", "chain", "chain_linear", "cross_downstream"),
    "execplane.sdk.exceptions": (
        "AirflowException",
        "AirflowFailException",
        "AirflowNotFoundException",
        "AirflowRescheduleException",
        "AirflowSensorTimeout",
        "AirflowSkipException",
        "AirflowTaskTerminated",
        "AirflowTaskTimeout",
        "XComNotFound",
    ),
    "execplane.sdk.groups": ("TaskGroup", "task_group"),
    "execplane.sdk.operator": ("BaseOperator",),
    "execplane.sdk.operators.bash": ("BashOperator",),
    "execplane.sdk.operators.branch": ("BaseBranchOperator", "BranchPythonOperator"),
    "execplane.sdk.operators.empty": ("DummyOperator", "EmptyOperator"),
    "execplane.sdk.operators.latest_only": ("LatestOnlyOperator",),
    "execplane.sdk.operators.python": ("PythonOperator", "ShortCircuitOperator"),
    "execplane.sdk.params": ("Param",),
    "execplane.sdk.sensors.base": ("BaseSensorOperator", "PokeReturnValue"),
    "execplane.sdk.sensors.filesystem": ("FileSensor",),
    "execplane.sdk.sensors.python": ("PythonSensor",),
    "execplane.sdk.templating": ("literal",),
    "execplane.sdk.timetables": (
        "CronDataIntervalTimetable",
        "CronTriggerTimetable",
        "DeltaDataIntervalTimetable",
        "DeltaTriggerTimetable",
    ),
    "execplane.sdk.variables": ("Variable",),
    "execplane.sdk.xcom_arg": ("XComArg",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
_SUBMODULES = frozenset({"exceptions", "macros", "operators", "sensors", "timetables"})

__all__ = [
    "DAG", "AirflowException", "AirflowFailException", "AirflowNotFoundException", "AirflowRescheduleException",
    "AirflowSensorTimeout", "AirflowSkipException", "AirflowTaskTerminated", "AirflowTaskTimeout", "BaseBranchOperator",
    "BaseHook", "BaseOperator", "BaseSensorOperator", "BashOperator", "BranchPythonOperator", "Connection", "Context",
    "CronDataIntervalTimetable", "CronTriggerTimetable", "DeltaDataIntervalTimetable", "DeltaTriggerTimetable",
    "DummyOperator", "EmptyOperator", "FileSensor", "Label", "LatestOnlyOperator", "Param", "PokeReturnValue",
    "PythonOperator", "PythonSensor", "ShortCircuitOperator", "TaskGroup", "TriggerRule", "Variable", "XComArg",
    "XComNotFound", "chain", "chain_linear", "cross_downstream", "dag", "get_current_context", "literal", "task",
    "task_group",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        found = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = found
        return found
    if name in _SUBMODULES:
        return importlib.import_module(f"execplane.sdk.{name}")
    raise AttributeError(f"module 'execplane.sdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*_WHERE, *_SUBMODULES})


def warm() -> None:
    """Import all that tasks commonly need, before a process forks its workers."""
    vendors = ("jinja2.nativetypes", "jinja2.sandbox", "jinja2.ext", "pendulum", "cronsim")
    ours = ("execplane.sdk.execution", "execplane.sdk.loader", "execplane.sdk.templating", "execplane.sdk.macros")
    for module in (*vendors, *ours, *_MODULES):
        importlib.import_module(module)
