"""`DAG` and `@dag`: the tasks of one workflow, when it runs, and what its tasks share."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Any

from execplane.contract.errors import ExecplaneError
from execplane.sdk import accepting, checks, executor_config, parameters, scope
from execplane.sdk.exceptions import DuplicateTaskIdFound
from execplane.sdk.params import DagParam, Param, ParamsDict
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from datetime import timedelta

    from execplane.sdk.groups import TaskGroup
    from execplane.sdk.operator import BaseOperator

_TABLE = accepting.Table(parameters.DAG, parameters.DAG_REFUSED)
_POSITIONAL = ("dag_id", "description", "schedule")


class DAG:
    """One workflow. Use it as `with DAG("id", schedule="@daily", start_date=...):`, or give tasks `dag=`."""

    dag_id: str
    description: str | None
    schedule: Any
    start_date: datetime | None
    end_date: datetime | None
    timetable_semantics: str | None
    catchup: bool | None
    max_active_runs: int
    max_active_tasks: int
    dagrun_timeout: timedelta | None
    default_args: dict[str, Any]
    tags: tuple[str, ...]
    owner_links: dict[str, str]
    doc_md: str | None
    dag_display_name: str | None
    is_paused_upon_creation: bool | None
    fail_fast: bool
    render_template_as_native_obj: bool
    template_searchpath: tuple[str, ...]
    user_defined_macros: dict[str, Any]
    user_defined_filters: dict[str, Any]
    jinja_environment_kwargs: dict[str, Any]
    executor_config: dict[str, Any]
    auto_register: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(_POSITIONAL):
            raise complaint("DAG is given too many arguments without names.", "Name them: start_date=..., and so on.")
        given = {**dict(zip(_POSITIONAL, args, strict=False)), **kwargs}
        if given.get("dag_id") is None:
            raise complaint("DAG lacks the parameter 'dag_id'.", "Name the DAG.")
        what = f"DAG {given['dag_id']!r}"
        found = _TABLE.take(what, given)
        params = found.pop("params")
        for name, value in found.items():
            setattr(self, name, value)
        self.executor_config = executor_config.normalise(what, self.executor_config)
        self.default_args = dict(self.default_args)
        self.params = ParamsDict.checked(what, self.default_args.pop("params", None), params)
        self.file, self.line = scope.author_position()
        self.task_dict: dict[str, BaseOperator] = {}
        self.task_group_dict: dict[str, TaskGroup] = {}
        self.unexpanded: dict[int, str] = {}
        self.timezone: tzinfo = self._settle_dates()
        if not any(name in given for name in ("schedule", "schedule_interval", "timetable")):
            scope.warn(f"{what} has no schedule, so it runs only by hand (Airflow 2 would run it daily).")
        if "concurrency" in given and self.max_active_runs > 1:
            scope.warn(
                f"{what}: concurrency limits each run by itself here, as max_active_tasks does in Airflow 3, not all "
                "runs together, as in Airflow 1 and 2. For those use a pool, or max_active_runs=1."
            )

    def _settle_dates(self) -> tzinfo:
        """The DAG's time zone is its start date's; naive dates are in it (UTC when there is none)."""
        start = self.start_date
        if start is None and (default := self.default_args.get("start_date")) is not None:
            start = checks.moment(default)
        zone = (start.tzinfo if start is not None else None) or UTC
        self.start_date = self.aware(self.start_date, zone)
        self.end_date = self.aware(self.end_date, zone)
        return zone

    def aware(self, moment: datetime | None, zone: tzinfo | None = None) -> datetime | None:
        """`moment` with the DAG's time zone, where it has none."""
        if moment is None or moment.tzinfo is not None:
            return moment
        zone = zone or self.timezone
        localize = getattr(zone, "localize", None)  # pytz zones give wrong offsets by replace()
        if localize is not None:
            found: datetime = localize(moment)
            return found
        return moment.replace(tzinfo=zone)

    # ---- tasks -----------------------------------------------------------------------------------------------------

    def add_task(self, task: BaseOperator) -> None:
        """Make the task the DAG's own. Raises DuplicateTaskIdFound."""
        if task.task_id in self.task_dict and self.task_dict[task.task_id] is not task:
            raise complaint(
                f"The task id {task.task_id!r} is used twice in DAG {self.dag_id!r}.",
                f"Rename one; the first is at line {self.task_dict[task.task_id].line}.",
                DuplicateTaskIdFound,
            )
        if task.task_id in self.task_group_dict:
            raise complaint(
                f"A task and a group of DAG {self.dag_id!r} are both named {task.task_id!r}.",
                "Rename one.",
                DuplicateTaskIdFound,
            )
        self.task_dict[task.task_id] = task
        task._dag = self

    def add_tasks(self, tasks: list[BaseOperator]) -> None:
        for task in tasks:
            self.add_task(task)

    @property
    def tasks(self) -> list[BaseOperator]:
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    @property
    def roots(self) -> list[BaseOperator]:
        return [task for task in self.tasks if not task.upstream_task_ids]

    @property
    def leaves(self) -> list[BaseOperator]:
        return [task for task in self.tasks if not task.downstream_task_ids]

    def has_task(self, task_id: str) -> bool:
        return task_id in self.task_dict

    def get_task(self, task_id: str) -> BaseOperator:
        """The task of this id. Raises ExecplaneError naming those there are."""
        try:
            return self.task_dict[task_id]
        except KeyError:
            raise ExecplaneError(
                f"DAG {self.dag_id!r} has no task {task_id!r}.",
                hint="It has " + ", ".join(sorted(self.task_dict)) + ".",
            ) from None

    def set_dependency(self, upstream_task_id: str, downstream_task_id: str) -> None:
        self.get_task(upstream_task_id).set_downstream(self.get_task(downstream_task_id))

    # ---- the author's habits ---------------------------------------------------------------------------------------

    @property
    def fileloc(self) -> str:
        return self.file

    @property
    def folder(self) -> str:
        """The folder of the DAG file: where template files are looked for first."""
        return os.path.dirname(self.file)

    @property
    def schedule_interval(self) -> Any:
        return self.schedule

    @property
    def concurrency(self) -> int:
        return self.max_active_tasks

    @property
    def owner(self) -> str:
        return ", ".join(sorted({task.owner for task in self.tasks}))

    def param(self, name: str, default: Any = None) -> DagParam:
        """The run's value of a parameter, to be given to a task."""
        return DagParam(name, default)

    def __enter__(self) -> DAG:
        scope.open_dags.append(self)
        self._register()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        scope.open_dags.remove(self)

    def _register(self) -> None:
        if self.auto_register and not any(dag is self for dag in scope.registered):
            scope.registered.append(self)

    def test(self, *args: Any, **kwargs: Any) -> Any:
        raise ExecplaneError("dag.test() is not supported.", hint=f"Run: execplane dags test {self.dag_id}")

    def cli(self) -> Any:
        raise ExecplaneError("dag.cli() is not supported.", hint=f"Run: execplane dags test {self.dag_id}")

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"


def dag(*args: Any, **kwargs: Any) -> Any:
    """`@dag(...)`: calling the decorated function makes the DAG; the function's arguments become its params."""
    if len(args) == 1 and not kwargs and callable(args[0]):
        return _factory(args[0], (), {})
    return lambda function: _factory(function, args, kwargs)


def _factory(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., DAG]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def make(*call_args: Any, **call_kwargs: Any) -> DAG:
        given = {**dict(zip(_POSITIONAL, args, strict=False)), **kwargs}
        given.setdefault("dag_id", function.__name__)
        if function.__doc__ and not given.get("doc_md"):
            given["doc_md"] = inspect.cleandoc(function.__doc__)
        bound = signature.bind_partial(*call_args, **call_kwargs)
        bound.apply_defaults()
        made = DAG(**given)
        arguments = {}
        for name in signature.parameters:
            value = bound.arguments.get(name, Param())  # without a default the run's conf must give it
            made.params[name] = value
            arguments[name] = DagParam(name, value.value if isinstance(value, Param) else value)
        with made:
            function(**arguments)
        return made

    return make
