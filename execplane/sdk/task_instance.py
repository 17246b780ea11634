"""What task code sees as `ti` and `dag_run`: facts from the claim, and XComs through the services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from execplane.contract.keys import NOT_MAPPED
from execplane.contract.messages import RunContext, XComPull, XComValue
from execplane.sdk import xcom
from execplane.sdk.exceptions import AirflowException
from execplane.sdk.log import TASK_LOGGER, LoggingMixin

if TYPE_CHECKING:
    from datetime import datetime

    from execplane.sdk.context import Context
    from execplane.sdk.dags import DAG
    from execplane.sdk.operator import BaseOperator

_UNSET: Any = object()


def _moment(value: datetime | None) -> Any:
    if value is None:
        return None
    import pendulum

    return pendulum.instance(value)


class DagRunView:
    """The run, read-only."""

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

    @property
    def external_trigger(self) -> bool:
        return self.run_type == "manual"

    @property
    def is_backfill(self) -> bool:
        return self.run_type == "backfill"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"dag_run has no {name!r} in execplane: a task knows its own run, not the database.")


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
        self.state = "running"
        self._logger_name = f"{TASK_LOGGER}.instance"
        self._started = context.clock.now()
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
    def start_date(self) -> Any:
        return _moment(self._context.task_facts.first_started_at or self._started)

    @property
    def log_url(self) -> str:
        """The attempt's page; "" when the deployment has no address of its own."""
        base = self._context.claim.web_url.rstrip("/")
        return base

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
        """The XCom of one task (`default` where it pushed none; a list for a mapped one), or a list for a list of
        tasks with None for those that pushed none. Without task_ids: of the task itself."""
        if not isinstance(key, str) or not key:
            raise AirflowException(
                f"xcom_pull is given key={key!r}.", hint="Name the key; a result's is 'return_value'."
            )
        if task_ids is not None and not isinstance(task_ids, str):
            found = []
            for task_id in task_ids:
                value = self._pull(task_id, dag_id, key, include_prior_dates, map_indexes, run_id)
                found.append(default if value is _UNSET else value)
            return found
        own = task_ids is None
        indexes = self.map_index if own and map_indexes is None and self.map_index != NOT_MAPPED else map_indexes
        value = self._pull(task_ids or self.task_id, dag_id, key, include_prior_dates, indexes, run_id)
        return default if value is _UNSET else value

    def pull_argument(self, operator: BaseOperator, key: str, missing: Any) -> Any:
        """An argument's XCom: a list (without None) where the task is mapped, `missing` where it pushed none."""
        value = self._pull(operator.task_id, None, key, False, None, None)
        if value is _UNSET:
            return missing
        return value

    def _pull(
        self, task_id: str, dag_id: str | None, key: str, prior: bool, map_indexes: Any, run_id: str | None
    ) -> Any:
        elsewhere = (dag_id or self.dag_id) != self.dag_id or (run_id or self.run_id) != self.run_id
        if not elsewhere and not prior and map_indexes is None and not self._is_mapped(task_id):
            ready = self._prefetched.get((task_id, key, NOT_MAPPED))
            if ready is not None and not ready.blob:
                return xcom.decode(bytes(ready.value))
        wanted = [map_indexes] if isinstance(map_indexes, int) else None if map_indexes is None else list(map_indexes)
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
        values = [value for value in answer.values if wanted is None or value.map_index in wanted]
        decoded = [xcom.decode(bytes(value.value)) for value in values]
        if isinstance(map_indexes, int):
            return decoded[0] if decoded else _UNSET
        mapped = task_id in answer.mapped_task_ids or (not elsewhere and self._is_mapped(task_id))
        if mapped or wanted is not None:
            return [value for value in decoded if value is not None]
        if not decoded:
            return _UNSET
        return decoded[-1]

    def _is_mapped(self, task_id: str) -> bool:
        from execplane.sdk.mapping import MappedOperator

        dag = self.task.dag
        return dag is not None and isinstance(dag.task_dict.get(task_id), MappedOperator)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"ti has no {name!r} in execplane: a task knows itself, not the database.")
