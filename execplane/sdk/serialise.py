"""A DAG of the author's becomes a DagSpec: checked, canonical, and without the author's Python."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from execplane.contract.dag import DagSpec, GroupSpec, ParamSpec, TaskSpec, TimetableSpec, XComRef
from execplane.contract.errors import DagImportError
from execplane.contract.executor_config import HOLD_ON_FAILURE, LOCAL_EXECUTORS
from execplane.sdk import accepting, checks, executor_config, parameters, resources, scope, timetables, xcom_arg
from execplane.sdk.dags import DAG
from execplane.sdk.exceptions import AirflowDagCycleException, ParamValidationError
from execplane.sdk.mapping import MappedOperator
from execplane.sdk.operator import BaseOperator
from execplane.sdk.options import Defaults
from execplane.sdk.params import ParamsDict

_BY_NAME = {row.name: row for row in parameters.OPERATOR}
_DAG_BY_NAME = {row.name: row for row in parameters.DAG}


def timetable_of(dag: DAG, defaults: Defaults | None = None) -> TimetableSpec:
    """The DAG's timetable; the deployment's semantics come from `defaults`, else from the environment."""
    defaults = defaults or Defaults.from_environment()
    return timetables.describe(
        dag.dag_id, dag.schedule, dag.timezone, dag.timetable_semantics or defaults.timetable_semantics
    )


def serialise(dag: DAG, *, bundle_root: str = "", defaults: Defaults | None = None) -> DagSpec:
    """The DAG in the form that is stored: equal DAGs give equal bytes in any process.

    Raises DagImportError naming file, line, what is wrong and what to write instead.
    """
    defaults = defaults or Defaults.from_environment()
    for place in dag.unexpanded.values():
        raise DagImportError(f"{place}: partial() is never expanded.", hint="Call .expand(...) on it, or remove it.")
    for task in dag.tasks:  # arguments may have been changed after construction
        with scope.position(dag.file, task.line):
            task.set_xcomargs_dependencies()
    _refuse_cycles(dag)
    with scope.position(dag.file, dag.line):
        return _serialise(dag, bundle_root, defaults)


def _serialise(dag: DAG, bundle_root: str, defaults: Defaults) -> DagSpec:
    spec = timetable_of(dag, defaults)
    if spec.kind == "continuous" and dag.max_active_runs != 1:
        raise _wrong(dag, dag.line, "the schedule '@continuous' needs max_active_runs=1", "Set max_active_runs=1.")
    tasks = []
    for task_id in sorted(dag.task_dict):
        with scope.position(dag.file, dag.task_dict[task_id].line):
            tasks.append(_task(dag, dag.task_dict[task_id]))
        _refuse_unknown_executor(dag, tasks[-1], defaults)
        _refuse_hold_without_container(dag, tasks[-1], defaults)
    start = _start(dag, tasks)
    if spec.kind not in ("none", "once") and start is None:
        raise _wrong(dag, dag.line, "a scheduled DAG needs a start_date", "Add start_date=datetime(...).")
    return DagSpec(
        dag_id=dag.dag_id,
        display_name=dag.dag_display_name or "",
        description=dag.description or "",
        doc_md=_doc(dag),
        file=_relative(dag.file, bundle_root),
        tags=_again(dag, _DAG_BY_NAME, "tags"),
        owner_links={str(name): str(link) for name, link in dag.owner_links.items()},
        timetable=spec,
        start_date=_utc(start),
        end_date=_utc(_end(dag, tasks)),
        catchup=defaults.catchup if dag.catchup is None else _again(dag, _DAG_BY_NAME, "catchup"),
        max_active_runs=_again(dag, _DAG_BY_NAME, "max_active_runs"),
        max_active_tasks=_again(dag, _DAG_BY_NAME, "max_active_tasks"),
        dagrun_timeout_seconds=_seconds(_again(dag, _DAG_BY_NAME, "dagrun_timeout")),
        fail_fast=dag.fail_fast,
        is_paused_upon_creation=dag.is_paused_upon_creation,
        render_template_as_native_obj=dag.render_template_as_native_obj,
        params=_params(dag, dag.params, spec),
        param_order=tuple(dag.params),
        executor_config=executor_config.normalise(f"DAG {dag.dag_id!r}", dag.executor_config),
        tasks=tuple(tasks),
        groups=tuple(
            GroupSpec(
                group_id=group_id,
                parent_id=group.parent_group.group_id if group.parent_group is not None else None,
                label=group.group_display_name or group.label,
                tooltip=group.tooltip,
            )
            for group_id, group in sorted(dag.task_group_dict.items())
        ),
    )


def _wrong(dag: DAG, line: int, message: str, hint: str, kind: type[DagImportError] = DagImportError) -> DagImportError:
    return kind(f"{scope.place(dag.file, line)}: DAG {dag.dag_id!r}: {message}.", hint=hint)


def _relative(file: str, bundle_root: str) -> str:
    if not bundle_root:
        return os.path.basename(file)
    return os.path.relpath(os.path.realpath(file), os.path.realpath(bundle_root)).replace(os.sep, "/")


def _again(owner: Any, table: dict[str, accepting.Parameter], name: str) -> Any:
    """An attribute in its accepted form: the author may have assigned it after construction."""
    row = table[name]
    what = f"{getattr(owner, 'operator_name', 'DAG')} {getattr(owner, 'task_id', None) or owner.dag_id!r}"
    return accepting.checked(what, row, getattr(owner, row.stored_as))


def _utc(moment: datetime | None) -> datetime | None:
    """A plain datetime in UTC: pendulum's subclass and zones have no place in what is stored."""
    if moment is None:
        return None
    found = moment.astimezone(UTC)
    return datetime(
        found.year,
        found.month,
        found.day,
        found.hour,
        found.minute,
        found.second,
        found.microsecond,
        tzinfo=UTC,
    )


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()


