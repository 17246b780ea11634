"""Attempts of an executor that was taken out of the settings: the verb that stops one ends it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from execplane.actions.unserved import Served, serving
from execplane.contract.states import AttemptState, RunState, TaskState
from execplane.store import lease_rows
from execplane.store.models import Attempt
from tests.integration.store.play import Play

SELF_FENCE = timedelta(seconds=600)


@pytest.fixture
def alone(play: Play) -> Iterator[Play]:
    """Its attempt runs on `local`, of which the settings know nothing any more."""
    play.bring_to(AttemptState.RUNNING)
    play.later(60)
    with serving(Served(executors=("kubernetes",), self_fence=SELF_FENCE)):
        yield play


def test_a_marked_task_s_attempt_ends_at_once_and_says_that_nobody_saw_it_end(alone: Play) -> None:
    alone.mark(TaskState.SUCCESS)

    row = alone.attempt()
    assert alone.states() == ("success", "cancelled")
    assert "marked success by ada" in row.reason
    assert "does not run the executor local any more, so nobody ended it there or saw it end" in row.reason
    assert "EXECPLANE_EXECUTORS" in row.hint
    assert row.cleaned_at is None, "what it left is cleaned up if the executor comes back"


def test_a_cleared_task_starts_again_once_the_old_worker_has_surely_fenced_itself(alone: Play) -> None:
    beat_at = alone.attempt().heartbeat_at
    assert beat_at is not None

    alone.clear()

    assert alone.states() == ("none", "cancelled")
    assert alone.instance().eligible_at == alone.attempt().gone_at == beat_at + SELF_FENCE
    alone.decide()
    assert alone.attempt().attempt_no == 1
    alone.clock.advance(540)
    alone.decide()
    assert (alone.attempt().attempt_no, alone.attempt().state) == (2, "queued")


def test_a_worker_of_an_ended_attempt_moves_nothing_any_more(alone: Play) -> None:
    alone.mark(TaskState.FAILED)

    assert alone.report("success") == "cancelled"
    assert alone.states() == ("failed", "cancelled")


def test_cancelling_and_stopping_the_run_end_it_too(alone: Play) -> None:
    assert alone.cancel()
    assert alone.states() == ("failed", "cancelled")
    assert not alone.cancel(), "it has ended"


def test_a_run_that_is_marked_ends_all_of_its_attempts(alone: Play) -> None:
    alone.mark_run(RunState.FAILED)

    assert not Attempt.objects.filter(state="stopping").exists()
    assert alone.run().state == "failed"


def test_one_that_was_stopping_when_the_executor_was_taken_out_ends_when_it_is_cancelled_again(play: Play) -> None:
    play.bring_to(AttemptState.STOPPING)
    assert not play.cancel(), "its driver ends it"

    with serving(Served(executors=("kubernetes",), self_fence=SELF_FENCE)):
        assert play.cancel()

    assert play.states() == ("success", "cancelled")


@pytest.mark.parametrize("why", ["it is in the settings", "another process drives it", "nobody knows"])
def test_a_driver_that_there_is_ends_its_attempts_itself(play: Play, why: str) -> None:
    play.bring_to(AttemptState.RUNNING)
    if why == "another process drives it":
        lease_rows.take("driver:local", "host:2", 0, 60)
    executors = ("local",) if why == "it is in the settings" else ("kubernetes",)
    if why == "nobody knows":
        play.mark(TaskState.SUCCESS)
    else:
        with serving(Served(executors=executors, self_fence=SELF_FENCE)):
            play.mark(TaskState.SUCCESS)

    assert play.states() == ("success", "stopping")
