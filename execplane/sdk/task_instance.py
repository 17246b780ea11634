"""What task code sees as `ti` and `dag_run`: facts from the claim, and XComs through the services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from execplane.contract.keys import NOT_MAPPED
from execplane.contract.messages import RunContext, XComPull, XComValue
from execplane.contract.states import RunState, TaskState
from execplane.sdk import xcom
from execplane.sdk.exceptions import AirflowException
from execplane.sdk.log import TASK_LOGGER, LoggingMixin

if TYPE_CHECKING:
    from datetime import datetime

    from execplane.sdk.context import Context
    from execplane.sdk.dags import DAG
    from execplane.sdk.operator import BaseOperator

_UNSET: Any = object()

_API = "GET /api/v1/dags/<dag_id>/dagRuns/<run_id>"
_INSTANCES = f"Use the REST API: {_API}/taskInstances."
_BEFORE = "Use prev_start_date_success and the other prev_... names of the context."
_INSTEAD = {
    "get_previous_dagrun": _BEFORE,
    "get_previous_scheduled_dagrun": _BEFORE,
    "get_previous_ti": _BEFORE,
    "get_task_instance": _INSTANCES,
    "get_task_instances": _INSTANCES,
    "previous_ti": _BEFORE,
    "previous_ti_success": _BEFORE,
    "set_state": "Raise AirflowFailException or AirflowSkipException to end the task.",
}
"""What to use for what Airflow's objects read from, or write to, the database."""


def _absent(what: str, name: str) -> AttributeError:
    if name.startswith("__"):
        return AttributeError(name)
    instead = _INSTEAD.get(name, f"For what happened around it use the REST API: {_API}.")
    return AttributeError(f"{what} has no {name!r} in execplane: a task knows itself, not the database. {instead}")


def _moment(value: datetime | None) -> Any:
    if value is None:
        return None
    import pendulum

    return pendulum.instance(value)


class DagRunView:
    """The run, read-only, as it was when the task started: it had not ended."""

    state = RunState.RUNNING
    end_date = None

    def __init__(self, dag_id: str, run_id: str, run: RunContext, dag: DAG | None) -> None:
        self.dag_id = dag_id
        self.run_id = run_id
        self.run_type = run.run_type
        self.conf = dict(run.conf)
        self.dag = dag
        self._run = run

    @property
    def logical_date(self) -> Any:
        return _moment(self._run.logical_date)

    execution_date = logical_date

    @property
    def data_interval_start(self) -> Any:
        return _moment(self._run.data_interval_start)

    @property
    def data_interval_end(self) -> Any:
        return _moment(self._run.data_interval_end)

    @property
    def run_after(self) -> Any:
        return _moment(self._run.run_after)

    @property
    def start_date(self) -> Any:
        return _moment(self._run.started_at)

    @property
    def queued_at(self) -> Any:
        return _moment(self._run.queued_at)

    def get_state(self) -> RunState:
        return self.state

    @property
    def external_trigger(self) -> bool:
        return self.run_type == "manual"

    @property
    def is_backfill(self) -> bool:
        return self.run_type == "backfill"

    def __getattr__(self, name: str) -> Any:
        raise _absent("dag_run", name)


class _Several(list[Any]):
    """Values of several instances; a plain list is one value."""


