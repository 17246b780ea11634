"""What was lost without a witness may live on: the next attempt waits until it has fenced itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from execplane.contract.observations import Diagnosis, Gone
from execplane.contract.states import AttemptState, TaskState
from execplane.executors.driver import ends
from execplane.executors.task_policy import FailurePolicy
from tests.integration.store.play import Play

FENCED = timedelta(seconds=660)
"""The self-fence time and its margin."""


def lose(play: Play, *, finished: bool = False, infra_retries: int = 3) -> None:
    diagnosis = Diagnosis(category="node_lost", sentence="The pod is gone.", infrastructure=True)
    uid = play.attempt().pod_uid
    fact = Gone(attempt_id=play.attempt().pk, uid=uid, at=play.now, diagnosis=diagnosis, finished=finished)
    ends.end_gone(
        fact, now=play.now, failures=FailurePolicy(infra_retries=infra_retries), self_fence_seconds=600, actor="driver"
    )


def starts_only_after(play: Play, wait: timedelta) -> None:
    """The second attempt is queued then, and not a second sooner; the run knows when."""
    play.decide()
    assert play.attempt().attempt_no == 1
    assert play.run().decide_at == play.now + wait
    play.later(wait.total_seconds() - 1)
    play.decide()
    assert play.attempt().attempt_no == 1
    play.later(1)
    play.decide()
    assert play.attempt().attempt_no == 2


def test_after_an_unconfirmed_death_the_next_attempt_waits_for_the_self_fence(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)

    lose(play)

    assert play.states() == ("up_for_retry", "failed")
    assert "not confirmed" in play.attempt().reason
    starts_only_after(play, FENCED)


def test_after_a_confirmed_death_it_waits_for_the_back_off_only(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)

    lose(play, finished=True)

    instance = play.instance()
    assert instance.eligible_at is not None
    assert instance.eligible_at < play.now + timedelta(seconds=60)


def test_the_wait_counts_from_the_last_sign_of_life(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.later(500)

    lose(play)

    starts_only_after(play, FENCED - timedelta(seconds=500))


def test_a_task_cleared_in_flight_waits_for_the_self_fence_of_an_attempt_that_vanishes(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.clear()

    lose(play)

    assert play.states() == ("none", "cancelled")
    assert "not confirmed" in play.attempt().reason
    starts_only_after(play, FENCED)
    assert play.attempt().cause == "clear"


def test_a_task_cleared_in_flight_starts_at_once_after_a_confirmed_death(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.clear()

    lose(play, finished=True)

    play.decide()
    assert play.attempt().attempt_no == 2


@pytest.mark.parametrize("infra_retries", [3, 0])
def test_a_clear_after_an_unconfirmed_death_does_not_cut_the_wait_short(play: Play, infra_retries: int) -> None:
    play.bring_to(AttemptState.RUNNING)
    lose(play, infra_retries=infra_retries)
    assert play.states() == ("failed" if infra_retries == 0 else "up_for_retry", "failed")

    play.clear()

    assert play.states() == ("none", "failed")
    starts_only_after(play, FENCED)


def test_a_task_marked_in_flight_and_cleared_later_waits_as_well(play: Play) -> None:
    play.bring_to(AttemptState.RUNNING)
    play.mark(TaskState.SUCCESS)
    lose(play)
    assert play.states() == ("success", "cancelled")

    play.clear()

    starts_only_after(play, FENCED)


@pytest.mark.parametrize("clears", [True, False])
def test_a_death_that_is_confirmed_after_all_ends_the_wait(play: Play, clears: bool) -> None:
    play.bring_to(AttemptState.RUNNING)
    lose(play)
    if clears:
        play.clear()
        assert "may live on" in play.instance().reason
    play.later(30)

    lose(play, finished=True)

    assert play.attempt().gone_at == play.now
    play.decide()
    assert play.attempt().attempt_no == 2


def test_what_never_passed_the_fence_is_not_waited_for(play: Play) -> None:
    """It can pass none any more: its attempt has ended."""
    play.bring_to(AttemptState.LAUNCHED)
    play.clear()

    lose(play)

    play.decide()
    assert play.attempt().attempt_no == 2
