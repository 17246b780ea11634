"""Every parameter that all operators take has an effect: each row of the table has a test here."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from execplane.contract.errors import DagImportError
from execplane.sdk import (
    BashOperator,
    EmptyOperator,
    PythonOperator,
    TaskGroup,
    accepting,
    parameters,
)
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import claim, new_dag, result, run_task, spec_of

Probe = Callable[[dict[str, Any]], Any]


def task_spec(field: str, **more: Any) -> Probe:
    """The TaskSpec's field, of a task that is given the parameter."""

    def probe(given: dict[str, Any]) -> Any:
        with new_dag() as dag:
            EmptyOperator(**{"task_id": "probed", **more, **given})
        return getattr(serialise(dag, defaults=Defaults()).tasks[0], field)

    return probe


def called_by(ending: Callable[..., Any], **run: Any) -> Probe:
    """How often the callback that is the parameter's value was called, when the task ends as `ending` does."""

    def probe(given: dict[str, Any]) -> Any:
        calls: list[Any] = []
        filled = {name: (lambda *args: calls.append(args)) for name in given}
        arguments: dict[str, Any] = {"task_id": "probed", "python_callable": ending, **filled}
        with new_dag() as dag:
            PythonOperator(**arguments)
        run_task(dag, "probed", **run)
        return len(calls)

    return probe


def fail() -> None:
    raise ValueError("no")


def skip() -> None:
    from execplane.sdk import AirflowSkipException

    raise AirflowSkipException("not today")


def environment_variable(name: str) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        with new_dag() as dag:
            PythonOperator(task_id="probed", python_callable=lambda: os.environ.get(name), **given)
        return result(run_task(dag, "probed"))

    return probe


def pushed_keys(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: {"a": 1}, **given)
    return sorted(value.key for value in run_task(dag, "probed").xcoms)


def timed_out(given: dict[str, Any]) -> Any:
    def work() -> str:
        import threading

        try:
            threading.Event().wait(0.3)
        except Exception:
            return "swallowed"
        return "finished"

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=work, **given)
    return run_task(dag, "probed").outcome


def params_seen(given: dict[str, Any]) -> Any:
    with new_dag(params={"size": 1}) as dag:
        PythonOperator(task_id="probed", python_callable=lambda params: params, **given)
    return result(run_task(dag, "probed"))


