from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from execplane.sdk import (
    BaseBranchOperator,
    BranchPythonOperator,
    EmptyOperator,
    LatestOnlyOperator,
    ShortCircuitOperator,
    TaskGroup,
    task,
)
from tests.unit.sdk.building import START, HandClock, claim, new_dag, run_task, spec_of


def branch_over(choice: Any) -> Any:
    with new_dag() as dag:
        branch = BranchPythonOperator(task_id="branch", python_callable=lambda: choice)
        a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
        always = EmptyOperator(task_id="always", trigger_rule="always")
        join = EmptyOperator(task_id="join", trigger_rule="none_failed")
        branch >> [a, b, always, join]
        a >> EmptyOperator(task_id="after_a") >> join
        EmptyOperator(task_id="elsewhere")
        with TaskGroup("group") as group:
            EmptyOperator(task_id="first") >> EmptyOperator(task_id="second")
        branch >> group
    return run_task(dag, "branch")


@pytest.mark.parametrize(
    ("choice", "skipped"),
    [
        ("a", ("b", "group.first")),  # the join comes after a, and so it is not skipped
        ("b", ("a", "group.first", "join")),
        (["a", "b"], ("group.first",)),
        ("group", ("a", "b", "join")),
        (None, ("a", "b", "group.first", "join")),
        ([], ("a", "b", "group.first", "join")),
        ("elsewhere", ("a", "b", "group.first", "join")),  # no child of the branch: it succeeds and skips all
    ],
    ids=str,
)
def test_a_branch_skips_the_children_that_are_not_followed(choice: Any, skipped: tuple[str, ...]) -> None:
    outcome = branch_over(choice)
    assert outcome.outcome == "success"
    assert outcome.skip == skipped


@pytest.mark.parametrize("choice", ["nowhere", 7, ["a", 7]], ids=str)
def test_a_branch_to_something_unknown_fails_and_skips_nothing(choice: Any) -> None:
    outcome = branch_over(choice)
    assert outcome.outcome == "failed"
    assert outcome.skip == ()


def test_an_unknown_id_is_named_with_the_children_there_are() -> None:
    error = branch_over("nowhere").error
    assert error is not None
    assert "'nowhere'" in error.message
    assert "a, always, b, group.first, join" in error.message


def test_a_branch_of_the_authors_own_and_the_decorator_do_the_same() -> None:
    class Own(BaseBranchOperator):
        def choose_branch(self, context: Any) -> str:
            return "x"

    with new_dag() as dag:

        @task.branch
        def decorated() -> str:
            return "x"

        ends = [EmptyOperator(task_id="x"), EmptyOperator(task_id="y")]
        Own(task_id="own") >> ends
        decorated() >> ends
    assert run_task(dag, "own").skip == ("y",)
    assert run_task(dag, "decorated").skip == ("y",)
    assert spec_of(dag, "own").kind == spec_of(dag, "decorated").kind == "branch"
    assert spec_of(dag, "decorated").operator == "@task.branch"


def short_circuit(condition: Any, **kwargs: Any) -> Any:
    with new_dag() as dag:
        gate = ShortCircuitOperator(task_id="gate", python_callable=lambda: condition, **kwargs)
        gate >> EmptyOperator(task_id="near") >> EmptyOperator(task_id="far", trigger_rule="all_done")
        gate >> EmptyOperator(task_id="always", trigger_rule="always")
    return run_task(dag, "gate")


def test_a_false_condition_skips_everything_downstream() -> None:
    conditions: list[Any] = [False, None, [], 0, ""]
    for condition in conditions:
        assert short_circuit(condition).skip == ("far", "near")
    assert short_circuit([1]).skip == ()


def test_a_false_condition_may_respect_the_rules_further_down() -> None:
    assert short_circuit(False, ignore_downstream_trigger_rules=False).skip == ("near",)


def latest_only(now: datetime, **answer: Any) -> tuple[str, ...]:
    with new_dag(schedule="@daily") as dag:
        LatestOnlyOperator(task_id="gate") >> EmptyOperator(task_id="near") >> EmptyOperator(task_id="far")
    return run_task(dag, "gate", clock=HandClock(now), answer=claim(**answer)).skip


def test_only_the_latest_run_goes_on() -> None:
    # The run of 2 January ends its interval on the 3rd; the next run is due on the 4th.
    assert latest_only(datetime(2024, 1, 3, 12, tzinfo=UTC)) == ()
    assert latest_only(datetime(2024, 1, 4, tzinfo=UTC)) == ("near",)
    assert latest_only(datetime(2024, 2, 1, tzinfo=UTC)) == ("near",)


def test_a_run_by_hand_always_goes_on() -> None:
    assert latest_only(datetime(2030, 1, 1, tzinfo=UTC), run_type="manual") == ()


def test_the_latest_run_with_instant_semantics_is_the_one_before_the_next_instant() -> None:
    def skipped(now: datetime) -> tuple[str, ...]:
        with new_dag(schedule=timedelta(hours=1), timetable_semantics="instant") as dag:
            LatestOnlyOperator(task_id="gate") >> EmptyOperator(task_id="near")
        answer = claim(logical_date=START, data_interval_start=START, data_interval_end=START)
        return run_task(dag, "gate", clock=HandClock(now), answer=answer).skip

    assert skipped(START + timedelta(minutes=59)) == ()
    assert skipped(START + timedelta(minutes=60)) == ("near",)
