"""Who may claim, with which token, and what a token is good for afterwards."""

from __future__ import annotations

from datetime import timedelta

import jwt
import msgspec
import pytest
from django.urls import reverse

from execplane.contract.messages import (
    ClaimAnswer,
    EndAnswer,
    Heartbeat,
    HeartbeatAnswer,
    LogBatch,
    SecretValue,
    XComPull,
    XComPush,
    XComValue,
)
from execplane.contract.observations import Acknowledged
from execplane.contract.states import AttemptState
from execplane.kube.review import PodIdentity
from execplane.store.models import Attempt
from execplane.store.transitions import ending, observing
from tests.integration.worker_api.conftest import NONCE, UID, Caller

BEAT = Heartbeat(nonce=NONCE, log_offset=0)


def test_a_claim_tells_all_that_the_worker_needs(caller: Caller) -> None:
    attempt = caller.launched()
    answer = caller.claim(attempt).read(ClaimAnswer)

    assert (answer.dag_file, answer.bundle, answer.source) == ("orders.py", "b" * 64, "bundle")
    assert (answer.heartbeat_seconds, answer.self_fence_seconds, answer.grace_seconds) == (10, 600, 30)
    assert (answer.task.try_number, answer.task.max_tries) == (1, 3)
    assert (answer.run.run_type, answer.run.logical_date) == ("manual", caller.now)
    assert answer.env == {"EXECPLANE_TIMETABLE_SEMANTICS": "instant"}
    assert answer.ignore_syntax == "regexp"
    assert answer.web_url == "http://web" + reverse("attempt", args=[attempt.pk])
    assert answer.token_expires_at == caller.now + timedelta(hours=1)


def test_a_claim_is_idempotent_for_the_same_process_and_refused_for_any_other(caller: Caller) -> None:
    attempt = caller.launched()
    first = caller.claim(attempt).read(ClaimAnswer)
    again = caller.claim(attempt).read(ClaimAnswer)
    assert msgspec.structs.replace(again, token="") == msgspec.structs.replace(first, token="")

    other_nonce = caller.claim(attempt, nonce="1" * 32)
    other_process = caller.claim(attempt, nonce="2" * 32, uid="boot:9:9")

    for answer in (other_nonce, other_process):
        assert (answer.status, answer.refusal.code) == (409, "fenced")
    row = Attempt.objects.get(pk=attempt.pk)
    assert (row.pod_uid, row.nonce, row.state) == (UID, NONCE, AttemptState.RUNNING)


def test_an_acknowledgement_that_comes_late_does_not_change_who_holds_the_attempt(caller: Caller) -> None:
    attempt = caller.running()

    observing.acknowledge([Acknowledged(attempt_id=attempt.pk, uid="boot:9:9", at=caller.now)])

    assert Attempt.objects.get(pk=attempt.pk).pod_uid == UID
    assert caller.call("POST", "heartbeat", BEAT).status == 200


def test_before_the_intent_is_committed_a_worker_is_to_ask_again(caller: Caller) -> None:
    attempt = caller.queued()

    answer = caller.claim(attempt)

    assert (answer.status, answer.refusal.code) == (425, "not_yet")
    assert Attempt.objects.get(pk=attempt.pk).state == AttemptState.QUEUED


def test_an_attempt_that_was_told_to_stop_is_not_claimed(caller: Caller) -> None:
    attempt = caller.launched()
    ending.request_stop([attempt.pk], actor="ada", reason="cancelled by ada", then="", now=caller.now)

    assert caller.claim(attempt).status == 409


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_a_token_that_is_none_is_refused(caller: Caller, token: str) -> None:
    attempt = caller.launched()

    answer = caller.call("POST", "claim", caller.claim_request(attempt), token=token)

    assert (answer.status, answer.refusal.code) == (401, "token")
    assert caller.call("POST", "heartbeat", BEAT, token=token).status == 401


def test_the_launch_token_of_another_attempt_is_refused(caller: Caller) -> None:
    mine, other = caller.launched(), caller.launched("load")

    answer = caller.call("POST", "claim", caller.claim_request(mine), token=caller.launch_token(other))

    assert (answer.status, answer.refusal.code) == (401, "token")


def test_an_expired_launch_token_is_refused(caller: Caller) -> None:
    attempt = caller.launched()
    token = caller.launch_token(attempt)
    caller.clock.advance(25 * 3600)

    assert caller.call("POST", "claim", caller.claim_request(attempt), token=token).status == 401


def test_a_launch_token_opens_nothing_but_the_claim_and_an_attempt_token_claims_nothing(caller: Caller) -> None:
    attempt = caller.running()

    assert caller.call("POST", "heartbeat", BEAT, token=caller.launch_token(attempt)).status == 401
    assert caller.call("POST", "claim", caller.claim_request(attempt)).status == 401


def test_a_token_that_another_key_signed_is_refused(caller: Caller) -> None:
    attempt = caller.running()
    claims = jwt.decode(caller.token, options={"verify_signature": False})
    forged = jwt.encode(claims, "another key that is long enough for it", algorithm="HS256")
    unsigned = jwt.encode(claims, "", algorithm="none")

    for token in (forged, unsigned):
        assert caller.call("POST", "heartbeat", BEAT, token=token).status == 401
    assert Attempt.objects.get(pk=attempt.pk).state == AttemptState.RUNNING