class TaskInstanceView(LoggingMixin):
    """The task instance that runs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        key, facts = context.key, context.task_facts
        self.dag_id = key.dag_id
        self.task_id = key.task_id
        self.run_id = key.run_id
        self.map_index = key.map_index
        self.key = key
        self.try_number = facts.try_number
        self.max_tries = facts.max_tries - 1  # Airflow counts the retries, the claim the last try
        self.pool = facts.pool
        self.queue = facts.queue
        self.priority_weight = facts.priority_weight
        self.state = TaskState.RUNNING
        self._logger_name = f"{TASK_LOGGER}.instance"
        self._started = context.clock.now()
        self._ended: datetime | None = None
        self._prefetched = {(value.task_id, value.key, value.map_index): value for value in context.claim.xcoms}

    @property
    def task(self) -> BaseOperator:
        return self._context.task

    @property
    def operator(self) -> str:
        return self.task.operator_name

    @property
    def hostname(self) -> str:
        from execplane.sdk.context import hostname

        return hostname()

    @property
    def dag_run(self) -> DagRunView:
        return self._context.dag_run

    def get_dagrun(self, session: Any = None) -> DagRunView:
        return self._context.dag_run

    def get_template_context(self, session: Any = None) -> Context:
        return self._context

    @property
    def logical_date(self) -> Any:
        return _moment(self._context.run.logical_date)

    execution_date = logical_date

    @property
    def _first_started(self) -> datetime:
        return self._context.task_facts.first_started_at or self._started

    @property
    def start_date(self) -> Any:
        return _moment(self._first_started)

    @property
    def end_date(self) -> Any:
        """None until the task's code has ended; the callbacks after it know it."""
        return _moment(self._ended)

    @property
    def duration(self) -> float | None:
        """Seconds from start_date to end_date."""
        return None if self._ended is None else max(0.0, (self._ended - self._first_started).total_seconds())

    def ended(self, state: TaskState) -> None:
        """The task's code has ended so: what callbacks see."""
        self.state = state
        self._ended = self._context.clock.now()

    def current_state(self, session: Any = None) -> TaskState:
        return self.state

    @property
    def log_url(self) -> str:
        """The page of the attempt's log; "" under `dags test`, which has none."""
        return self._context.claim.web_url

    def is_eligible_to_retry(self) -> bool:
        return self.try_number <= self.max_tries

    # ---- XComs -----------------------------------------------------------------------------------------------------

    def xcom_push(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        """Keep `value` under `key` for other tasks, at once."""
        if args or kwargs:
            raise AirflowException("xcom_push takes key and value; an execution_date is not supported.")
        if not isinstance(key, str) or not key:
            raise AirflowException(f"xcom_push is given the key {key!r}, and keys are non-empty text.")
        self._context.services.xcom_push((self.packed(key, value),))

    def packed(self, key: str, value: Any) -> XComValue:
        """The XCom in the form that travels. Raises XComEncodeError, and AirflowException above the size limit."""
        data = xcom.encode(value, task=self.task_id)
        limit = self._context.claim.xcom_max_bytes
        if len(data) > limit:
            raise AirflowException(
                f"The XCom {key!r} of task {self.task_id!r} has {len(data)} bytes, and the limit is {limit}.",
                hint="Write the data to storage of your own, and return where it is.",
            )
        return XComValue(task_id=self.task_id, key=key, map_index=self.map_index, value=msgspec.Raw(data))

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: Any = xcom.RETURN_KEY,
        include_prior_dates: bool = False,
        *,
        map_indexes: int | Iterable[int] | None = None,
        default: Any = None,
        run_id: str | None = None,
        session: Any = None,
    ) -> Any:
        """The XCom of one task (`default` where it pushed none; a list for a mapped one), or a flat list for a list of
        tasks: one entry for a task (`default` where it pushed none), as many as it pushed for a mapped one. Without
        task_ids: of the task itself. `map_indexes` in the order wanted."""
        if not isinstance(key, str) or not key:
            raise AirflowException(
                f"xcom_pull is given key={key!r}.", hint="Name the key; a result's is 'return_value'."
            )
        indexes = map_indexes if map_indexes is None or isinstance(map_indexes, int) else tuple(map_indexes)
        if task_ids is not None and not isinstance(task_ids, str):
            found: list[Any] = []
            for task_id in task_ids:
                value = self._pull(task_id, dag_id, key, include_prior_dates, indexes, run_id)
                found += value if isinstance(value, _Several) else [default if value is _UNSET else value]
            return found
        if task_ids is None and indexes is None and self.map_index != NOT_MAPPED:
            indexes = self.map_index
        value = self._pull(task_ids or self.task_id, dag_id, key, include_prior_dates, indexes, run_id)
        if isinstance(value, _Several):
            return list(value)
        return default if value is _UNSET else value

    def pull_argument(self, operator: BaseOperator, key: str, missing: Any) -> Any:
        """An argument's XCom: a list (without None) where the task is mapped, `missing` where it pushed none."""
        value = self._pull(operator.task_id, None, key, False, None, None)
        if isinstance(value, _Several):
            return list(value)
        return missing if value is _UNSET else value

    def _pull(
        self,
        task_id: str,
        dag_id: str | None,
        key: str,
        prior: bool,
        indexes: int | tuple[int, ...] | None,
        run_id: str | None,
    ) -> Any:
        """One value, _UNSET, or _Several of a mapped task (or of several indexes)."""
        elsewhere = (dag_id or self.dag_id) != self.dag_id or (run_id or self.run_id) != self.run_id
        if not elsewhere and not prior and indexes is None and not self._is_mapped(task_id):
            ready = self._prefetched.get((task_id, key, NOT_MAPPED))
            if ready is not None and not ready.blob:
                return xcom.decode(bytes(ready.value))
        wanted = (indexes,) if isinstance(indexes, int) else indexes
        answer = self._context.services.xcom_pull(
            XComPull(
                task_ids=(task_id,),
                key=key,
                map_index=wanted[0] if wanted is not None and len(wanted) == 1 else None,
                include_prior_dates=prior,
                dag_id=dag_id if elsewhere and dag_id else "",
                run_id=run_id if elsewhere and run_id else "",
            )
        )
        values = list(answer.values)
        if wanted is not None:
            by_index = {value.map_index: value for value in values}
            values = [by_index[index] for index in wanted if index in by_index]
        decoded = [xcom.decode(bytes(value.value)) for value in values]
        mapped = task_id in answer.mapped_task_ids or (not elsewhere and self._is_mapped(task_id))
        if not isinstance(indexes, int) and (mapped or wanted is not None):
            return _Several(value for value in decoded if value is not None)
        return decoded[-1] if decoded else _UNSET

    def _is_mapped(self, task_id: str) -> bool:
        from execplane.sdk.mapping import MappedOperator

        dag = self.task.dag
        return dag is not None and isinstance(dag.task_dict.get(task_id), MappedOperator)

    def __getattr__(self, name: str) -> Any:
        raise _absent("ti", name)
