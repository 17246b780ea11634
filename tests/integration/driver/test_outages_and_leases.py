"""What the driver's loop does when the database fails it, when its lease runs out, when a clear comes between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from execplane.contract.errors import InvalidInput, Unavailable
from execplane.contract.messages import End
from execplane.contract.observations import Acknowledged, Diagnosis, Gone, LaunchRefused
from execplane.contract.states import AttemptState
from execplane.executors.driver import ends
from execplane.executors.task_policy import FailurePolicy
from execplane.store import launch_rows
from execplane.store.database import is_outage
from execplane.store.transitions import ending, launching
from tests.integration.driver.conftest import Driven
from tests.integration.store.invariants import violations
from tests.integration.store.play import Play
from tests.parts.eventually import scaled

GONE = Diagnosis(category="killed", sentence="It was killed.", exit_code=137, infrastructure=True)


class Failing:
    """Makes one function fail for a while, as a database that is gone would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception) -> None:
        self.real: Callable[..., Any] = getattr(owner, name)
        self.error: Exception | None = error
        monkeypatch.setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.real(*args, **kwargs)


def test_a_claim_that_broke_off_before_its_intent_is_claimed_again(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven.play.decide()
    failing = Failing(monkeypatch, launching, "commit_intents", Unavailable("The database is gone."))
    with pytest.raises(Unavailable):
        driven.tick()
    assert driven.play.attempt().state == AttemptState.CLAIMED
    failing.error = None

    driven.tick()

    assert driven.play.attempt().state == AttemptState.LAUNCHED
    assert driven.recorder.launched() == [driven.play.attempt().pk]
    assert violations() == []


def test_a_restarted_driver_of_the_same_name_takes_back_its_own_claims(driven: Driven) -> None:
    driven.play.decide()
    driven.play.claim()
    assert driven.play.attempt().owner == "d1"

    driven.tick()

    assert driven.recorder.launched() == [driven.play.attempt().pk]


def test_facts_are_kept_while_the_database_is_gone(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    driven.recorder.said(
        Acknowledged(attempt_id=attempt.pk, uid="u1", at=driven.play.now),
        Gone(attempt_id=attempt.pk, uid="u1", at=driven.play.now, diagnosis=GONE),
    )
    failing = Failing(monkeypatch, ending, "end_attempt", Unavailable("The database is gone."))
    for _ in range(3):
        with pytest.raises(Unavailable):
            driven.tick()
    failing.error = None

    driven.tick()

    assert driven.play.states() == ("up_for_retry", "failed")
    assert violations() == []


def test_a_fact_that_cannot_be_written_down_keeps_no_other_from_it(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    real = ends.end_gone

    def faulty(fact: Gone, **more: Any) -> None:
        if fact.attempt_id != attempt.pk:
            raise ValueError("a fault of ours")
        real(fact, **more)

    monkeypatch.setattr(ends, "end_gone", faulty)
    driven.recorder.said(
        Gone(attempt_id=attempt.pk + 1, uid="u", at=driven.play.now, diagnosis=GONE),
        Gone(attempt_id=attempt.pk, uid="u", at=driven.play.now, diagnosis=GONE),
    )

    driven.tick()

    assert driven.play.attempt().state == AttemptState.FAILED
    assert "is dropped" in caplog.text


@pytest.mark.parametrize("verb", ["launch", "stop", "adopt", "clean", "start"])
def test_nothing_is_asked_of_the_executor_once_the_lease_ran_out(driven: Driven, verb: str) -> None:
    play = driven.play
    if verb == "launch":
        driven.tick()
        play.decide()
    elif verb == "stop":
        driven.tick()
        play.bring_to(AttemptState.STOPPING)
    elif verb == "adopt":
        play.bring_to(AttemptState.RUNNING)
        driven.tick()
        driven.loop.close()
    elif verb == "clean":
        driven.tick()
        play.bring_to(AttemptState.RUNNING)
        play.report("success")
    driven.recorder.asked.clear()
    driven.loop.may_act = lambda: False

    driven.tick()

    assert driven.recorder.asked == []
    driven.loop.may_act = lambda: True
    driven.tick()
    # An intent that was committed is not sent by the one who may have lost it, but found by whoever adopts.
    found = "adopt" if verb == "launch" else verb
    assert found in [asked for asked, _ in driven.recorder.asked]


def test_an_intent_whose_launch_the_lease_forbade_is_launched_by_whoever_drives_next(driven: Driven) -> None:
    driven.tick()
    driven.play.decide()
    driven.loop.may_act = lambda: False
    driven.tick()
    assert driven.play.attempt().state == AttemptState.LAUNCHED
    driven.loop.may_act = lambda: True

    driven.tick()

    attempt = driven.play.attempt()
    assert driven.recorder.asked[-1] == ("adopt", (attempt.pk,))
    never = Diagnosis(category="unanswered", sentence="It never came to be.", infrastructure=True)
    driven.recorder.said(LaunchRefused(attempt_id=attempt.pk, diagnosis=never, retry=True, at=driven.play.now))
    driven.tick()
    assert driven.recorder.launched() == [attempt.pk]


def test_what_was_reported_before_the_lease_was_lost_is_not_applied_after_it_is_won_again(driven: Driven) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    taken = Diagnosis(category="name_taken", sentence="The name is taken.", infrastructure=True)
    old = driven.recorder.report
    assert old is not None
    driven.recorder.said(
        LaunchRefused(attempt_id=attempt.pk, diagnosis=taken, retry=False, new_attempt=True, at=driven.play.now)
    )
    driven.loop.close()
    driven.play.fence()

    driven.tick()
    old([LaunchRefused(attempt_id=attempt.pk, diagnosis=taken, retry=False, new_attempt=True, at=driven.play.now)])
    driven.tick()

    assert driven.play.states() == ("running", "running")


@pytest.mark.django_db(transaction=True)
class TestAClearBetween:
    """Two connections: the verdict is found and written under one lock."""

    def test_a_clear_that_comes_while_the_end_is_found_is_not_lost(
        self, play: Play, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempt = play.bring_to(AttemptState.RUNNING)
        reading, cleared = threading.Event(), threading.Event()
        real = launch_rows.ending_row

        def slow(attempt_id: int) -> Any:
            row = real(attempt_id)
            reading.set()
            cleared.wait(scaled(0.5))  # the clear has to wait for us; that it does not come is the point
            return row

        monkeypatch.setattr(launch_rows, "ending_row", slow)

        def clear() -> None:
            reading.wait(scaled(10))
            play.clear()
            cleared.set()
            connection.close()

        thread = threading.Thread(target=clear)
        thread.start()
        end = End(nonce=f"n{attempt.pk}", outcome="failed", ended_at=play.now)
        ends.end_reported(attempt.pk, end, (), now=play.now, failures=FailurePolicy(), actor="worker")
        thread.join(scaled(30))

        assert cleared.is_set()
        assert play.states() == ("none", "failed")
        assert violations() == []


def test_a_cut_connection_is_an_outage_and_a_bad_statement_is_not() -> None:
    assert is_outage(OperationalError("server closed the connection"))
    assert is_outage(Unavailable("gone"))
    assert not is_outage(InvalidInput("no"))


def test_a_launch_that_is_refused_again_and_again_is_sent_ever_later_up_to_a_minute(driven: Driven) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    waits: list[float] = []
    for asked in (0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0):
        fact = LaunchRefused(
            attempt_id=attempt.pk, diagnosis=GONE, retry=True, retry_after_seconds=asked, at=driven.play.now
        )
        driven.recorder.said(fact)
        driven.tick()
        retry_at = driven.play.attempt().retry_at
        assert retry_at is not None
        waits.append((retry_at - driven.play.now).total_seconds())
        driven.play.later(waits[-1])
    assert waits[1:] == [1, 2, 10, 8, 16, 32, 60, 60]