def _start(dag: DAG, tasks: list[TaskSpec]) -> datetime | None:
    """The DAG's start: its own, else its default_args', else the earliest of its tasks'."""
    if dag.start_date is not None:
        return dag.start_date
    if (default := dag.default_args.get("start_date")) is not None:
        return dag.aware(checks.moment(default))
    starts = [task.start_date for task in tasks if task.start_date is not None]
    return min(starts) if starts else None


def _end(dag: DAG, tasks: list[TaskSpec]) -> datetime | None:
    """The DAG's end: its own, else the latest of its tasks' where every task has one; default_args' is the tasks'."""
    own = dag.aware(_again(dag, _DAG_BY_NAME, "end_date"))
    if own is not None:
        return own
    ends = [task.end_date for task in tasks if task.end_date is not None]
    return max(ends) if ends and len(ends) == len(tasks) else None


def _doc(dag: DAG) -> str:
    doc = dag.doc_md or ""
    if doc.endswith(".md") and "\n" not in doc:
        path = os.path.join(dag.folder, doc)
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise _wrong(
                dag, dag.line, f"doc_md names {doc!r}, which cannot be read ({error})", "Correct it."
            ) from None
    return doc


def _params(dag: DAG, given: ParamsDict, spec: TimetableSpec) -> dict[str, ParamSpec]:
    found = {}
    for name, param in sorted(given._params.items()):
        for what, value in (("its default", param.value), ("its schema", param.schema)):
            try:
                msgspec.json.encode(value)
                msgspec.json.decode(msgspec.json.encode(value))
            except (TypeError, ValueError, msgspec.MsgspecError) as error:
                raise _wrong(
                    dag,
                    dag.line,
                    f"the param {name!r} cannot be stored: {what} is no JSON ({error})",
                    "Use text, numbers, lists and dicts.",
                ) from None
        if param.has_default and spec.kind != "none":
            try:
                param.resolve()
            except ParamValidationError as error:
                raise _wrong(
                    dag,
                    dag.line,
                    f"the param {name!r} has a default that does not fit: {error.message[:-1]}",
                    "Correct the default; scheduled runs use it.",
                ) from None
        elif not param.has_default and spec.kind != "none":
            raise _wrong(
                dag,
                dag.line,
                f"the param {name!r} has no default",
                "Scheduled runs need one, or use schedule=None.",
            )
        found[name] = ParamSpec(
            default=param.value,
            has_default=param.has_default,
            description=param.description or "",
            schema=param.schema,
        )
    return found


def _refuse_unknown_executor(dag: DAG, task: TaskSpec, defaults: Defaults) -> None:
    """An attempt for an executor that nobody runs would wait for ever."""
    if task.executor and defaults.executors and task.executor not in defaults.executors:
        raise _wrong(
            dag,
            task.line,
            f"the task {task.task_id!r} names the executor {task.executor!r}, which this deployment does not run",
            f"Name one of {', '.join(defaults.executors)}, or have it added with EXECPLANE_EXECUTORS.",
        )


