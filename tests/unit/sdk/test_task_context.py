"""What a task is given: context, environment, params, rendered fields and default_args."""

from __future__ import annotations

import os
from typing import Any

import pytest

from execplane.contract.keys import TaskKey
from execplane.sdk import (
    AirflowException,
    BaseOperator,
    PythonOperator,
    get_current_context,
)
from execplane.sdk.execution import execute
from tests.unit.sdk.building import DictServices, HandClock, claim, new_dag, result, run_task


def test_callables_get_what_their_parameters_ask_for() -> None:
    def some(ds: str, ti: Any, own: int, params: Any = None) -> Any:
        return [ds, ti.task_id, own, params]

    def everything(**context: Any) -> Any:
        return sorted({"ds", "ti", "var", "own", "data_interval_end", "run_id"} & set(context))

    with new_dag(params={"p": 1}) as dag:
        PythonOperator(task_id="some", python_callable=some, op_kwargs={"own": 5})
        PythonOperator(task_id="everything", python_callable=everything, op_kwargs={"own": 5})
        PythonOperator(task_id="reserved", python_callable=lambda ds: ds, op_args=["x"])
        PythonOperator(task_id="extra", python_callable=lambda: 1, op_kwargs={"nobody_asks": 5})
    assert result(run_task(dag, "some")) == ["2024-01-02", "some", 5, {"p": 1}]
    assert result(run_task(dag, "everything")) == ["data_interval_end", "ds", "own", "run_id", "ti", "var"]
    assert "reserved" in run_task(dag, "reserved").reason
    assert result(run_task(dag, "extra")) == 1


def test_the_current_context_is_there_while_a_task_runs_and_only_then() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: get_current_context()["ti"].task_id)
    assert result(run_task(dag, "probed")) == "probed"
    with pytest.raises(AirflowException, match="no current context"):
        get_current_context()


def test_the_environment_has_airflows_variables_during_the_task_only() -> None:
    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            owner="ann",
            python_callable=lambda: {k: v for k, v in os.environ.items() if k.startswith("AIRFLOW_CTX_")},
        )
    assert result(run_task(dag, "probed", answer=claim(try_number=2))) == {
        "AIRFLOW_CTX_DAG_OWNER": "ann",
        "AIRFLOW_CTX_DAG_ID": "example",
        "AIRFLOW_CTX_TASK_ID": "probed",
        "AIRFLOW_CTX_EXECUTION_DATE": "2024-01-02T00:00:00+00:00",
        "AIRFLOW_CTX_LOGICAL_DATE": "2024-01-02T00:00:00+00:00",
        "AIRFLOW_CTX_TRY_NUMBER": "2",
        "AIRFLOW_CTX_DAG_RUN_ID": "run",
    }
    assert not any(name.startswith("AIRFLOW_CTX_") for name in os.environ)


def test_conf_beats_task_params_which_beat_the_dags_and_unknown_conf_enters() -> None:
    with new_dag(params={"a": 1, "b": 1, "c": 1}) as dag:
        PythonOperator(task_id="probed", params={"b": 2, "c": 2}, python_callable=lambda params: params)
    outcome = run_task(dag, "probed", answer=claim(conf={"c": 3, "d": 4}))
    assert result(outcome) == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_a_param_that_does_not_fit_fails_without_retry() -> None:
    from execplane.sdk import Param

    with new_dag(params={"n": Param(1, type="integer")}) as dag:
        PythonOperator(task_id="probed", python_callable=lambda: 1)
    outcome = run_task(dag, "probed", answer=claim(conf={"n": "many"}, max_tries=3))
    assert outcome.outcome == "fail_without_retry"
    assert "Param 'n': 'many' is not of type integer" in outcome.reason


def test_rendered_fields_are_told_before_user_code_and_hide_secrets() -> None:
    told: list[dict[str, Any]] = []
    services = DictServices(connections={"db": '{"conn_type": "postgres", "password": "s3cr3t-word"}'})

    def work(url: str, api_key: str) -> Any:
        assert told, "the rendered fields come first"
        return url

    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            python_callable=work,
            op_kwargs={"url": "x://{{ conn.db.password }}@{{ ds }}", "api_key": "whatever"},
        )
    outcome = run_task(dag, "probed", services, on_rendered=told.append)
    assert result(outcome) == "x://s3cr3t-word@2024-01-02"
    assert told[0]["op_kwargs"] == {"url": "x://***@2024-01-02", "api_key": "***"}
    assert outcome.rendered == told[0]


def test_running_a_task_leaves_the_dag_as_it_was() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda x: x, op_args=["{{ run_id }}"])
    for _ in range(2):
        assert result(run_task(dag, "probed")) == "run"
    assert dag.task_dict["probed"].op_args == ["{{ run_id }}"]  # type: ignore[attr-defined]


def test_a_run_without_a_logical_date_has_no_ds_and_says_so() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="has", python_callable=lambda **context: "ds" in context)
        PythonOperator(task_id="uses", python_callable=lambda x: x, op_args=["{{ ds }}"])
    answer = claim(logical_date=None, data_interval_start=None, data_interval_end=None)
    assert result(run_task(dag, "has", answer=answer)) is False
    assert "'ds' is undefined" in run_task(dag, "uses", answer=answer).reason


def test_custom_operators_get_default_args_at_every_level() -> None:
    class Base(BaseOperator):
        def __init__(self, *, bucket: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.bucket = bucket

    class Derived(Base):
        template_fields = ("table",)

        def __init__(self, table: str, limit: int = 10, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.table = table
            self.limit = limit

        def execute(self, context: Any) -> Any:
            return [self.bucket, self.table, self.limit, self.retries]

    with new_dag(default_args={"bucket": "b", "limit": 3, "retries": 2}) as dag:
        Derived(task_id="probed", table="t_{{ ds_nodash }}")
    assert result(run_task(dag, "probed")) == ["b", "t_20240102", 3, 2]


def test_execute_needs_no_services_for_a_task_that_asks_for_nothing() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: 1)
    key = TaskKey(dag_id="example", run_id="run", task_id="probed")
    outcome = execute(dag, key, claim(), DictServices(), clock=HandClock())
    assert outcome.outcome == "success"
    assert outcome.user_code_started_at is not None


def test_a_task_that_changes_its_own_dates_sees_pendulum_moments() -> None:
    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            python_callable=lambda logical_date, data_interval_end: [
                logical_date.add(days=1).to_date_string(),
                data_interval_end.diff(logical_date).in_hours(),
            ],
        )
    assert result(run_task(dag, "probed")) == ["2024-01-03", 24]


def test_ti_counts_tries_as_airflow_does() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda ti: [ti.try_number, ti.max_tries])
    # retries=2: the claim names 3 as the last try, Airflow's max_tries is 2
    assert result(run_task(dag, "probed", answer=claim(try_number=2, max_tries=3))) == [2, 2]
