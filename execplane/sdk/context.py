"""The context of a running task: what templates, callables and callbacks can ask for, each value made when asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from execplane.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from execplane.contract.clock import Clock
    from execplane.contract.dag import TimetableSpec
    from execplane.contract.keys import TaskKey
    from execplane.contract.messages import ClaimAnswer, RunContext, TaskContext
    from execplane.sdk.operator import BaseOperator
    from execplane.sdk.services import Services
    from execplane.sdk.task_instance import DagRunView, TaskInstanceView

Maker = Callable[["Context"], Any]


def sleep(seconds: float) -> None:
    """A sensor's pause in its own process, which does nothing else meanwhile."""
    time.sleep(seconds)  # noqa: TID251  a sensor in poke mode holds its process by definition; tests pass another


def _moment(value: datetime | None) -> Any:
    if value is None:
        return None
    import pendulum

    return pendulum.instance(value)


def _required(value: datetime | None) -> Any:
    if value is None:
        raise KeyError("this run has no logical date")
    return _moment(value)


def _logical(context: Context) -> Any:
    return _required(context.run.logical_date)


def _nodash(text: str) -> str:
    return text.replace("-", "")


def _macros(context: Context) -> Any:
    from execplane.sdk import macros

    return macros


def _var(context: Context) -> Any:
    from execplane.sdk.macros import VariableAccess

    return VariableAccess()


def _conn(context: Context) -> Any:
    from execplane.sdk.macros import ConnectionAccess

    return ConnectionAccess()


def _conf(context: Context) -> Any:
    from execplane.sdk.airflow.configuration import conf

    return conf


def _next(context: Context) -> Any:
    from execplane.sdk import timetables

    start, end = context.run.data_interval_start, context.run.data_interval_end
    if start is not None and end is not None and end > start:
        return _moment(end)
    logical = context.run.logical_date
    return None if logical is None else _moment(timetables.following(context.timetable, logical))


def _previous(context: Context) -> Any:
    from execplane.sdk import timetables

    logical = context.run.logical_date
    return None if logical is None else _moment(timetables.preceding(context.timetable, logical))


def _day(moment: Any) -> Any:
    return None if moment is None else moment.strftime("%Y-%m-%d")


def _task_instance_key(context: Context) -> str:
    ti = context.ti
    return f"{ti.dag_id}__{ti.task_id}__{context['ds_nodash']}"


_MAKERS: dict[str, Maker] = {
    "conf": _conf,
    "conn": _conn,
    "dag": lambda c: c.task.dag,
    "dag_run": lambda c: c.dag_run,
    "data_interval_end": lambda c: _moment(c.run.data_interval_end),
    "data_interval_start": lambda c: _moment(c.run.data_interval_start),
    "ds": lambda c: _day(_logical(c)),
    "ds_nodash": lambda c: _nodash(c["ds"]),
    "exception": lambda c: None,
    "execution_date": _logical,
    "expanded_ti_count": lambda c: c.task_facts.mapped_lengths.get(c.key.task_id) if c.key.map_index >= 0 else None,
    "inlet_events": lambda c: {},
    "inlets": lambda c: [],
    "logical_date": _logical,
    "macros": _macros,
    "map_index_template": lambda c: c.task.map_index_template,
    "next_ds": lambda c: _day(_next(c)),
    "next_ds_nodash": lambda c: _nodash(c["next_ds"] or ""),
    "next_execution_date": _next,
    "outlet_events": lambda c: {},
    "outlets": lambda c: [],
    "params": lambda c: c.params,
    "prev_data_interval_end_success": lambda c: _moment(c.run.previous_success_interval_end),
    "prev_data_interval_start_success": lambda c: _moment(c.run.previous_success_interval_start),
    "prev_ds": lambda c: _day(_previous(c)),
    "prev_ds_nodash": lambda c: _nodash(c["prev_ds"] or ""),
    "prev_end_date_success": lambda c: _moment(c.run.previous_success_ended_at),
    "prev_execution_date": _previous,
    "prev_execution_date_success": lambda c: _moment(c.run.previous_success_logical_date),
    "prev_start_date_success": lambda c: _moment(c.run.previous_success_started_at),
    "reason": lambda c: "",
    "run_id": lambda c: c.key.run_id,
    "task": lambda c: c.task,
    "task_instance": lambda c: c.ti,
    "task_instance_key_str": _task_instance_key,
    "templates_dict": lambda c: getattr(c.task, "templates_dict", None),
    "test_mode": lambda c: c.test_mode,
    "ti": lambda c: c.ti,
    "tomorrow_ds": lambda c: _day(_logical(c).add(days=1)),
    "tomorrow_ds_nodash": lambda c: _nodash(c["tomorrow_ds"]),
    "triggering_asset_events": lambda c: {},
    "triggering_dataset_events": lambda c: {},
    "triggering_user_name": lambda c: c.run.triggered_by or None,
    "ts": lambda c: _logical(c).isoformat(),
    "ts_nodash": lambda c: _logical(c).strftime("%Y%m%dT%H%M%S"),
    "ts_nodash_with_tz": lambda c: c["ts"].replace("-", "").replace(":", ""),
    "var": _var,
    "yesterday_ds": lambda c: _day(_logical(c).subtract(days=1)),
    "yesterday_ds_nodash": lambda c: _nodash(c["yesterday_ds"]),
}
CONTEXT_KEYS = frozenset(_MAKERS)
_NEED_LOGICAL_DATE = frozenset(
    {
        "ds", "ds_nodash", "execution_date", "logical_date", "task_instance_key_str", "tomorrow_ds",
        "tomorrow_ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "yesterday_ds", "yesterday_ds_nodash",
    }
)  # fmt: skip


