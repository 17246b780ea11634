"""At most one start per attempt: the claim with its fence."""

from __future__ import annotations

from execplane.contract.observations import Acknowledged
from execplane.contract.states import AttemptState, TaskState
from execplane.contract.workload import Intent
from execplane.store.database import write
from execplane.store.models import Attempt, AttemptEvent
from execplane.store.transitions import ending, launching, observing
from execplane.store.transitions.launching import Passed
from tests.integration.store.conftest import Ledger


def launched(ledger: Ledger) -> Attempt:
    attempt = ledger.queue()
    with write():
        assert launching.claim([attempt.pk], owner="d1", now=ledger.now) == [attempt.pk]
    intent = Intent(attempt_id=attempt.pk, key=_key(attempt), name=f"local-{attempt.pk}", body=b"exact bytes")
    assert launching.commit_intents([intent], owner="d1", now=ledger.now) == [attempt.pk]
    return Attempt.objects.get(pk=attempt.pk)


def _key(attempt: Attempt):  # type: ignore[no-untyped-def]
    from execplane.store.launch_rows import launch_rows

    return launch_rows([attempt.pk])[0].key


def pass_fence(ledger: Ledger, attempt: Attempt, uid: str = "u1", nonce: str = "n1") -> Passed:
    return launching.pass_fence(attempt.pk, uid=uid, nonce=nonce, hostname="h", worker_version="1", now=ledger.now)


def test_a_launched_attempt_starts_and_its_task_instance_runs(ledger: Ledger) -> None:
    attempt = launched(ledger)

    assert pass_fence(ledger, attempt) == Passed(code="running", first_time=True)

    assert ledger.attempt().state == AttemptState.RUNNING
    assert ledger.instance().state == TaskState.RUNNING


def test_where_a_process_runs_is_its_host_and_a_pod_s_host_name_is_no_node(ledger: Ledger) -> None:
    process = launched(ledger)
    pass_fence(ledger, process)
    assert ledger.attempt().node == "h"

    Attempt.objects.filter(pk=process.pk).update(state=AttemptState.LAUNCHED, namespace="ns", node="", nonce="")
    pass_fence(ledger, process)
    assert ledger.attempt().node == ""


def test_the_claim_is_idempotent_for_the_same_process(ledger: Ledger) -> None:
    attempt = launched(ledger)
    pass_fence(ledger, attempt)

    assert pass_fence(ledger, attempt) == Passed(code="running", first_time=False)


def test_a_second_process_of_the_same_pod_is_refused(ledger: Ledger) -> None:
    attempt = launched(ledger)
    pass_fence(ledger, attempt)

    assert pass_fence(ledger, attempt, nonce="n2").code == "fenced"
    assert ledger.attempt().nonce == "n1"


def test_another_pod_than_the_acknowledged_one_is_refused(ledger: Ledger) -> None:
    attempt = launched(ledger)
    observing.acknowledge([Acknowledged(attempt_id=attempt.pk, uid="u1", at=ledger.now)])

    assert pass_fence(ledger, attempt, uid="u2").code == "fenced"
    assert ledger.attempt().state == AttemptState.LAUNCHED


def test_before_the_intent_is_committed_a_worker_is_told_to_ask_again(ledger: Ledger) -> None:
    attempt = ledger.queue()

    assert pass_fence(ledger, attempt).code == "not_yet"


def test_an_attempt_that_was_told_to_stop_never_starts(ledger: Ledger) -> None:
    attempt = launched(ledger)
    ending.request_stop([attempt.pk], actor="ada", reason="no", then="", now=ledger.now)

    assert pass_fence(ledger, attempt).code == "fenced"


def test_an_intent_is_committed_only_by_the_owner_of_the_claim(ledger: Ledger) -> None:
    attempt = ledger.queue()
    with write():
        launching.claim([attempt.pk], owner="d1", now=ledger.now)
    assert launching.unclaim("d2", "local", now=ledger.now) == 1
    intent = Intent(attempt_id=attempt.pk, key=_key(attempt), name="x", body=b"b")

    assert launching.commit_intents([intent], owner="d1", now=ledger.now) == []
    assert ledger.attempt().state == AttemptState.QUEUED


def test_every_transition_leaves_one_event_with_growing_numbers(ledger: Ledger) -> None:
    attempt = launched(ledger)
    pass_fence(ledger, attempt)
    end = ending.AttemptEnd(state=AttemptState.SUCCESS, task_state=TaskState.SUCCESS)
    assert ending.end_attempt(attempt.pk, end, actor="worker", now=ledger.now, nonce="n1")

    story = list(AttemptEvent.objects.filter(attempt_id=attempt.pk).order_by("seq").values_list("seq", "to_state"))
    assert story == [(0, "queued"), (1, "claimed"), (2, "launched"), (3, "running"), (4, "success")]
    assert ledger.run().decide_at == ledger.now


def test_a_late_end_is_recorded_and_moves_nothing(ledger: Ledger) -> None:
    attempt = launched(ledger)
    pass_fence(ledger, attempt)
    success = ending.AttemptEnd(state=AttemptState.SUCCESS, task_state=TaskState.SUCCESS)
    ending.end_attempt(attempt.pk, success, actor="worker", now=ledger.now, nonce="n1")
    failed = ending.AttemptEnd(state=AttemptState.FAILED, task_state=TaskState.FAILED, reason="too late")

    assert not ending.end_attempt(attempt.pk, failed, actor="driver", now=ledger.now)

    assert ledger.attempt().state == AttemptState.SUCCESS
    assert ledger.instance().state == TaskState.SUCCESS
    assert AttemptEvent.objects.filter(attempt_id=attempt.pk, reason__contains="too late").count() == 1


def test_a_process_that_did_not_pass_the_fence_cannot_end_the_attempt(ledger: Ledger) -> None:
    attempt = launched(ledger)
    pass_fence(ledger, attempt)
    end = ending.AttemptEnd(state=AttemptState.SUCCESS, task_state=TaskState.SUCCESS)

    assert not ending.end_attempt(attempt.pk, end, actor="impostor", now=ledger.now, nonce="n2")
    assert ledger.attempt().state == AttemptState.RUNNING
