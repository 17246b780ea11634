"""Whatever happens to a task instance, in whatever order, the ledger stays sound and the run can still end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execplane.contract.states import TASK_EDGES, AttemptState, RunState, TaskState
from execplane.store.models import Attempt, AttemptEvent, DagRun, TaskInstance, XCom
from tests.conftest import TestClock
from tests.integration.store.invariants import violations
from tests.integration.store.play import Play

Verb = Callable[[Play], object]
VERBS: dict[str, Verb] = {
    "decide": Play.decide,
    "later": Play.later,
    "claim": Play.claim,
    "unclaim": Play.unclaim,
    "commit": Play.commit,
    "acknowledge": Play.acknowledge,
    "fence": Play.fence,
    "gone": Play.gone,
    "gone by its author": lambda play: play.gone(1, infrastructure=False),
    "refused": Play.refused,
    "refused, name taken": lambda play: play.refused(new_attempt=True),
    "oldest reports": Play.oldest_reports,
    "clear": Play.clear,
    "mark success": lambda play: play.mark(TaskState.SUCCESS),
    "mark failed": lambda play: play.mark(TaskState.FAILED),
    "mark skipped": lambda play: play.mark(TaskState.SKIPPED),
    "run success": lambda play: play.mark_run(RunState.SUCCESS),
    "run failed": lambda play: play.mark_run(RunState.FAILED),
}
ON_AN_ATTEMPT: dict[str, Verb] = {
    "success": lambda play: play.report("success"),
    "failed": lambda play: play.report("failed"),
    "skipped": lambda play: play.report("skipped"),
    "reschedule": lambda play: play.report("reschedule"),
    "terminated": lambda play: play.report("terminated"),
    "push": Play.push,
    "cancel": Play.cancel,
}
MOVES_TWICE = {"decide"}
"""A decision may take an instance over two edges in one transaction: a removed one is back, and is queued."""


def edges(before: TaskState) -> set[TaskState]:
    return {before, *TASK_EDGES[before]}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(names=st.lists(st.sampled_from([*VERBS, *ON_AN_ATTEMPT, "decide", "claim", "commit", "fence"]), max_size=30))
def test_no_sequence_of_verbs_leaves_the_tables_of_edges(play: Play, names: list[str]) -> None:
    with transaction.atomic():
        one = Play(run_pk=play.run_pk, clock=TestClock())
        for position, name in enumerate(names):
            before = TaskState(one.instance().state)
            if name in VERBS:
                VERBS[name](one)
            elif Attempt.objects.filter(ti=one.instance()).exists():
                ON_AN_ATTEMPT[name](one)
            after = TaskState(one.instance().state)
            reachable = edges(before)
            if name in MOVES_TWICE:
                reachable |= {target for between in edges(before) for target in edges(between)}
            assert after in reachable, f"{name} moved the instance from {before} to {after}"
            assert violations() == [], f"after {names[: position + 1]}"
        if one.run().state not in ("success", "failed"):
            one.drain()
        assert violations() == []
        transaction.set_rollback(True)


IN_FLIGHT = [AttemptState.QUEUED, AttemptState.CLAIMED, AttemptState.LAUNCHED, AttemptState.RUNNING]
NOT_YET_LAUNCHED = [AttemptState.QUEUED, AttemptState.CLAIMED]
MAYBE_ALIVE = [AttemptState.LAUNCHED, AttemptState.RUNNING]


@pytest.mark.parametrize("state", NOT_YET_LAUNCHED)
def test_clearing_what_was_not_launched_starts_it_anew_at_once(play: Play, state: AttemptState) -> None:
    play.bring_to(state)

    play.clear()

    assert play.states() == ("none", "cancelled")
    play.decide()
    assert play.states() == ("queued", "queued")
    assert (play.attempt().attempt_no, play.attempt().cause) == (2, "clear")
    assert violations() == []


@pytest.mark.parametrize("state", MAYBE_ALIVE)
def test_clearing_what_may_be_alive_waits_for_its_death(play: Play, state: AttemptState) -> None:
    play.bring_to(state)

    play.clear()
    play.decide()

    assert play.states() == ("restarting", "stopping")
    play.gone(143)
    assert play.states() == ("none", "cancelled")
    play.decide()
    assert play.states() == ("queued", "queued")
    assert violations() == []


def test_clearing_twice_is_clearing_once(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.clear()
    events = AttemptEvent.objects.count()

    play.clear()

    assert AttemptEvent.objects.count() == events
    assert play.states() == ("restarting", "stopping")


def test_a_task_cleared_while_it_succeeds_runs_again_all_the_same(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.clear()

    play.report("success", skip=("load",), map_length=3)

    assert play.states() == ("none", "success")
    assert (play.instance().skips, play.instance().map_length) == (None, None)


def test_the_failures_before_a_clear_in_flight_do_not_count(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.report("failed")
    assert play.instance().state == TaskState.UP_FOR_RETRY
    play.later()
    play.bring_to(AttemptState.RUNNING)
    play.push()

    play.clear()
    play.gone(143)

    assert play.instance().author_failures == 0
    assert not XCom.objects.filter(ti=play.instance()).exists()
    play.bring_to(AttemptState.RUNNING)
    play.report("failed")
    assert play.instance().state == TaskState.UP_FOR_RETRY


@pytest.mark.parametrize("wish", [TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED])
@pytest.mark.parametrize("state", IN_FLIGHT)
def test_what_is_marked_in_flight_stays_as_marked(play: Play, state: AttemptState, wish: TaskState) -> None:
    attempt = play.bring_to(state)

    play.mark(wish)

    assert play.instance().state == wish
    stopped = AttemptState.CANCELLED if state in NOT_YET_LAUNCHED else AttemptState.STOPPING
    assert play.attempt().state == stopped
    if stopped == AttemptState.STOPPING:
        if state == AttemptState.RUNNING:
            play.report("success", attempt=attempt)
        else:
            play.gone(143)
    assert play.instance().state == wish
    assert play.attempt().state in ("success", "cancelled")
    assert violations() == []


def test_a_marked_task_that_is_cleared_restarts_once_its_old_attempt_is_dead(play: Play) -> None:
    play.bring_to(AttemptState.STOPPING)
    assert play.states() == ("success", "stopping")

    play.clear()

    assert play.states() == ("restarting", "stopping")
    play.decide()
    assert play.attempt().attempt_no == 1
    play.gone(143)
    play.decide()
    assert play.attempt().attempt_no == 2
    assert violations() == []


def test_a_cleared_task_that_is_marked_meanwhile_stays_marked(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.clear()

    play.mark(TaskState.SKIPPED)
    play.gone(143)

    assert play.states() == ("skipped", "cancelled")


@pytest.mark.parametrize("state", IN_FLIGHT)
def test_a_cancelled_attempt_fails_its_task_without_a_retry(play: Play, state: AttemptState) -> None:
    play.bring_to(state)

    assert play.cancel()

    assert play.instance().state == TaskState.FAILED
    play.gone(143)
    play.later()
    play.decide()
    assert play.instance().state == TaskState.FAILED
    assert play.attempt().attempt_no == 1
    assert play.instance("load").state == TaskState.UPSTREAM_FAILED


def test_cancelling_what_is_leaving_already_changes_nothing(play: Play) -> None:
    play.bring_to(AttemptState.STOPPING)

    assert not play.cancel()

    assert play.states() == ("success", "stopping")


@pytest.mark.parametrize("state", IN_FLIGHT)
def test_a_stopped_run_is_failed_and_nothing_of_it_starts(play: Play, state: AttemptState) -> None:
    play.bring_to(state)

    play.mark_run(RunState.FAILED)

    assert play.run().state == RunState.FAILED
    assert (play.instance().state, play.instance("load").state) == ("failed", "skipped")
    play.gone(143)
    play.decide()
    assert play.instance().state == TaskState.FAILED
    assert violations() == []


def test_clearing_a_task_of_an_ended_run_lets_the_run_go_on(play: Play) -> None:
    play.drain()
    assert play.run().state == RunState.SUCCESS

    play.clear(downstream=True)

    run = play.run()
    assert (run.state, run.ended_at, run.decide_at) == (RunState.QUEUED, None, play.now)
    play.drain()
    assert play.run().state == RunState.SUCCESS
    assert [play.attempt(task_id).attempt_no for task_id in ("extract", "load")] == [2, 2]


def test_marking_a_failed_task_success_resumes_what_failed_for_want_of_it(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.cancel()
    play.gone(143)
    play.decide()
    assert (play.run().state, play.instance("load").state) == ("failed", "upstream_failed")

    play.mark(TaskState.SUCCESS)

    assert (play.run().state, play.instance("load").state) == ("queued", "none")
    play.drain()
    assert (play.run().state, play.instance("load").state) == ("success", "success")


def test_a_late_report_of_an_old_attempt_is_recorded_and_moves_nothing(play: Play) -> None:
    old = play.bring_to(AttemptState.RUNNING)
    play.report("failed")
    play.later()
    play.bring_to(AttemptState.RUNNING)

    play.report("success", attempt=old)

    assert play.states() == ("running", "running")
    assert Attempt.objects.get(pk=old.pk).state == AttemptState.FAILED
    assert AttemptEvent.objects.filter(attempt_id=old.pk, reason__contains="it moves nothing").count() == 1
    assert violations() == []


def test_what_an_earlier_try_decided_is_forgotten_by_the_next(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.report("success", skip=("load",), map_length=3)
    assert (play.instance().skips, play.instance().map_length) == (["load"], 3)
    # Marked failed and cleared without a reset of its results would be the same: a new try begins with nothing.
    TaskInstance.objects.filter(pk=play.instance().pk).update(state="up_for_retry")
    DagRun.objects.filter(pk=play.run_pk).update(decide_at=play.now)
    TaskInstance.objects.filter(task_id="load").update(state="none")
    play.bring_to(AttemptState.RUNNING)

    play.report("success")

    assert (play.instance().skips, play.instance().map_length) == (None, None)


def test_an_xcom_that_comes_after_the_end_is_not_kept(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.report("failed")

    play.push()

    assert not XCom.objects.exists()
    assert play.instance().map_length is None