def _refuse_hold_without_container(dag: DAG, task: TaskSpec, defaults: Defaults) -> None:
    """A process that has failed is gone: what would be ignored is refused. Which executor a queue means is the
    deployment's business, so a task with a queue of its own may have it where there are pods at all."""
    held = task.executor_config.get(HOLD_ON_FAILURE, dag.executor_config.get(HOLD_ON_FAILURE))
    if not defaults.executors or not held:
        return
    with_containers = [name for name in defaults.executors if name not in LOCAL_EXECUTORS]
    by_queue = with_containers if task.queue not in ("", "default") else []
    likely = task.executor or next(iter(by_queue), defaults.executors[0])
    if likely not in with_containers:
        raise _wrong(
            dag,
            task.line,
            f"the task {task.task_id!r} has {HOLD_ON_FAILURE}, and the executor {likely!r} has no container to hold",
            f"Remove it, or give the task executor={next(iter(with_containers), 'kubernetes')!r}.",
        )


def _refuse_cycles(dag: DAG) -> None:
    """Depth first with a path, so that the cycle can be told; iterative, for long chains."""
    done: set[str] = set()
    for start in sorted(dag.task_dict):
        path: list[str] = []
        on_path: set[str] = set()
        stack = [(start, False)]
        while stack:
            task_id, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(task_id)
                continue
            if task_id in on_path:
                cycle = [*path[path.index(task_id) :], task_id]
                raise _wrong(
                    dag,
                    dag.task_dict[task_id].line,
                    "its tasks form a cycle: " + " >> ".join(cycle),
                    "Remove one of these dependencies.",
                    AirflowDagCycleException,
                )
            if task_id in done:
                continue
            path.append(task_id)
            on_path.add(task_id)
            stack.append((task_id, True))
            stack.extend((later, False) for later in sorted(dag.task_dict[task_id].downstream_task_ids, reverse=True))


def _kind(task: BaseOperator) -> str:
    kind = task.operator_class.kind
    if kind == "empty" and (
        task.on_execute_callback
        or task.on_success_callback
        or "_pre_execute_hook" in task.__dict__
        or "_post_execute_hook" in task.__dict__
        or isinstance(task, MappedOperator)
        or task.operator_class.__name__ not in ("EmptyOperator", "DummyOperator")
    ):
        return "task"
    return kind


def _refs(task: BaseOperator) -> tuple[XComRef, ...]:
    found = set()
    for value in task.argument_values():
        for arg in xcom_arg.find(value):
            found |= {(upstream.task_id, key) for upstream, key in arg.references()}
    return tuple(XComRef(task_id=task_id, key=key) for task_id, key in sorted(found))


def _task(dag: DAG, task: BaseOperator) -> TaskSpec:
    def value(name: str) -> Any:
        return _again(task, _BY_NAME, name)

    group = task.task_group
    start, end = dag.aware(value("start_date")), dag.aware(value("end_date"))
    what = f"{task.operator_name} {task.task_id!r}"
    sensor_mode = getattr(task, "mode", "") if task.operator_class.kind == "sensor" else ""
    if isinstance(task, MappedOperator) and task.operator_class.kind == "sensor":
        sensor_mode = task.partial_kwargs.get("mode", "poke")
    return TaskSpec(
        task_id=task.task_id,
        operator=task.operator_name,
        upstream=tuple(sorted(task.upstream_task_ids)),
        upstream_labels=dict(sorted(task.upstream_labels.items())),
        group_id=group.group_id if group is not None else None,
        label=value("task_display_name") or task.label,
        kind=_kind(task),
        trigger_rule=value("trigger_rule"),
        owner=value("owner"),
        retries=value("retries"),
        retry_delay_seconds=value("retry_delay").total_seconds(),
        retry_exponential_backoff=value("retry_exponential_backoff"),
        max_retry_delay_seconds=_seconds(value("max_retry_delay")),
        execution_timeout_seconds=_seconds(value("execution_timeout")),
        depends_on_past=value("depends_on_past"),
        wait_for_downstream=value("wait_for_downstream"),
        ignore_first_depends_on_past=value("ignore_first_depends_on_past"),
        start_date=_utc(start),
        end_date=_utc(end),
        pool=value("pool"),
        pool_slots=value("pool_slots"),
        priority_weight=value("priority_weight"),
        weight_rule=value("weight_rule"),
        queue=value("queue"),
        executor=value("executor"),
        executor_config=executor_config.normalise(what, task.executor_config),
        resources=resources.normalise(what, task.resources),
        max_active_tis_per_dag=value("max_active_tis_per_dag"),
        max_active_tis_per_dagrun=value("max_active_tis_per_dagrun"),
        mapped=task.spec() if isinstance(task, MappedOperator) else None,
        xcom_refs=_refs(task),
        multiple_outputs=value("multiple_outputs"),
        template_fields=tuple(task.operator_class.template_fields),
        sensor_mode=sensor_mode,
        doc_md=value("doc_md") or "",
        line=task.line,
    )