class Context(MutableMapping[str, Any]):
    """A mapping of the names above. A run without a logical date has no `ds`, `ts` and their kin."""

    task: BaseOperator
    key: TaskKey
    run: RunContext
    task_facts: TaskContext
    claim: ClaimAnswer
    services: Services
    clock: Clock
    sleep: Callable[[float], None]
    test_mode: bool
    params: dict[str, Any]
    expansions: dict[int, Any]
    """Entries that mapped arguments came from, by the argument's id: resolved once."""
    dropped: set[str]
    ti: TaskInstanceView
    dag_run: DagRunView

    def __init__(
        self,
        *,
        task: BaseOperator,
        key: TaskKey,
        claim: ClaimAnswer,
        services: Services,
        clock: Clock,
        pause: Callable[[float], None] = sleep,
        test_mode: bool = False,
    ) -> None:
        from execplane.sdk.task_instance import DagRunView, TaskInstanceView

        self.task = task
        self.key = key
        self.run = claim.run
        self.task_facts = claim.task
        self.claim = claim
        self.services = services
        self.clock = clock
        self.sleep = pause
        self.test_mode = test_mode
        self.params = {}
        self.expansions = {}
        self.dropped = set()
        self.ti = TaskInstanceView(self)
        self.dag_run = DagRunView(key.dag_id, key.run_id, claim.run, task.dag)
        self._values: dict[str, Any] = {}

    @property
    def timetable(self) -> TimetableSpec:
        from execplane.sdk.serialise import timetable_of

        return timetable_of(self.task.dag)

    def drop(self, task_ids: set[str]) -> None:
        """Tasks that this one decides to skip, once it has succeeded."""
        self.dropped |= task_ids

    def airflow_variables(self) -> dict[str, str]:
        """The AIRFLOW_CTX_* environment of this task."""
        logical = self.run.logical_date.isoformat() if self.run.logical_date is not None else ""
        email = self.task.email or ()
        found = {
            "AIRFLOW_CTX_DAG_OWNER": self.task.owner,
            "AIRFLOW_CTX_DAG_EMAIL": email if isinstance(email, str) else ",".join(email),
            "AIRFLOW_CTX_DAG_ID": self.key.dag_id,
            "AIRFLOW_CTX_TASK_ID": self.key.task_id,
            "AIRFLOW_CTX_EXECUTION_DATE": logical,
            "AIRFLOW_CTX_LOGICAL_DATE": logical,
            "AIRFLOW_CTX_TRY_NUMBER": str(self.task_facts.try_number),
            "AIRFLOW_CTX_DAG_RUN_ID": self.key.run_id,
        }
        if self.key.map_index >= 0:
            found["AIRFLOW_CTX_MAP_INDEX"] = str(self.key.map_index)
        return {name: value for name, value in found.items() if value}

    # ---- the mapping -----------------------------------------------------------------------------------------------

    def _has(self, name: str) -> bool:
        if name in _NEED_LOGICAL_DATE and self.run.logical_date is None:
            return False
        return name in CONTEXT_KEYS

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if not self._has(name):
            raise KeyError(name)
        found = self._values[name] = _MAKERS[name](self)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._values or self._has(name))

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in _MAKERS if self._has(name) and name not in self._values)
        yield from self._values

    def __len__(self) -> int:
        return sum(1 for _ in self)


_stack: list[Context] = []


@contextmanager
def running(context: Context) -> Iterator[None]:
    """`get_current_context()` gives `context` inside; the AIRFLOW_CTX_* variables stand in the environment."""
    _stack.append(context)
    variables = context.airflow_variables()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        _stack.remove(context)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def get_current_context() -> Context:
    """The running task's context. Raises AirflowException where no task runs."""
    if not _stack:
        raise AirflowException("There is no current context: no task runs here.", hint="Call it inside a task.")
    return _stack[-1]


def hostname() -> str:
    import socket

    return os.environ.get("HOSTNAME") or socket.gethostname()
