"""What callbacks see of the attempt that has just ended, and of its run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from execplane.sdk import AirflowFailException, AirflowSkipException, PythonOperator
from tests.unit.sdk.building import NOW, HandClock, claim, new_dag, result, run_task

CALLBACKS = ("on_execute", "on_success", "on_failure", "on_retry", "on_skipped")


@pytest.mark.parametrize(
    ("error", "max_tries", "last"),
    [
        (None, 1, "on_success success"),
        (SystemExit(0), 1, "on_success success"),
        (ValueError("x"), 1, "on_failure failed"),
        (ValueError("x"), 2, "on_retry up_for_retry"),
        (AirflowFailException("x"), 2, "on_failure failed"),
        (AirflowSkipException("x"), 1, "on_skipped skipped"),
    ],
)
def test_a_callback_sees_the_state_times_and_duration_of_the_end(
    error: BaseException | None, max_tries: int, last: str
) -> None:
    seen: list[tuple[str, Any, Any]] = []
    clock = HandClock()

    def noting(name: str) -> Any:
        def note(context: Any) -> None:
            ti = context["ti"]
            seen.append((f"{name} {ti.state}", ti.end_date, ti.duration))

        return note

    def work(ti: Any) -> None:
        assert (ti.state, ti.current_state(), ti.end_date, ti.duration) == ("running", "running", None, None)
        clock.pause(20)
        if error is not None:
            raise error

    with new_dag() as dag:
        PythonOperator(
            task_id="probed", python_callable=work, **{f"{name}_callback": noting(name) for name in CALLBACKS}
        )
    started = NOW - timedelta(seconds=10)
    run_task(dag, "probed", answer=claim(max_tries=max_tries, first_started_at=started), clock=clock)

    assert seen == [("on_execute running", None, None), (last, NOW + timedelta(seconds=20), 30.0)]


def test_the_run_is_seen_as_running_with_its_start() -> None:
    with new_dag() as dag:
        PythonOperator(
            task_id="probed",
            python_callable=lambda dag_run: [
                f"{dag_run.state} {dag_run.get_state()}", dag_run.start_date.isoformat(), dag_run.end_date
            ],
        )  # fmt: skip
    expected = ["running running", "2024-01-03T12:00:00+00:00", None]
    assert result(run_task(dag, "probed", answer=claim(started_at=NOW))) == expected


def test_the_log_url_is_the_page_that_the_claim_names() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda ti: ti.log_url)
    page = "http://web.example/attempts/7"
    assert result(run_task(dag, "probed", answer=claim(web_url=page))) == page


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda ti: ti.dag_run.get_task_instances(), "dag_run has no 'get_task_instances' .*dagRuns/.*/taskInstances"),
        (lambda ti: ti.get_previous_ti(), "ti has no 'get_previous_ti' .*prev_start_date_success"),
        (lambda ti: ti.set_state("failed"), "ti has no 'set_state' .*AirflowFailException"),
        (lambda ti: ti.queued_by_job_id, "ti has no 'queued_by_job_id' .*REST API"),
    ],
)
def test_what_a_task_cannot_know_is_refused_with_what_to_use(asked: Any, words: str) -> None:
    def work(ti: Any) -> None:
        with pytest.raises(AttributeError, match=words):
            asked(ti)

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=work)
    assert run_task(dag, "probed").outcome == "success"
