from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any

import pytest

from execplane.contract.keys import TaskKey
from execplane.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    EmptyOperator,
    PythonOperator,
    get_current_context,
    task,
)
from execplane.sdk.exceptions import AirflowTaskTerminated
from execplane.sdk.execution import execute
from tests.unit.sdk.building import DictServices, HandClock, claim, new_dag, result, run_task


def raising(error: BaseException) -> Any:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("x"), "failed"),
        (AirflowException("x"), "failed"),
        (AirflowFailException("x"), "fail_without_retry"),
        (AirflowSkipException("x"), "skipped"),
        (AirflowTaskTerminated("stopped by ann"), "terminated"),
        (SystemExit(0), "success"),
        (SystemExit(3), "failed"),
        (KeyboardInterrupt(), "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_what_leaves_a_task_decides_its_end(error: BaseException, outcome: str) -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=raising(error))
    found = run_task(dag, "probed")
    assert found.outcome == outcome
    assert found.reason


def test_a_failure_carries_type_message_line_and_the_authors_traceback_only() -> None:
    def helper() -> None:
        raise ValueError("no rows")

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=helper)
    error = run_task(dag, "probed").error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "no rows")
    assert error.line == helper.__code__.co_firstlineno + 1
    assert "in helper" in error.traceback
    assert "execplane/sdk" not in error.traceback


def test_an_error_of_ours_still_has_a_traceback() -> None:
    with new_dag() as dag:
        BaseOperator(task_id="probed")
    error = run_task(dag, "probed").error
    assert error is not None
    assert "NotImplementedError" in error.traceback


def test_a_timeout_passes_except_exception_and_calls_on_kill() -> None:
    killed: list[str] = []

    class Stubborn(BaseOperator):
        def execute(self, context: Any) -> Any:
            try:
                threading.Event().wait(5)
            except Exception:
                return "swallowed"

        def on_kill(self) -> None:
            killed.append(self.task_id)

    with new_dag() as dag:
        Stubborn(task_id="probed", execution_timeout=timedelta(milliseconds=50))
    outcome = run_task(dag, "probed")
    assert outcome.outcome == "timeout"
    assert killed == ["probed"]
    assert outcome.error is not None
    assert "execution_timeout of 0.05 s" in outcome.error.message


def test_a_timeout_reaches_a_task_outside_of_the_main_thread() -> None:
    def spin() -> None:
        while True:
            pass

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=spin, execution_timeout=timedelta(milliseconds=50))
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(run_task(dag, "probed").outcome))
    thread.start()
    thread.join(20)
    assert found == ["timeout"]


def test_termination_calls_on_kill_and_no_retry_callback() -> None:
    calls: list[str] = []

    class Remote(BaseOperator):
        def execute(self, context: Any) -> None:
            raise AirflowTaskTerminated("terminated by ann")

        def on_kill(self) -> None:
            calls.append("killed")
            raise RuntimeError("on_kill itself fails")

    with new_dag() as dag:
        Remote(task_id="probed", on_failure_callback=lambda context: calls.append("failure"))
    outcome = run_task(dag, "probed")
    assert (outcome.outcome, outcome.reason) == ("terminated", "terminated by ann")
    assert calls == ["killed"]


def test_retry_callbacks_fire_per_failed_try_and_the_failure_callback_once() -> None:
    calls: list[str] = []
    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            retries=2,
            python_callable=raising(ValueError("x")),
            on_retry_callback=lambda context: calls.append(f"retry {context['ti'].try_number}"),
            on_failure_callback=[
                lambda context: calls.append(f"failure {context['exception']}"),
                lambda context: calls.append("second"),
            ],
        )
    for number in (1, 2, 3):
        run_task(dag, "probed", answer=claim(try_number=number, max_tries=3))
    assert calls == ["retry 1", "retry 2", "failure x", "second"]


def test_a_failure_without_retry_calls_the_failure_callback_at_once() -> None:
    calls: list[str] = []
    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            python_callable=raising(AirflowFailException("x")),
            on_retry_callback=lambda context: calls.append("retry"),
            on_failure_callback=lambda context: calls.append("failure"),
        )
    run_task(dag, "probed", answer=claim(max_tries=5))
    assert calls == ["failure"]


@pytest.mark.parametrize("name", ["on_execute_callback", "on_success_callback", "on_failure_callback"])
def test_a_raising_callback_never_changes_the_end(name: str) -> None:
    ending = raising(ValueError("x")) if name == "on_failure_callback" else (lambda: 1)
    with new_dag() as dag:
        arguments: dict[str, Any] = {"python_callable": ending, name: lambda context: 1 / 0}
        PythonOperator(task_id="probed", **arguments)
    assert run_task(dag, "probed").outcome == ("failed" if name == "on_failure_callback" else "success")


def test_a_skip_calls_the_skipped_callback_and_not_the_success_callback() -> None:
    calls: list[str] = []
    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            python_callable=raising(AirflowSkipException("x")),
            on_skipped_callback=lambda context: calls.append("skipped"),
            on_success_callback=lambda context: calls.append("success"),
        )
    run_task(dag, "probed")
    assert calls == ["skipped"]


def test_results_are_kept_and_none_is_not() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="some", python_callable=lambda: [1, 2, 3])
        PythonOperator(task_id="none", python_callable=lambda: None)
    some, none = run_task(dag, "some"), run_task(dag, "none")
    assert result(some) == [1, 2, 3]
    assert some.map_length == 3
    assert none.xcoms == ()
    assert none.map_length is None


