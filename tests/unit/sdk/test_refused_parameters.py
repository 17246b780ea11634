"""What a DAG file may not say is refused with the line, the name, and what to use instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from execplane.contract.errors import DagImportError
from execplane.sdk import (
    DAG,
    BashOperator,
    EmptyOperator,
    accepting,
    parameters,
)
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import new_dag, result, run_task, spec_of

REFUSED_VALUES: dict[str, Any] = {
    "sla": timedelta(hours=1), "run_as_user": "root", "inlets": ["x"], "outlets": ["x"],
    "allow_nested_operators": False, "on_success_callback": print, "on_failure_callback": print,
    "max_consecutive_failed_dag_runs": 3,
}  # fmt: skip


@pytest.mark.parametrize("row", parameters.OPERATOR_REFUSED, ids=lambda row: row.name)
def test_each_refused_operator_parameter_names_file_line_and_what_to_use(row: accepting.Refused) -> None:
    with new_dag(), pytest.raises(DagImportError) as caught:
        EmptyOperator(task_id="probed", **{row.name: REFUSED_VALUES.get(row.name, "yes")})
    assert "test_refused_parameters.py, line " in caught.value.message
    assert f"'{row.name}'" in caught.value.message
    assert "'probed'" in caught.value.message
    assert caught.value.hint == row.advice


@pytest.mark.parametrize("row", parameters.OPERATOR_REFUSED, ids=lambda row: row.name)
def test_a_refused_parameter_passes_with_a_value_that_asks_for_nothing(row: accepting.Refused) -> None:
    for number, value in enumerate(row.harmless):
        with new_dag(f"harmless_{number}"):
            EmptyOperator(task_id="probed", **{row.name: value})


@pytest.mark.parametrize("row", parameters.DAG_REFUSED, ids=lambda row: row.name)
def test_each_refused_dag_parameter_names_line_and_what_to_use(row: accepting.Refused) -> None:
    with pytest.raises(DagImportError, match=rf"line \d+: DAG 'example'.*'{row.name}'") as caught:
        new_dag(**{row.name: REFUSED_VALUES.get(row.name, "yes")})
    assert caught.value.hint == row.advice
    for value in row.harmless:
        new_dag(**{row.name: value})


def test_a_refused_parameter_in_default_args_is_refused_too() -> None:
    with new_dag(default_args={"sla": timedelta(hours=1)}), pytest.raises(DagImportError, match="'sla'"):
        EmptyOperator(task_id="probed")


def test_an_unknown_parameter_is_named_with_the_nearest_known_one() -> None:
    with new_dag(), pytest.raises(DagImportError, match=r"has no parameter 'retires'.*Did you mean 'retries'"):
        EmptyOperator(task_id="probed", retires=3)
    with new_dag(), pytest.raises(DagImportError, match=r"'bash_comand'|lacks the parameter 'bash_command'"):
        BashOperator(task_id="probed", bash_comand="true")  # type: ignore[call-arg]
    with pytest.raises(DagImportError, match=r"'schedul'.*Did you mean 'schedule'"):
        DAG("example", schedul="@daily")


def test_unknown_keys_of_default_args_are_left_alone_as_in_airflow() -> None:
    with new_dag(default_args={"my_own_key": 1, "bash_command": "echo from default_args"}) as dag:
        EmptyOperator(task_id="empty")
        BashOperator(task_id="bash")  # type: ignore[call-arg]
    assert result(run_task(dag, "bash")) == "echo from default_args".removeprefix("echo ")


def test_mail_that_would_be_sent_is_refused_and_mail_that_is_off_is_not() -> None:
    with new_dag(), pytest.raises(DagImportError, match="sends no mail"):
        EmptyOperator(task_id="probed", email="a@b.c")
    with new_dag(), pytest.raises(DagImportError, match="'email_on_failure'"):
        EmptyOperator(task_id="probed", email_on_failure=True)
    with new_dag(default_args={"email": ["a@b.c"], "email_on_failure": False, "email_on_retry": False}):
        EmptyOperator(task_id="probed")


WRONG: list[tuple[str, Any]] = [
    ("retries", -1), ("retries", "3"), ("retries", True), ("retry_delay", "5m"), ("retry_delay", timedelta(-1)),
    ("retry_exponential_backoff", 0.5), ("execution_timeout", 60), ("execution_timeout", timedelta(0)),
    ("depends_on_past", "yes"), ("pool_slots", 0), ("pool", ""), ("queue", 7), ("priority_weight", 1.5),
    ("weight_rule", "sideways"), ("trigger_rule", "sometimes"), ("trigger_rule", "all_done_setup_success"),
    ("on_failure_callback", "notify"), ("start_date", "yesterday"), ("task_id", "with space"), ("task_id", "x" * 251),
    ("max_active_tis_per_dag", 0), ("resources", {"cpu": 1}), ("resources", {"cpus": "many"}), ("executor", ""),
    ("executor_config", {"pod": {}}), ("executor_config", "gpu"), ("params", 3), ("owner", 5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_value_of_the_wrong_kind_is_refused_with_file_line_and_name(name: str, value: Any) -> None:
    with new_dag(), pytest.raises(DagImportError) as caught:
        EmptyOperator(**{"task_id": "probed", name: value})
    assert "test_refused_parameters.py, line " in caught.value.message
    assert name.split("_")[0] in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_active_runs", 0), ("catchup", "no"), ("tags", "one"), ("default_args", ["x"]), ("dag_id", "a b"),
        ("timetable_semantics", "3"), ("dagrun_timeout", 60), ("params", [1]), ("owner_links", "x"),
        ("owner_links", {"ann": "javascript:alert(1)"}),
    ],
)  # fmt: skip
def test_a_dag_value_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DagImportError, match=rf"line \d+: .*{name}"):
        new_dag(**{name: value})


def test_a_wrong_value_assigned_after_construction_is_found_when_the_dag_is_stored() -> None:
    with new_dag() as dag:
        task = EmptyOperator(task_id="probed")
    task.trigger_rule = "sometimes"  # type: ignore[assignment]
    with pytest.raises(DagImportError, match="trigger_rule takes one of"):
        serialise(dag, defaults=Defaults())
    task.trigger_rule = "all_done"  # type: ignore[assignment]
    assert spec_of(dag, "probed").trigger_rule == "all_done"
