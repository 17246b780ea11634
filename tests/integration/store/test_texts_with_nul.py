"""A NUL in what a cluster says costs nothing but itself: PostgreSQL takes it neither as text nor as JSON."""

from __future__ import annotations

import msgspec

from execplane.contract.observations import Diagnosis, Gone, Progress
from execplane.contract.states import AttemptState
from execplane.executors.driver import ends
from execplane.executors.task_policy import FailurePolicy
from execplane.pods.observe import observe
from execplane.pods.status import Pod, decode_pod
from execplane.store.models import AttemptEvent, WaitingReason
from execplane.store.transitions import observing
from tests.integration.store.play import Play

SAID = "bad \0 byte"
KEPT = "bad  byte"


def pod_with(state: str, **fields: object) -> Pod:
    container = {"name": "base", "state": {state: {"message": SAID, **fields}}}
    status = {"phase": "Failed", "containerStatuses": [container]}
    return decode_pod(msgspec.json.encode({"metadata": {"name": "p"}, "spec": {}, "status": status}))


def test_a_pods_end_is_written_down_although_its_termination_message_has_a_nul(play: Play) -> None:
    attempt = play.bring_to(AttemptState.RUNNING)
    pod = pod_with("terminated", exitCode=3, reason="Error")
    end = observe(pod).end
    assert end is not None
    end = msgspec.structs.replace(end, sentence=f"{end.sentence} {SAID}", hint=SAID)
    fact = Gone(
        attempt_id=attempt.pk, uid=attempt.pod_uid, at=play.now, diagnosis=end, status=pod.status_dict(),
        verdict=SAID.encode(),
    )  # fmt: skip

    ends.end_gone(fact, now=play.now, failures=FailurePolicy(), self_fence_seconds=600, actor="d1")

    row = play.attempt()
    assert row.state == AttemptState.FAILED
    assert row.status is not None
    assert row.status["containerStatuses"][0]["state"]["terminated"]["message"] == KEPT
    assert (KEPT in row.reason, row.hint) == (True, KEPT)
    assert KEPT in AttemptEvent.objects.filter(attempt_id=attempt.pk).latest("pk").reason


def test_why_a_pod_waits_is_written_down_although_it_has_a_nul(play: Play) -> None:
    attempt = play.bring_to(AttemptState.LAUNCHED)
    waiting = Diagnosis(category="image_pull", sentence=SAID)
    status = pod_with("waiting").status_dict()

    fact = Progress(attempt_id=attempt.pk, uid="u", at=play.now, waiting=waiting, status=status)
    observing.observe([fact], now=play.now)

    assert WaitingReason.objects.get().sentence == KEPT
    kept = play.attempt().status
    assert kept is not None
    assert kept["containerStatuses"][0]["state"]["waiting"]["message"] == KEPT
