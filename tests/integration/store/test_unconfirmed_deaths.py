"""What was lost without a witness may live on: the next attempt waits until it has fenced itself."""

from __future__ import annotations

from datetime import timedelta

from execplane.contract.observations import Diagnosis, Gone
from execplane.contract.states import AttemptState, TaskState
from execplane.executors.driver import ends
from tests.integration.store.conftest import Ledger
from tests.integration.store.test_the_fence import launched, pass_fence


def lose(ledger: Ledger, *, finished: bool) -> None:
    attempt = launched(ledger)
    pass_fence(ledger, attempt)
    diagnosis = Diagnosis(category="node_lost", sentence="The pod is gone.", infrastructure=True)
    fact = Gone(attempt_id=attempt.pk, uid="u1", at=ledger.now, diagnosis=diagnosis, finished=finished)
    ends.end_gone(fact, now=ledger.now, infra_retries=3, self_fence_seconds=600, actor="driver")


def test_after_an_unconfirmed_death_the_next_attempt_waits_for_the_self_fence(ledger: Ledger) -> None:
    lose(ledger, finished=False)

    instance = ledger.instance()
    assert (ledger.attempt().state, instance.state) == (AttemptState.FAILED, TaskState.UP_FOR_RETRY)
    assert instance.eligible_at is not None
    assert instance.eligible_at >= ledger.now + timedelta(seconds=600)
    assert "not confirmed" in ledger.attempt().reason


def test_after_a_confirmed_death_it_waits_for_the_back_off_only(ledger: Ledger) -> None:
    lose(ledger, finished=True)

    instance = ledger.instance()
    assert instance.eligible_at is not None
    assert instance.eligible_at < ledger.now + timedelta(seconds=60)
