"""What `decide` does, one behaviour at a time. Random runs are in test_decide_simulation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import perf_counter

import pytest

from execplane.contract.states import Cause, RunState, TaskState, TriggerRule
from execplane.scheduler.decide import decide, initial_rows, past_needed
from execplane.scheduler.decide_view import Create, Decision, Past, RunView, TaskRow
from tests.unit.scheduler.build import NOW, ask, dag, later, launched, moved, over, rows, task

S = TaskState
TWO = dag(task("a"), task("b", "a"))


def test_a_run_without_instances_asks_for_all_of_them_and_for_another_look() -> None:
    decision = ask(TWO, [])
    assert decision.create == (Create(task_id="a"), Create(task_id="b")) == initial_rows(TWO, None)
    assert decision.again
    assert decision.run_state is None


def test_a_task_starts_when_its_upstream_has_succeeded() -> None:
    assert launched(ask(TWO, rows(a=S.NONE, b=S.NONE))) == [1]
    assert launched(ask(TWO, rows(a=S.RUNNING, b=S.NONE))) == []
    assert launched(ask(TWO, rows(a=S.SUCCESS, b=S.NONE))) == [2]


def test_what_waits_says_for_whom() -> None:
    decision = ask(TWO, rows(a=S.RUNNING, b=S.NONE))
    assert decision.waiting[2].code == "upstream"
    assert decision.waiting[2].data == {"rule": "all_success", "unfinished": 1, "tasks": ["a"]}


def test_a_failure_goes_all_the_way_down_in_one_pass_and_ends_the_run() -> None:
    chain = dag(task("a"), task("b", "a"), task("c", "b"))
    decision = ask(chain, rows(a=S.FAILED, b=S.NONE, c=S.NONE))
    assert moved(decision) == {2: S.UPSTREAM_FAILED, 3: S.UPSTREAM_FAILED}
    assert decision.run_state is RunState.FAILED
    assert decision.run_reason == "failed: a"


def test_the_run_succeeds_when_its_leaves_do_whatever_failed_before() -> None:
    mended = dag(task("a"), task("b", "a", trigger_rule=TriggerRule.ALL_DONE))
    assert ask(mended, rows(a=S.FAILED, b=S.SUCCESS)).run_state is RunState.SUCCESS
    assert ask(mended, rows(a=S.FAILED, b=S.SKIPPED)).run_state is RunState.SUCCESS
    assert ask(mended, rows(a=S.SUCCESS, b=S.FAILED)).run_state is RunState.FAILED


def test_the_run_does_not_end_while_anything_is_unfinished() -> None:
    apart = dag(task("a"), task("b"))
    for state in (S.RUNNING, S.QUEUED, S.RESTARTING):
        assert ask(apart, rows(a=S.FAILED, b=state)).run_state is None


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.SUCCESS, RunState.FAILED])
def test_only_running_runs_are_decided(state: RunState) -> None:
    assert ask(TWO, rows(a=S.NONE, b=S.NONE), state=state) == Decision()


def test_the_first_verdict_sticks() -> None:
    joined = dag(task("a"), task("b"), task("c", "a", "b"))
    skipped = ask(joined, rows(a=S.SKIPPED, b=S.RUNNING, c=S.NONE))
    assert moved(skipped) == {3: S.SKIPPED}
    assert ask(joined, rows(a=S.SKIPPED, b=S.FAILED, c=S.SKIPPED)).moves == ()
    assert moved(ask(joined, rows(a=S.RUNNING, b=S.FAILED, c=S.NONE))) == {3: S.UPSTREAM_FAILED}


# Launches again


@pytest.mark.parametrize(
    ("state", "cause", "try_number"),
    [
        (S.UP_FOR_RETRY, Cause.RETRY, 3),
        (S.UP_FOR_RETRY, Cause.INFRA, 2),
        (S.UP_FOR_RESCHEDULE, Cause.RESCHEDULE, 2),
        (S.NONE, Cause.CLEAR, 3),
    ],
)
def test_another_attempt_comes_when_it_is_eligible_and_only_some_are_new_tries(
    state: TaskState, cause: Cause, try_number: int
) -> None:
    row = TaskRow(id=1, task_id="a", state=state, attempt_no=4, try_number=2, eligible_at=later(60), next_cause=cause)
    early = ask(dag(task("a")), [row])
    assert (early.launch, early.wake_at) == ((), later(60))
    assert early.waiting[1].data == {"until": later(60).isoformat(), "cause": str(cause)}
    (launch,) = ask(dag(task("a")), [row], later(60)).launch
    assert (launch.cause, launch.try_number, launch.source) == (cause, try_number, state)


def test_a_cleared_instance_starts_a_new_try() -> None:
    row = TaskRow(id=1, task_id="a", attempt_no=2, try_number=2)
    (launch,) = ask(dag(task("a")), [row]).launch
    assert (launch.cause, launch.try_number) == (Cause.CLEAR, 3)


def test_the_earliest_moment_is_the_one_to_wake_at() -> None:
    two = dag(task("a"), task("b"), dagrun_timeout_seconds=1000)
    waiting = [
        TaskRow(id=1, task_id="a", state=S.UP_FOR_RETRY, eligible_at=later(50)),
        TaskRow(id=2, task_id="b", state=S.UP_FOR_RESCHEDULE, eligible_at=later(20)),
    ]
    assert ask(two, waiting, start_time=NOW).wake_at == later(20)
    assert ask(two, rows(a=S.RUNNING, b=S.RUNNING), start_time=NOW).wake_at == later(1000)


def test_a_restarting_instance_is_left_to_its_attempt() -> None:
    decision = ask(dag(task("a")), rows(a=S.RESTARTING))
    assert decision.empty


# Branches


def chooses(*dropped: str) -> TaskRow:
    return TaskRow(id=1, task_id="a", state=S.SUCCESS, skips=frozenset(dropped))


def test_what_a_branch_drops_is_skipped_at_once_whatever_else_it_waits_for() -> None:
    compiled = dag(
        task("a", kind="branch"),
        task("slow"),
        task("b", "a", "slow", trigger_rule=TriggerRule.ALL_DONE),
        task("c", "a"),
    )
    decision = ask(compiled, rows(a=chooses("b"), slow=S.RUNNING, b=S.NONE, c=S.NONE))
    assert moved(decision) == {3: S.SKIPPED}
    assert decision.moves[0].reason == "a does not choose it"
    assert launched(decision) == [4]


def test_always_runs_even_if_a_branch_drops_it() -> None:
    compiled = dag(task("a", kind="branch"), task("b", "a", trigger_rule=TriggerRule.ALWAYS))
    assert launched(ask(compiled, rows(a=chooses("b"), b=S.NONE))) == [2]


def test_a_task_is_skipped_if_one_of_two_branches_drops_it() -> None:
    compiled = dag(task("a", kind="branch"), task("b", kind="branch"), task("c", "a", "b"))
    decision = ask(compiled, rows(a=chooses("c"), b=S.SUCCESS, c=S.NONE))
    assert moved(decision) == {3: S.SKIPPED}


def test_a_short_circuit_may_drop_what_is_further_down() -> None:
    compiled = dag(task("a", kind="short_circuit"), task("b", "a"), task("c", "b", trigger_rule=TriggerRule.ALL_DONE))
    decision = ask(compiled, rows(a=chooses("b", "c"), b=S.NONE, c=S.NONE))
    assert moved(decision) == {2: S.SKIPPED, 3: S.SKIPPED}
    assert decision.run_state is RunState.SUCCESS


def test_a_branch_that_is_cleared_drops_nothing() -> None:
    compiled = dag(task("a", kind="branch"), task("b", "a"))
    again = TaskRow(id=1, task_id="a", state=S.RUNNING, skips=frozenset({"b"}))
    assert ask(compiled, rows(a=again, b=S.NONE)).moves == ()


# Empty tasks, limits, pauses


def test_an_empty_task_succeeds_without_a_launch_and_its_successor_starts_in_the_same_pass() -> None:
    compiled = dag(task("a", kind="empty"), task("b", "a"))
    decision = ask(compiled, rows(a=S.NONE, b=S.NONE))
    assert moved(decision) == {1: S.SUCCESS}
    assert launched(decision) == [2]


def test_a_run_of_empty_tasks_ends_at_once() -> None:
    compiled = dag(task("a", kind="empty"), task("b", "a", kind="empty"))
    assert ask(compiled, rows(a=S.NONE, b=S.NONE)).run_state is RunState.SUCCESS


def test_no_more_instances_than_max_active_tis_per_dagrun_are_in_flight() -> None:
    compiled = dag(task("a", mapped=over(literal=4), max_active_tis_per_dagrun=2))
    states = [S.RUNNING, S.NONE, S.NONE, S.SUCCESS]
    instances = [TaskRow(id=i, task_id="a", map_index=i, state=state) for i, state in enumerate(states)]
    decision = ask(compiled, instances[::-1])
    assert launched(decision) == [1]
    assert decision.waiting[2].code == "max_active_tis_per_dagrun"


def test_a_paused_dag_starts_nothing_but_its_run_may_end() -> None:
    decision = ask(TWO, rows(a=S.NONE, b=S.NONE), paused=True)
    assert decision.empty
    assert decision.waiting[1].code == "paused"
    assert ask(TWO, rows(a=S.FAILED, b=S.NONE), paused=True).run_state is RunState.FAILED
    assert ask(dag(task("a", kind="empty")), rows(a=S.NONE), paused=True).empty


# The run's timeout, fail_fast


def test_a_run_over_its_timeout_fails_and_all_unfinished_is_skipped() -> None:
    compiled = dag(task("a"), task("b"), task("c"), task("e"), dagrun_timeout_seconds=60)
    instances = rows(a=S.RUNNING, b=S.NONE, c=S.SUCCESS, e=S.RESTARTING)
    assert ask(compiled, instances, later(59), start_time=NOW).run_state is None
    decision = ask(compiled, instances, later(60), start_time=NOW)
    assert decision.run_state is RunState.FAILED
    assert moved(decision) == {1: S.SKIPPED, 2: S.SKIPPED, 4: S.FAILED}
    assert {move.ti_id for move in decision.moves if move.stop} == {1, 4}
    assert ask(compiled, instances, later(60), start_time=NOW, paused=True).run_state is None


def test_fail_fast_skips_what_has_not_started_fails_what_runs_and_spares_teardowns() -> None:
    compiled = dag(task("a"), task("b"), task("c"), task("e", "c"), task("td", "e", is_teardown=True), fail_fast=True)
    decision = ask(compiled, rows(a=S.FAILED, b=S.RUNNING, c=S.QUEUED, e=S.NONE, td=S.RUNNING))
    assert moved(decision) == {2: S.FAILED, 3: S.SKIPPED, 4: S.SKIPPED}
    assert {move.ti_id for move in decision.moves if move.stop} == {2, 3}


def test_a_fail_fast_run_with_a_failed_task_before_its_leaves_ends_in_success() -> None:
    compiled = dag(task("a"), task("b", "a"), fail_fast=True)
    decision = ask(compiled, rows(a=S.FAILED, b=S.NONE))
    assert moved(decision) == {2: S.SKIPPED}
    assert decision.run_state is RunState.SUCCESS


def test_a_teardown_that_does_not_report_does_not_count() -> None:
    plain = dag(task("work"), task("td", "work", is_teardown=True))
    assert ask(plain, rows(work=S.SUCCESS, td=S.FAILED)).run_state is RunState.SUCCESS
    assert ask(plain, rows(work=S.FAILED, td=S.SUCCESS)).run_state is RunState.FAILED
    reporting = dag(task("work"), task("td", "work", is_teardown=True, on_failure_fail_dagrun=True))
    assert ask(reporting, rows(work=S.SUCCESS, td=S.FAILED)).run_state is RunState.FAILED


# Versions and dates


def test_instances_of_tasks_that_the_version_lacks_are_removed_and_do_not_count() -> None:
    one = dag(task("a"))
    decision = ask(one, rows(a=S.SUCCESS, gone=S.NONE))
    assert moved(decision) == {2: S.REMOVED}
    assert decision.run_state is RunState.SUCCESS
    assert ask(one, rows(a=S.SUCCESS, gone=S.FAILED)).run_state is RunState.SUCCESS
    assert ask(one, rows(a=S.SUCCESS, gone=S.RUNNING)).run_state is None


def test_a_removed_task_that_is_back_runs() -> None:
    decision = ask(dag(task("a")), rows(a=S.REMOVED))
    assert moved(decision) == {1: S.NONE}
    assert decision.again
    assert decision.run_state is None


def test_a_task_outside_its_own_dates_gets_no_instance_and_holds_nobody_up() -> None:
    compiled = dag(
        task("a"),
        task("late", "a", start_date=later(1)),
        task("over", "a", end_date=later(-1)),
        task("b", "late", "over"),
        task("c", "b"),
    )
    decision = ask(compiled, [], logical_date=NOW)
    assert [create.task_id for create in decision.create] == ["a", "b", "c"]
    assert initial_rows(compiled, NOW) == decision.create
    assert len(initial_rows(compiled, None)) == 5
    assert launched(ask(compiled, rows(a=S.RUNNING, b=S.NONE, c=S.NONE), logical_date=NOW)) == [2]


def test_the_end_is_told_by_the_last_tasks_that_have_instances() -> None:
    compiled = dag(task("a"), task("late", "a", start_date=later(1)))
    assert ask(compiled, rows(a=S.FAILED), logical_date=NOW).run_state is RunState.FAILED
    assert ask(compiled, rows(a=S.SUCCESS), logical_date=NOW).run_state is RunState.SUCCESS


def test_a_dag_without_tasks_has_runs_that_end_at_once() -> None:
    assert ask(dag(), []).run_state is RunState.SUCCESS


# The past


@pytest.mark.parametrize(
    ("past", "starts"),
    [
        (None, True),
        (Past(states={"a": [S.SUCCESS]}, seen=frozenset("a")), True),
        (Past(states={"a": [S.SUCCESS, S.SKIPPED, S.REMOVED]}, seen=frozenset("a")), True),
        (Past(states={"a": [S.SUCCESS, S.RUNNING]}, seen=frozenset("a")), False),
        (Past(states={"a": [S.FAILED]}, seen=frozenset("a")), False),
        (Past(states={}, seen=frozenset("a")), False),
        (Past(states={}, seen=frozenset()), True),
    ],
)
def test_depends_on_past_waits_for_success_in_the_previous_run(past: Past | None, starts: bool) -> None:
    compiled = dag(task("a", depends_on_past=True))
    decision = ask(compiled, rows(a=S.NONE), past=past)
    assert bool(decision.launch) is starts
    assert decision.waits_on_past is not starts
    assert past_needed(compiled) == {"a"}


def test_ignore_first_depends_on_past_can_be_switched_off() -> None:
    compiled = dag(task("a", depends_on_past=True, ignore_first_depends_on_past=False))
    assert ask(compiled, rows(a=S.NONE), past=Past()).launch == ()


def test_with_catchup_a_run_from_before_the_tasks_start_is_no_past() -> None:
    past = Past(logical_date=later(-10), states={}, seen=frozenset("a"))
    for catchup in (True, False):
        compiled = dag(task("a", depends_on_past=True, start_date=later(-5)), catchup=catchup)
        assert bool(ask(compiled, rows(a=S.NONE), past=past).launch) is catchup


def test_wait_for_downstream_looks_at_the_direct_successors_of_the_previous_run() -> None:
    compiled = dag(task("a", wait_for_downstream=True), task("b", "a"), task("c", "b"))
    assert past_needed(compiled) == {"a", "b"}
    seen = frozenset("ab")
    for state, starts in ((S.RUNNING, False), (S.SUCCESS, True), (S.FAILED, False)):
        past = Past(states={"a": [S.SUCCESS], "b": [state]}, seen=seen)
        assert bool(ask(compiled, rows(a=S.NONE, b=S.NONE, c=S.NONE), past=past).launch) is starts


def test_a_bad_past_does_not_keep_a_task_from_being_skipped() -> None:
    compiled = dag(task("a"), task("b", "a", depends_on_past=True))
    past = Past(states={"b": [S.FAILED]}, seen=frozenset("b"))
    assert moved(ask(compiled, rows(a=S.SKIPPED, b=S.NONE), past=past)) == {2: S.SKIPPED}


# Cost


@pytest.mark.parametrize("shape", ["chain", "dense", "wide", "mapped"])
def test_a_run_of_500_instances_is_decided_within_15_ms(shape: str) -> None:
    ids = [f"t{number:03}" for number in range(500)]
    if shape == "mapped":
        compiled = dag(task("t", mapped=over(literal=500)))
        instances = [TaskRow(id=i, task_id="t", map_index=i) for i in range(500)]
    else:
        upstream: dict[str, Callable[[int], list[str]]] = {
            "chain": lambda n: ids[n - 1 : n] if n else [],
            "wide": lambda n: [],
        }
        upstream["dense"] = lambda n: ids[:250] if n >= 250 else []
        compiled = dag(*(task(task_id, *upstream[shape](number)) for number, task_id in enumerate(ids)))
        states = [S.SUCCESS if number < 249 else S.NONE for number in range(500)]
        instances = [TaskRow(id=i, task_id=ids[i], state=states[i]) for i in range(500)]
    view = RunView(dag=compiled, state=RunState.RUNNING, rows=instances, start_time=NOW - timedelta(hours=1))
    took = []
    for _ in range(7):
        begin = perf_counter()
        decide(view, NOW)
        took.append(perf_counter() - begin)
    assert min(took) <= 0.015