def test_another_attempts_token_ends_and_reads_nothing_of_this_one(caller: Caller) -> None:
    mine = caller.running()
    other = caller.launched("load")
    token = caller.claim(other).read(ClaimAnswer).token

    pushed = XComPush(nonce=NONCE, values=(XComValue(task_id="extract", key="k", value=msgspec.Raw(b"1")),))
    answer = caller.call("PUT", "xcoms", pushed, token=token)

    assert (answer.status, answer.refusal.code) == (400, "malformed")
    caller.token = token
    assert caller.end().read(EndAnswer).accepted
    assert Attempt.objects.get(pk=mine.pk).state == AttemptState.RUNNING
    assert Attempt.objects.get(pk=other.pk).state == AttemptState.SUCCESS


def test_an_expired_token_of_a_running_attempt_is_renewed_and_ends_it(caller: Caller) -> None:
    attempt = caller.running()
    caller.clock.advance(3 * 3600)

    answer = caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer)

    assert answer.token
    assert answer.token_expires_at == caller.now + timedelta(hours=1)
    assert caller.end().read(EndAnswer) == EndAnswer(accepted=True, state="success")
    assert Attempt.objects.get(pk=attempt.pk).state == AttemptState.SUCCESS


def test_a_fresh_token_is_not_renewed_and_one_past_its_half_life_is(caller: Caller) -> None:
    caller.running()

    caller.clock.advance(1700)
    assert caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer).token == ""
    caller.clock.advance(200)
    assert caller.call("POST", "heartbeat", BEAT).read(HeartbeatAnswer).token


def test_the_token_of_an_ended_attempt_opens_nothing_any_more(caller: Caller) -> None:
    caller.running()
    caller.end().read(EndAnswer)

    calls = [
        caller.call("POST", "heartbeat", BEAT),
        caller.call("PUT", "xcoms", XComPush(nonce=NONCE, values=())),
        caller.call("POST", "xcoms/pull", XComPull()),
        caller.call("GET", "variables/greeting"),
        caller.call("PUT", "variables/greeting", SecretValue(value="v")),
        caller.call("GET", "connections/warehouse"),
        caller.raw("GET", f"bundles/{'b' * 64}"),
        caller.raw("PUT", f"blobs/{'b' * 64}", b"x"),
    ]

    assert {(answer.status, answer.refusal.code) for answer in calls} == {(409, "fenced")}
    assert caller.call("POST", "logs", LogBatch(nonce=NONCE, records=())).status == 200, "last lines may come late"
    caller.clock.advance(2 * 3600)
    assert caller.end().status == 401, "and not for ever"


def test_a_pod_claims_with_the_token_that_is_bound_to_it(caller: Caller) -> None:
    attempt = caller.launched(executor="kubernetes")
    caller.pods["mine"] = PodIdentity(namespace="team", pod_name=f"launch-{attempt.pk}", pod_uid="p1")

    answer = caller.call("POST", "claim", caller.claim_request(attempt, uid="p1"), token="mine")

    claim = answer.read(ClaimAnswer)
    assert (claim.source, claim.dags_folder) == ("volume", "/dags")


@pytest.mark.parametrize(
    ("namespace", "name", "uid"),
    [("other", "launch-{}", "p1"), ("team", "another-pod", "p1"), ("team", "launch-{}", "p2")],
    ids=["another namespace", "another name", "another uid"],
)
def test_a_foreign_pod_claims_nothing(caller: Caller, namespace: str, name: str, uid: str) -> None:
    attempt = caller.launched(executor="kubernetes")
    caller.pods["theirs"] = PodIdentity(namespace=namespace, pod_name=name.format(attempt.pk), pod_uid=uid)

    answer = caller.call("POST", "claim", caller.claim_request(attempt, uid="p1"), token="theirs")

    assert (answer.status, answer.refusal.code) == (401, "token")
    assert Attempt.objects.get(pk=attempt.pk).state == AttemptState.LAUNCHED


def test_a_local_launch_token_opens_no_pods_attempt(caller: Caller) -> None:
    attempt = caller.launched(executor="kubernetes")

    assert caller.claim(attempt).status == 401


def test_a_claim_whose_key_is_not_the_attempts_is_refused(caller: Caller) -> None:
    attempt = caller.launched()
    request = caller.claim_request(attempt)
    key = msgspec.structs.replace(request.key, attempt_no=7)

    answer = caller.call("POST", "claim", msgspec.structs.replace(request, key=key), token=caller.launch_token(attempt))

    assert answer.status == 409
    unknown = msgspec.structs.replace(request, attempt_id=attempt.pk + 1000)
    assert caller.call("POST", "claim", unknown, token=caller.launch_token(attempt)).status == 409


def test_a_worker_of_a_protocol_that_is_not_spoken_is_told_so(caller: Caller) -> None:
    attempt = caller.launched()
    request = msgspec.structs.replace(caller.claim_request(attempt), protocol=99)

    answer = caller.call("POST", "claim", request, token=caller.launch_token(attempt))

    assert (answer.status, answer.refusal.code) == (400, "protocol")
    assert "worker image" in answer.refusal.hint
