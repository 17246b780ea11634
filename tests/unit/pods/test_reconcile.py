"""Ledger against cluster: which difference is which, what mends it, and what must never be proposed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.states import ATTEMPT_ENDED, AttemptState
from execplane.pods.identity import ATTEMPT_ID, INCARNATION, PodIdentity
from execplane.pods.reconcile import (
    HOLDING,
    Beliefs,
    Believed,
    Finding,
    Kind,
    Look,
    Mend,
    Patience,
    PodSeen,
    compare,
    seen_pod,
)
from execplane.pods.status import decode_pod

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=5)
JUST_NOW = NOW - timedelta(seconds=1)
OURS = "dep-1"
IN_HAND = (AttemptState.LAUNCHED, AttemptState.RUNNING, AttemptState.STOPPING)
NEWEST = 100


def key(number: int) -> AttemptKey:
    return AttemptKey(task=TaskKey(dag_id="d", run_id="r", task_id=f"t{number}"), attempt_no=1)


def row(number: int = 1, state: AttemptState = AttemptState.RUNNING, **more: Any) -> Believed:
    given_: dict[str, Any] = {
        "attempt_id": number,
        "key": key(number),
        "state": state,
        "namespace": "ns",
        "name": f"pod-{number}",
        "uid": f"uid-{number}",
        "acknowledged_at": LONG_AGO,
        "ended_at": LONG_AGO if state in ATTEMPT_ENDED else None,
    }
    return Believed(**{**given_, **more})


def pod(number: int = 1, *, deployment: str = OURS, incarnation: int = 1, **more: Any) -> PodSeen:
    who = PodIdentity(
        attempt_id=number, key=key(number), try_number=1, deployment_id=deployment, incarnation=incarnation
    )
    given_: dict[str, Any] = {"namespace": "ns", "name": f"pod-{number}", "uid": f"uid-{number}", "identity": who}
    return PodSeen(**{**given_, **more})


def found(
    rows: Sequence[Believed],
    pods: Sequence[PodSeen],
    patience: Patience | None = None,
    now: datetime = NOW,
    newest: int = NEWEST,
) -> tuple[Finding, ...]:
    beliefs = Beliefs(
        deployment_id=OURS, incarnation=1, newest_attempt_id=newest, rows={one.attempt_id: one for one in rows}
    )
    return compare(beliefs, [Look(namespace="ns", at=now, started=0.0, pods=tuple(pods))], patience or Patience(), now)


def verdicts(findings: Sequence[Finding]) -> list[tuple[Kind, Mend]]:
    return [(one.kind, one.mend) for one in findings]


FINISHED: dict[str, Any] = {"finished": True, "finished_at": LONG_AGO}
CASES: dict[str, tuple[list[Believed], list[PodSeen], list[tuple[Kind, Mend]]]] = {
    "a running attempt and its pod": ([row()], [pod()], []),
    "a pod whose attempt is no longer in the ledger and runs": ([], [pod()], [(Kind.ORPHAN, Mend.OPERATOR)]),
    "the same, ended": ([], [pod(**FINISHED)], [(Kind.ORPHAN, Mend.DELETE)]),
    "an end that the ledger has not heard of": ([row()], [pod(**FINISHED)], [(Kind.ZOMBIE, Mend.TELL)]),
    "an end of this second": ([row()], [pod(finished=True, finished_at=JUST_NOW)], []),
    "an end whose time nobody tells": ([row()], [pod(finished=True)], [(Kind.ZOMBIE, Mend.TELL)]),
    "an ended attempt whose pod runs on": (
        [row(state=AttemptState.SUCCESS)],
        [pod()],
        [(Kind.UNDEAD, Mend.DELETE)],
    ),
    "a failed one, whose pod is kept": ([row(state=AttemptState.FAILED)], [pod()], [(Kind.UNDEAD, Mend.END)]),
    "one that ended this second": ([row(state=AttemptState.SUCCESS, ended_at=JUST_NOW)], [pod()], []),
    "no pod": ([row()], [], [(Kind.MISSING, Mend.TELL)]),
    "no pod yet": ([row(acknowledged_at=JUST_NOW)], [], []),
    "no pod, and no answer to its create": (
        [row(state=AttemptState.LAUNCHED, uid="", acknowledged_at=None)],
        [],
        [],
    ),
    "no pod in a namespace that was not looked at": ([row(namespace="other")], [], []),
    "another pod under the attempt's name": (
        [row()],
        [pod(uid="uid-x")],
        [(Kind.DUPLICATE, Mend.DELETE), (Kind.MISSING, Mend.TELL)],
    ),
    "a copy beside the attempt's pod": (
        [row()],
        [pod(), pod(name="copy", uid="uid-x")],
        [(Kind.DUPLICATE, Mend.DELETE)],
    ),
    "a copy while it is not settled which one is the attempt's": (
        [row(state=AttemptState.LAUNCHED, uid="", acknowledged_at=None)],
        [pod(name="copy", uid="uid-x")],
        [(Kind.DUPLICATE, Mend.OPERATOR)],
    ),
    "a pod on its way out": ([row()], [pod(deleted_by=NOW + timedelta(seconds=20))], []),
    "a pod that does not go": ([row()], [pod(deleted_by=LONG_AGO)], [(Kind.STUCK_TERMINATING, Mend.OPERATOR)]),
    "a pod that should be deleted by now": (
        [row(state=AttemptState.SUCCESS)],
        [pod(**FINISHED)],
        [(Kind.FINISHED_PAST_ITS_TIME, Mend.DELETE)],
    ),
    "a pod that the policy keeps": ([row(state=AttemptState.FAILED)], [pod(**FINISHED)], []),
    "an attempt of the future": ([], [pod(NEWEST + 1)], [(Kind.FOREIGN_INCARNATION, Mend.OPERATOR)]),
    "an attempt that was never launched": (
        [row(state=AttemptState.QUEUED, uid="", name="", namespace="")],
        [pod()],
        [(Kind.FOREIGN_INCARNATION, Mend.OPERATOR)],
    ),
    "an id that belongs to another task": (
        [replace(row(state=AttemptState.SUCCESS), key=key(7))],
        [pod(**FINISHED)],
        [(Kind.FOREIGN_INCARNATION, Mend.OPERATOR)],
    ),
    "another incarnation's": ([], [pod(incarnation=2)], [(Kind.FOREIGN_INCARNATION, Mend.OPERATOR)]),
    "another incarnation's, of an attempt in hand": ([row()], [pod(incarnation=2)], []),
    "another incarnation's, ended": ([], [pod(incarnation=2, **FINISHED)], [(Kind.FOREIGN_INCARNATION, Mend.OPERATOR)]),
    "another deployment's": ([], [pod(deployment="dep-2")], []),
    "annotations that say nothing": ([], [pod(identity=None)], [(Kind.UNREADABLE, Mend.OPERATOR)]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_difference_has_its_kind_and_its_mend(case: str) -> None:
    rows, pods, wanted = CASES[case]
    assert verdicts(found(rows, pods)) == wanted


def test_what_the_policy_keeps_is_deleted_when_its_time_is_over() -> None:
    rows, pods = [row(state=AttemptState.FAILED)], [pod(**FINISHED)]
    assert found(rows, pods, Patience(kept_seconds=6 * 3600)) == ()
    assert verdicts(found(rows, pods, Patience(kept_seconds=4 * 3600))) == [(Kind.FINISHED_PAST_ITS_TIME, Mend.DELETE)]


def test_only_a_pod_that_is_its_ended_attempts_by_its_uid_is_an_ordinary_delete() -> None:
    def ordinary(uid: str, *pods: PodSeen) -> list[bool]:
        return [one.by_policy for one in found([row(state=AttemptState.SUCCESS, uid=uid)], list(pods))]

    mine = pod(**FINISHED)
    assert ordinary(mine.uid, mine) == [True]
    # The ledger never heard its pod's uid: the name is all it knows.
    assert ordinary("", mine) == [False]
    assert ordinary(mine.uid, pod(name="copy", uid="uid-x", **FINISHED)) == [False]


PAST_ITS_TIME = [(Kind.FINISHED_PAST_ITS_TIME, Mend.DELETE)]


@pytest.mark.parametrize(
    ("outcome", "policy", "wanted"),
    [
        (AttemptState.FAILED, {"kept_by_outcome": {AttemptState.FAILED: 6 * 3600}}, []),
        (AttemptState.FAILED, {"kept_by_outcome": {AttemptState.FAILED: 4 * 3600}}, PAST_ITS_TIME),
        (AttemptState.CANCELLED, {"kept_by_outcome": {AttemptState.FAILED: 4 * 3600}}, []),
        (AttemptState.SUCCESS, {"kept_by_outcome": {AttemptState.SUCCESS: 6 * 3600}}, []),
        (AttemptState.CANCELLED, {"kept_by_outcome": {AttemptState.CANCELLED: 0}}, PAST_ITS_TIME),
        (
            AttemptState.FAILED,
            {"delete_when_failed": True, "kept_by_outcome": {AttemptState.FAILED: 6 * 3600}},
            [],
        ),
    ],
)
def test_an_outcome_may_have_a_time_of_its_own(
    outcome: AttemptState, policy: dict[str, Any], wanted: list[tuple[Kind, Mend]]
) -> None:
    rows, pods = [row(state=outcome)], [pod(**FINISHED)]
    assert verdicts(found(rows, pods, Patience(**policy))) == wanted


def test_what_outlives_its_attempt_is_ended_and_only_deleted_if_it_is_not_kept() -> None:
    kept = Patience(kept_by_outcome={AttemptState.SUCCESS: 6 * 3600})
    rows, pods = [row(state=AttemptState.SUCCESS)], [pod()]
    assert verdicts(found(rows, pods, kept)) == [(Kind.UNDEAD, Mend.END)]
    assert verdicts(found(rows, pods)) == [(Kind.UNDEAD, Mend.DELETE)]


def test_a_sentence_says_on_which_node_and_since_when_a_pod_does_not_go() -> None:
    (stuck,) = found([row()], [pod(deleted_by=LONG_AGO, node="worker-3")])
    assert "over at 2026-11-21 07:00:00 UTC" in stuck.sentence
    assert "node worker-3" in stuck.sentence
    assert found([row()], [pod(deleted_by=LONG_AGO, node="worker-3")], now=NOW + timedelta(hours=1)) == (stuck,)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [(ATTEMPT_ID, said) for said in ("0", "-3", str(1 << 63))]
    + [(INCARNATION, said) for said in ("0", "-3", str((1 << 31) - 1), str(1 << 70))],
)
def test_numbers_that_no_ledger_can_have_given_are_no_identity(annotation: str, said: str) -> None:
    annotations = {
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "try_number": "1",
        "execplane.io/attempt-no": "1",
        ATTEMPT_ID: "1",
        "execplane.io/deployment": OURS,
        INCARNATION: "1",
    }
    assert seen_of(annotations).identity is not None
    assert seen_of({**annotations, annotation: said}).identity is None


def seen_of(annotations: dict[str, str]) -> PodSeen:
    made = {"metadata": {"name": "p", "namespace": "ns", "uid": "u", "annotations": annotations}}
    return seen_pod(decode_pod(msgspec.json.encode(made)))


def test_a_look_keeps_when_a_pod_was_made_when_it_ended_and_until_when_it_should_be_gone() -> None:
    status = {
        "phase": "Running",
        "containerStatuses": [
            {"name": "base", "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T07:00:00Z"}}},
            {"name": "proxy", "state": {"running": {}}},
        ],
    }
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "deletionTimestamp": "2026-11-21T08:00:00Z"}
    metadata["creationTimestamp"] = "2026-11-21T06:00:00Z"
    seen = seen_pod(decode_pod(msgspec.json.encode({"metadata": metadata, "status": status})))
    assert (seen.finished, seen.finished_at) == (True, datetime(2026, 11, 21, 7, tzinfo=UTC))
    assert seen.deleted_by == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert seen.created_at == datetime(2026, 11, 21, 6, tzinfo=UTC)


# Properties, over small worlds in which everything that can go wrong does

MOMENTS = st.sampled_from([LONG_AGO, JUST_NOW, NOW - timedelta(seconds=200)])
ROWS = st.builds(
    lambda number, state, uid, acknowledged, ended, namespace: row(
        number,
        state,
        uid=uid and f"uid-{number}",
        acknowledged_at=acknowledged if uid else None,
        ended_at=ended if state in ATTEMPT_ENDED else None,
        namespace=namespace,
    ),
    st.integers(1, 4),
    st.sampled_from(AttemptState),
    st.booleans(),
    MOMENTS,
    MOMENTS,
    st.sampled_from(["ns", "elsewhere"]),
)
PODS = st.builds(
    lambda number, deployment, incarnation, mine, named, finished, finished_at, deleted, readable: pod(
        number,
        deployment=deployment,
        incarnation=incarnation,
        uid=f"uid-{number}" if mine else f"uid-{number}-x",
        name=f"pod-{number}" if named else f"copy-{number}",
        finished=finished,
        finished_at=finished_at if finished else None,
        deleted_by=deleted,
        **({} if readable else {"identity": None}),
    ),
    st.one_of(st.integers(1, 4), st.just(NEWEST + 5)),
    st.sampled_from([OURS, OURS, OURS, "dep-2"]),
    st.sampled_from([1, 1, 1, 2]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), MOMENTS),
    st.one_of(st.none(), st.none(), MOMENTS),
    st.sampled_from([True, True, True, False]),
)
WORLDS = st.tuples(
    st.lists(ROWS, max_size=4, unique_by=lambda one: one.attempt_id),
    st.lists(PODS, max_size=6, unique_by=lambda one: (one.name, one.uid)),
)
POLICIES = st.builds(
    Patience,
    delete_when_well=st.booleans(),
    delete_when_failed=st.booleans(),
    kept_seconds=st.sampled_from([0.0, 3600.0]),
    kept_by_outcome=st.dictionaries(st.sampled_from(sorted(ATTEMPT_ENDED)), st.sampled_from([0.0, 60.0, math.inf])),
)


def owned_in_hand(one: PodSeen, rows: Sequence[Believed]) -> bool:
    """The obvious way to say that an attempt that may be alive has this pod."""
    for each in rows:
        if each.state in IN_HAND and one.identity is not None and one.identity.deployment_id == OURS:
            same = (each.attempt_id, each.key) == (one.identity.attempt_id, one.identity.key)
            if same and (each.uid == one.uid if each.uid else (each.namespace, each.name) == (one.namespace, one.name)):
                return True
    return False


@settings(max_examples=100, deadline=None)
@given(WORLDS, POLICIES)
def test_no_pod_of_an_attempt_in_hand_is_ever_to_be_deleted_or_ended(
    world: tuple[list[Believed], list[PodSeen]], patience: Patience
) -> None:
    rows, pods = world
    doomed = {one.uid for one in found(rows, pods, patience) if one.mend in (Mend.DELETE, Mend.END)}
    assert not [one for one in pods if one.uid in doomed and owned_in_hand(one, rows)]


@settings(max_examples=100, deadline=None)
@given(WORLDS, POLICIES)
def test_of_another_deployments_pods_nothing_is_said(
    world: tuple[list[Believed], list[PodSeen]], patience: Patience
) -> None:
    rows, pods = world
    theirs = [one for one in pods if one.identity is not None and one.identity.deployment_id != OURS]
    ours = [one for one in pods if one not in theirs]
    assert found(rows, pods, patience) == found(rows, ours, patience)


@settings(max_examples=100, deadline=None)
@given(WORLDS, POLICIES)
def test_what_another_life_of_the_ledger_made_only_an_operator_judges(
    world: tuple[list[Believed], list[PodSeen]], patience: Patience
) -> None:
    rows, pods = world
    launched = {
        (one.attempt_id, one.key) for one in rows if one.state not in (AttemptState.QUEUED, AttemptState.CLAIMED)
    }
    for one in found(rows, pods, patience):
        made = next((each for each in pods if each.uid == one.uid and each.name == one.name), None)
        who = made.identity if made is not None else None
        if who is None:
            continue
        known = (who.attempt_id, who.key) in launched
        if (who.incarnation != 1 and not known) or who.attempt_id > NEWEST:
            assert one.kind in HOLDING
        if one.kind in HOLDING:
            assert one.mend is Mend.OPERATOR


@settings(max_examples=100, deadline=None)
@given(WORLDS, POLICIES)
def test_every_attempt_in_hand_has_its_pod_or_is_missed_once(
    world: tuple[list[Believed], list[PodSeen]], patience: Patience
) -> None:
    rows, pods = world
    missed = [one.attempt_id for one in found(rows, pods, patience) if one.kind is Kind.MISSING]
    wanted = [
        one.attempt_id
        for one in rows
        if one.state in IN_HAND
        and one.namespace == "ns"
        and one.acknowledged_at is not None
        and NOW - one.acknowledged_at > timedelta(seconds=30)
        and not any(owned_in_hand(each, [one]) for each in pods)
    ]
    assert sorted(missed, key=str) == sorted(wanted)


@settings(max_examples=60, deadline=None)
@given(WORLDS, POLICIES, st.randoms(use_true_random=False))
def test_the_order_of_pods_does_not_matter_and_no_pod_is_found_twice(
    world: tuple[list[Believed], list[PodSeen]], patience: Patience, dice: random.Random
) -> None:
    rows, pods = world
    before = found(rows, pods, patience)
    dice.shuffle(pods)
    assert set(found(rows, pods, patience)) == set(before)
    of_pods = [one.identity[1:] for one in before if one.kind is not Kind.MISSING]
    assert len(of_pods) == len(set(of_pods))


@settings(max_examples=100, deadline=None)
@given(WORLDS, POLICIES)
def test_once_all_is_mended_only_what_waits_for_an_operator_is_left(
    world: tuple[list[Believed], list[PodSeen]], patience: Patience
) -> None:
    rows, pods = world
    now = NOW
    for _ in range(3):  # an end that is told leaves a pod that is then deleted
        now += timedelta(days=2)
        by_pod = {one.identity[1:]: one.mend for one in found(rows, pods, patience, now)}
        told = {one.attempt_id for one in found(rows, pods, patience, now) if one.mend is Mend.TELL}
        pods = [
            replace(one, finished=True) if by_pod.get((one.namespace, one.name, one.uid)) is Mend.END else one
            for one in pods
            if by_pod.get((one.namespace, one.name, one.uid)) is not Mend.DELETE
        ]
        rows = [
            replace(one, state=AttemptState.FAILED, ended_at=now) if one.attempt_id in told else one for one in rows
        ]
    left = found(rows, pods, patience, now + timedelta(days=2))
    assert {one.mend for one in left} <= {Mend.OPERATOR}