def logger_used(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        EmptyOperator(task_id="probed", **given)
    return dag.task_dict["probed"].log.name


def dag_of(given: dict[str, Any]) -> Any:
    other = new_dag("other")
    filled = dict.fromkeys(given, other)
    return EmptyOperator(task_id="probed", **filled).dag_id


def group_of(given: dict[str, Any]) -> Any:
    with new_dag():
        filled = {name: TaskGroup("group") for name in given}
        return EmptyOperator(task_id="probed", **filled).task_id


def index_template(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        BashOperator.partial(task_id="probed", **given).expand(bash_command=["true"])
    mapped = spec_of(dag, "probed").mapped
    assert mapped is not None
    return mapped.index_template


no_mail = {"email_on_failure": False, "email_on_retry": False}

OPERATOR_EFFECTS: dict[str, tuple[Any, Probe, Any]] = {
    # name: (a value, what is looked at, what is found there; without the parameter it must be another)
    "task_id": ("renamed", task_spec("task_id"), "renamed"),
    "task_display_name": ("Renamed", task_spec("label"), "Renamed"),
    "owner": ("ann", environment_variable("AIRFLOW_CTX_DAG_OWNER"), "ann"),
    "email": (["a@b.c", "d@e.f"], environment_variable("AIRFLOW_CTX_DAG_EMAIL"), "a@b.c,d@e.f"),
    "retries": (3, task_spec("retries"), 3),
    "retry_delay": (timedelta(seconds=7), task_spec("retry_delay_seconds"), 7.0),
    "retry_exponential_backoff": (True, task_spec("retry_exponential_backoff"), 2.0),
    "max_retry_delay": (60, task_spec("max_retry_delay_seconds"), 60.0),
    "start_date": (datetime(2025, 1, 1), task_spec("start_date"), datetime(2025, 1, 1, tzinfo=UTC)),
    "end_date": (datetime(2025, 1, 1), task_spec("end_date"), datetime(2025, 1, 1, tzinfo=UTC)),
    "depends_on_past": (True, task_spec("depends_on_past"), True),
    "ignore_first_depends_on_past": (False, task_spec("ignore_first_depends_on_past"), False),
    "wait_for_downstream": (True, task_spec("wait_for_downstream"), True),
    "dag": (None, dag_of, "other"),
    "task_group": (None, group_of, "group.probed"),
    "default_args": ({"retries": 4}, task_spec("retries"), 4),
    "params": ({"size": 2}, params_seen, {"size": 2}),
    "priority_weight": (9, task_spec("priority_weight"), 9),
    "weight_rule": ("absolute", task_spec("weight_rule"), "absolute"),
    "queue": ("gpu", task_spec("queue"), "gpu"),
    "pool": ("db", task_spec("pool"), "db"),
    "pool_slots": (2, task_spec("pool_slots"), 2),
    "execution_timeout": (timedelta(milliseconds=50), timed_out, "timeout"),
    "on_execute_callback": (None, called_by(lambda: 1), 1),
    "on_success_callback": (None, called_by(lambda: 1), 1),
    "on_failure_callback": (None, called_by(fail), 1),
    "on_retry_callback": (None, called_by(fail, answer=claim(max_tries=2)), 1),
    "on_skipped_callback": (None, called_by(skip), 1),
    "pre_execute": (None, called_by(lambda: 1), 1),
    "post_execute": (None, called_by(lambda: 1), 1),
    "trigger_rule": ("one_failed", task_spec("trigger_rule"), "one_failed"),
    "resources": ({"cpus": 2}, task_spec("resources"), {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}),
    "executor": ("kubernetes", task_spec("executor"), "kubernetes"),
    "executor_config": (
        {"pod_override": {"spec": {"x": None}}},
        task_spec("executor_config"),
        {"pod_override": {"spec": {"x": None}}},
    ),
    "do_xcom_push": (False, pushed_keys, []),
    "multiple_outputs": (True, pushed_keys, ["a", "return_value"]),
    "max_active_tis_per_dag": (2, task_spec("max_active_tis_per_dag"), 2),
    "max_active_tis_per_dagrun": (2, task_spec("max_active_tis_per_dagrun"), 2),
    "map_index_template": ("{{ x }}", index_template, "{{ x }}"),
    "logger_name": ("mine", logger_used, "mine"),
    "doc_md": ("# Doc", task_spec("doc_md"), "# Doc"),
}
ALWAYS_GIVEN = {"email": no_mail}


@pytest.mark.parametrize("name", sorted(OPERATOR_EFFECTS))
def test_each_operator_parameter_has_its_effect(name: str) -> None:
    value, probe, expected = OPERATOR_EFFECTS[name]
    extra = ALWAYS_GIVEN.get(name, {})
    assert probe({name: value, **extra}) == expected
    assert probe({}) != expected


@pytest.mark.parametrize("name", sorted(set(OPERATOR_EFFECTS) - {"task_id", "dag", "task_group", "default_args"}))
def test_each_operator_parameter_is_taken_from_default_args(name: str) -> None:
    value, probe, expected = OPERATOR_EFFECTS[name]
    if probe in (dag_of, group_of) or name.endswith("_callback") or name in ("pre_execute", "post_execute"):
        value = (lambda *args: None) if value is None else value
    with new_dag(default_args={name: value, **ALWAYS_GIVEN.get(name, {})}) as dag:
        task = EmptyOperator(task_id="probed")
    row = next(row for row in parameters.OPERATOR if row.name == name)
    if name == "params":
        assert dict(dag.params) == value  # the DAG's default_args may hold params for all
        return
    found = getattr(task, row.stored_as)
    if name == "resources":
        assert found == expected
        return
    assert found == row.check(value)
    assert found != row.check(row.default) if row.default is not None else found


def test_the_table_of_operator_effects_is_the_table_of_parameters() -> None:
    assert set(OPERATOR_EFFECTS) == {row.name for row in parameters.OPERATOR}


@pytest.mark.parametrize("row", [row for row in parameters.OPERATOR if row.aliases], ids=lambda row: row.name)
def test_old_names_of_operator_parameters_mean_the_same(row: accepting.Parameter) -> None:
    value, probe, expected = OPERATOR_EFFECTS[row.name]
    for alias in row.aliases:
        assert probe({alias: value}) == expected
    with pytest.raises(DagImportError, match="mean the same"):
        probe({row.name: value, row.aliases[0]: value})
