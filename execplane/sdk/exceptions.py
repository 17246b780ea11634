"""The exceptions that task code raises and catches, under Airflow's names.

How a task ends is decided by which of these leaves it; see `execplane.sdk.execution`.
"""

from __future__ import annotations

from datetime import datetime

from execplane.contract.errors import DagImportError, ExecplaneError


class AirflowException(ExecplaneError):
    """A task's ordinary failure: it is retried while it has tries left."""

    def __init__(self, *args: object, hint: str = "") -> None:
        super().__init__(str(args[0]) if args else "", hint=hint)
        self.args = args


class AirflowFailException(AirflowException):
    """Fail now, without any retry."""


class AirflowSkipException(AirflowException):
    """End as skipped."""


class AirflowSensorTimeout(AirflowException):
    """A sensor waited its `timeout`: fails without retry, or skips when `soft_fail`."""


class AirflowRescheduleException(AirflowException):
    """End this attempt and start another of the same try at `reschedule_date`."""

    def __init__(self, reschedule_date: datetime) -> None:
        super().__init__(f"to be looked at again at {reschedule_date.isoformat()}")
        self.reschedule_date = reschedule_date


class AirflowNotFoundException(AirflowException):
    """A connection (or another named thing) does not exist."""


class AirflowConfigException(AirflowException):
    """A configuration key that Airflow has and execplane has not."""


class VariableNotFound(AirflowException, KeyError):
    """A Variable does not exist; a KeyError, as Airflow's `Variable.get` raises."""


class XComNotFound(AirflowException):
    """The XCom that an argument refers to was never pushed."""


class XComEncodeError(AirflowException):
    """A value cannot be kept as an XCom; says which type, and what to return instead."""


class XComDecodeError(AirflowException):
    """A stored XCom cannot be read here, mostly because its dataclass cannot be imported."""


class ParamValidationError(AirflowException):
    """A run's parameter does not fit its schema."""


class UnmappableXComTypePushed(AirflowException):
    """A task that others map over returned something without a length."""


class AirflowTaskTimeout(BaseException):
    """`execution_timeout` has passed. A BaseException, so that `except Exception` in a task does not swallow it."""


class AirflowTaskTerminated(BaseException):
    """The task was told to stop: the worker raises it in the task's thread on SIGTERM, with the reason."""


class DuplicateTaskIdFound(DagImportError):
    """Two tasks (or a task and a group) of one DAG have the same id."""


class AirflowDagCycleException(DagImportError):
    """The tasks depend on each other in a circle."""


class UnsupportedImport(DagImportError, ModuleNotFoundError):
    """A DAG file imports something of Airflow that execplane does not have; an ImportError, so that an author's
    `except ImportError` works."""