def test_multiple_outputs_push_each_key_and_the_whole() -> None:
    with new_dag() as dag:

        @task(multiple_outputs=True)
        def split() -> Any:
            return {"a": 1, "b": 2}

        @task
        def use(a: int, c: Any) -> Any:
            return [a, c]

        parts = split()
        use(parts["a"], parts["c"])
    services = DictServices()
    run_task(dag, "split", services)
    assert services.get("split", "a") == 1
    assert services.get("split") == {"a": 1, "b": 2}
    # a key that is missing from multiple_outputs gives None
    assert result(run_task(dag, "use", services)) == [1, None]


@pytest.mark.parametrize(("value", "words"), [([1], "gave list"), ({1: 2}, "gave the key 1")])
def test_multiple_outputs_of_something_else_fail(value: Any, words: str) -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: value, multiple_outputs=True)
    outcome = run_task(dag, "probed")
    assert outcome.outcome == "failed"
    assert words in outcome.reason


def test_a_dict_annotation_means_multiple_outputs() -> None:
    with new_dag() as dag:

        @task
        def annotated() -> dict[str, int]:
            return {"a": 1}

        @task
        def plain() -> list[int]:
            return [1]

        annotated()
        plain()
    assert dag.task_dict["annotated"].multiple_outputs is True
    assert dag.task_dict["plain"].multiple_outputs is False


def test_a_key_that_was_never_pushed_fails_the_task_that_needs_it() -> None:
    with new_dag() as dag:
        first = PythonOperator(task_id="first", python_callable=lambda: 1)
        PythonOperator(task_id="second", python_callable=print, op_args=[first.output["rows"]])
    outcome = run_task(dag, "second")
    assert outcome.outcome == "failed"
    assert "'first' never pushed the XCom 'rows'" in outcome.reason


def test_a_value_that_is_no_xcom_fails_the_task_with_the_reason() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=object)
    outcome = run_task(dag, "probed")
    assert outcome.outcome == "failed"
    assert "never pickles" in outcome.reason


def test_an_xcom_above_the_limit_fails_the_task_with_both_sizes() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: "x" * 100)
    outcome = run_task(dag, "probed", answer=claim(xcom_max_bytes=50))
    assert "has 102 bytes, and the limit is 50" in outcome.reason


def test_prefetched_xcoms_are_used_without_a_call() -> None:
    with new_dag() as dag:
        first = PythonOperator(task_id="first", python_callable=lambda: "made")
        PythonOperator(task_id="second", python_callable=lambda x: x, op_args=[first.output])
    services = DictServices()
    xcoms = run_task(dag, "first", services).xcoms
    assert result(run_task(dag, "second", services, answer=claim(xcoms=xcoms))) == "made"
    assert services.pulls == []


def test_xcom_pull_in_its_forms() -> None:
    seen: dict[str, Any] = {}

    def pull(ti: Any) -> None:
        ti.xcom_push(key="own", value="mine")
        seen["own"] = ti.xcom_pull(key="own")
        seen["one"] = ti.xcom_pull(task_ids="a")
        seen["many"] = ti.xcom_pull(task_ids=["a", "missing", "b"])
        seen["default"] = ti.xcom_pull(task_ids="missing", default="d")
        seen["none"] = ti.xcom_pull(task_ids="missing")
        seen["mapped"] = ti.xcom_pull(task_ids="mapped")
        seen["index"] = ti.xcom_pull(task_ids="mapped", map_indexes=1)
        seen["indexes"] = ti.xcom_pull(task_ids="mapped", map_indexes=[2, 0])

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=pull)
    services = DictServices(mapped={"mapped"})
    services.put("a", 1)
    services.put("b", 2)
    for index in range(3):
        services.put("mapped", f"m{index}", map_index=index)
    assert run_task(dag, "probed", services).outcome == "success"
    assert seen == {
        "own": "mine",
        "one": 1,
        "many": [1, None, 2],
        "default": "d",
        "none": None,
        "mapped": ["m0", "m1", "m2"],
        "index": "m1",
        "indexes": ["m0", "m2"],
    }


def test_xcom_pull_without_a_key_fails_with_advice() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda ti: ti.xcom_pull(task_ids="a", key=None))
    assert "key=None" in run_task(dag, "probed").reason


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


def test_an_unknown_task_fails_without_retry_and_names_those_there_are() -> None:
    with new_dag() as dag:
        EmptyOperator(task_id="only")
    outcome = run_task(dag, "gone")
    assert outcome.outcome == "fail_without_retry"
    assert "has no task 'gone'" in outcome.reason
    assert "only" in outcome.reason


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


def test_pre_and_post_execute_can_be_overridden_and_given() -> None:
    order: list[str] = []

    class Hooked(BaseOperator):
        def pre_execute(self, context: Any) -> None:
            order.append("pre")
            super().pre_execute(context)

        def execute(self, context: Any) -> str:
            order.append("execute")
            return "done"

        def post_execute(self, context: Any, result: Any = None) -> None:
            order.append(f"post {result}")
            super().post_execute(context, result)

    with new_dag() as dag:
        Hooked(
            task_id="probed",
            pre_execute=lambda context: order.append("given pre"),
            post_execute=lambda context, result: order.append(f"given post {result}"),
        )
    run_task(dag, "probed")
    assert order == ["pre", "given pre", "execute", "post done", "given post done"]


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
