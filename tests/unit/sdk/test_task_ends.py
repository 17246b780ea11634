"""How a task ends: what is told about a failure, and which hooks and callbacks are called on the way."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from execplane.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    EmptyOperator,
    PythonOperator,
)
from execplane.sdk.exceptions import AirflowTaskTerminated
from tests.unit.sdk.building import claim, new_dag, run_task


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


def test_an_unknown_task_fails_without_retry_and_names_those_there_are() -> None:
    with new_dag() as dag:
        EmptyOperator(task_id="only")
    outcome = run_task(dag, "gone")
    assert outcome.outcome == "fail_without_retry"
    assert "has no task 'gone'" in outcome.reason
    assert "only" in outcome.reason


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
