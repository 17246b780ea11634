"""Kept pods whose time is over: deleted as a matter of course, many at a time, and drift only where that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from execplane.actions import drift as verbs
from execplane.contract.observations import Mended
from execplane.executors.driver import policy_deletes
from execplane.pods.reconcile import NO_FINDING, Mend, PodSeen
from execplane.store.models import Attempt, DriftFinding
from tests.integration.driver.test_reconciling import (
    World,
    running,  # noqa: F401 - a fixture
    stray,
    world,  # noqa: F401 - a fixture
)
from tests.integration.store.play import ADA


@pytest.fixture
def ended(world: World, running: Attempt) -> PodSeen:  # noqa: F811
    """The pod of an attempt that succeeded long ago; the policy keeps none of those."""
    Attempt.objects.filter(pk=running.pk).update(state="success", ended_at=world.play.now)
    world.play.later(600)
    return replace(world.pod_of(running), finished=True)


def many_ended(world: World, pod: PodSeen, count: int) -> list[PodSeen]:  # noqa: F811
    """More such pods, each of an attempt of its own."""
    assert pod.identity is not None
    row = Attempt.objects.get(pk=pod.identity.attempt_id)
    made = []
    for number in range(count):
        row.pk, row.attempt_no, row.pod_uid = 2000 + number, 100 + number, f"u{2000 + number}"
        row.pod_name = f"pod-{row.pk}"
        row.save(force_insert=True)
        made.append(replace(world.pod_of(row), finished=True))
    return made


def answer(world: World, *, done: bool) -> None:  # noqa: F811
    repair = world.cluster.repairs[-1]
    said = "It was deleted." if done else "That failed: 403"
    world.cluster.said(
        Mended(attempt_id=repair.attempt_id, finding_id=repair.finding_id, at=world.play.now, done=done, sentence=said)
    )


def test_a_pod_whose_time_is_over_is_deleted_after_two_looks_and_is_no_finding(
    world: World,  # noqa: F811
    ended: PodSeen,
) -> None:
    world.look(ended)
    assert world.cluster.repairs == []
    for _ in range(3):
        world.look(ended)
    (repair,) = world.cluster.repairs
    assert (repair.mend, repair.uid, repair.finding_id) == (Mend.DELETE, ended.uid, NO_FINDING)
    answer(world, done=True)
    world.look(ended, after_seconds=30)
    world.look(after_seconds=61)
    assert len(world.cluster.repairs) == 1
    assert not DriftFinding.objects.exists()


def test_many_of_them_neither_wait_for_nor_delay_the_repair_of_drift(world: World, ended: PodSeen) -> None:  # noqa: F811
    pods = many_ended(world, ended, 70)
    strays = [stray(number) for number in range(1, 11)]
    for _ in range(2):
        world.look(*pods, *strays)
    assert len(world.cluster.repairs) == 80
    assert len(world.open()) == 10


def test_so_many_deletes_are_under_way_at_a_time(
    world: World,  # noqa: F811
    ended: PodSeen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy_deletes, "_MOST_UNDER_WAY", 3)
    pods = many_ended(world, ended, 5)
    for _ in range(3):
        world.look(*pods)
    assert len(world.cluster.repairs) == 3
    answer(world, done=True)
    world.look(*pods)
    world.look(*pods)
    assert len({repair.uid for repair in world.cluster.repairs}) == len(world.cluster.repairs) == 4


def test_a_delete_that_fails_is_drift_and_is_tried_as_drift_is(world: World, ended: PodSeen) -> None:  # noqa: F811
    for _ in range(2):
        world.look(ended)
    answer(world, done=False)
    world.look(ended)
    world.look(ended)
    assert world.open() == [("finished_past_its_time", ended.name)]
    assert [repair.finding_id for repair in world.cluster.repairs] == [NO_FINDING, DriftFinding.objects.get().pk]


@pytest.mark.parametrize(("done", "seconds"), [(True, 61), (False, 601)])
def test_a_pod_that_is_still_there_long_after_its_delete_is_drift(
    world: World,  # noqa: F811
    ended: PodSeen,
    done: bool,
    seconds: float,
) -> None:
    """Not done: the answer was lost."""
    for _ in range(2):
        world.look(ended)
    if done:
        answer(world, done=True)
    world.look(ended)
    assert world.open() == []
    world.look(ended, after_seconds=seconds)
    assert world.open() == [("finished_past_its_time", ended.name)]


def test_what_an_operator_leaves_is_left_by_the_next_driver_too(world: World, ended: PodSeen) -> None:  # noqa: F811
    for _ in range(2):
        world.look(ended)
    answer(world, done=False)
    world.look(ended)
    finding = DriftFinding.objects.get()
    verbs.decide(ADA, finding.pk, "leave", clock=world.play.clock)
    ordered = len(world.cluster.repairs)
    world.loop._reconciler = world.loop._make_reconciler()
    for _ in range(3):
        world.look(ended, after_seconds=61)
    assert len(world.cluster.repairs) == ordered
    assert world.open() == [("finished_past_its_time", ended.name)]
