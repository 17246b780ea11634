"""The death of an attempt that had reported its end is noted by one statement: it is what nearly every attempt does."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.contract.observations import Diagnosis, Gone
from execplane.contract.states import AttemptState
from execplane.store.database import write
from execplane.store.transitions import ending
from tests.integration.store.play import Play


def test_an_ordinary_death_is_noted_without_a_lock(play: Play) -> None:
    attempt = play.bring_to(AttemptState.RUNNING)
    play.report("success")
    play.later(1)

    with write(), CaptureQueriesContext(connection) as sent:
        ending.gone(attempt.pk, play.now)

    assert play.attempt().gone_at == play.now
    assert [query["sql"].split()[0] for query in sent.captured_queries] == ["UPDATE"]


def test_the_moment_of_a_death_that_is_told_again_later_stays(play: Play) -> None:
    attempt = play.bring_to(AttemptState.RUNNING)
    play.report("success")
    ending.gone(attempt.pk, play.now)
    noted_at = play.now
    play.later(1)

    ending.gone(attempt.pk, play.now)

    assert play.attempt().gone_at == noted_at


def test_an_attempt_that_has_not_ended_is_not_gone(play: Play) -> None:
    attempt = play.bring_to(AttemptState.RUNNING)

    ending.gone(attempt.pk, play.now)

    assert play.attempt().gone_at is None


def test_deaths_that_follow_ends_are_noted_together_and_the_others_left_for_the_verdict(play: Play) -> None:
    attempt = play.bring_to(AttemptState.RUNNING)
    uid = play.attempt().pod_uid

    def death(uid: str) -> Gone:
        return Gone(attempt_id=attempt.pk, uid=uid, at=play.now, diagnosis=Diagnosis(category="", sentence=""))

    assert ending.followed([death(uid)]) == set()
    play.report("success")
    play.later(1)

    assert ending.followed([death("another"), death("")]) == set()
    assert play.attempt().gone_at is None

    assert ending.followed([death(uid), death(uid)]) == {(attempt.pk, uid)}
    assert play.attempt().gone_at == play.now
    play.later(1)
    assert ending.followed([death(uid)]) == set()
