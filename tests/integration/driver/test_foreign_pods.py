"""Pods that another life of the database made: launches are held, and whoever decides about them is heard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from execplane.actions import drift as verbs
from execplane.contract.errors import Conflict
from execplane.store import drift_rows
from execplane.store.models import Attempt, Deployment
from execplane.store.queries import drift
from tests.integration.driver.test_reconciling import (
    World,
    identity,
    running,  # noqa: F401 - a fixture
    stray,
    world,  # noqa: F401 - a fixture
)
from tests.integration.store.play import ADA


def test_pods_that_this_database_cannot_have_made_hold_launches_until_released(world: World) -> None:  # noqa: F811
    world.play.decide()
    attempt = world.play.attempt()
    alien = stray(attempt.pk + 5, finished=False)

    world.look(alien)
    assert "a second look follows" in world.play.attempt().not_claimed_reason
    world.look(alien)
    assert world.open() == [("foreign_incarnation", alien.name)]
    assert "until an operator decides" in world.play.attempt().not_claimed_reason
    world.look()  # that it is gone now does not bring back what the database has lost
    assert world.cluster.launched() == []
    assert world.cluster.repairs == []

    assert verbs.release(ADA, "local", "restored on purpose", clock=world.play.clock) == 1
    world.loop.tick(world.play.now)

    assert world.cluster.launched() == [attempt.pk]
    assert world.cluster.incarnations == [2], "what is made now can be told from what was there"
    assert Deployment.objects.get().incarnation == 2
    with pytest.raises(Conflict, match="Nothing holds"):
        verbs.release(ADA, "local", clock=world.play.clock)


def test_a_released_pod_holds_nothing_again_not_even_after_a_take_over(world: World) -> None:  # noqa: F811
    world.play.decide()
    alien = stray(world.play.attempt().pk + 5, finished=False)
    for _ in range(2):
        world.look(alien)
    verbs.release(ADA, "local", clock=world.play.clock)
    world.loop.close()
    world.cluster.namespaces.clear()
    world.look(alien)
    assert world.cluster.launched() == [world.play.attempt().pk]


def test_a_release_is_about_the_foreign_pods_that_were_not_stored_too(
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift_rows, "MOST_OPEN", 3)
    world.play.decide()
    attempt = world.play.attempt()
    strays = [stray(attempt.pk + number, finished=False) for number in range(5, 10)]
    for _ in range(3):
        world.look(*strays)
    assert len(world.open()) == 3
    assert "until an operator decides" in world.play.attempt().not_claimed_reason

    verbs.release(ADA, "local", "known", clock=world.play.clock)
    world.look(*strays)

    assert world.cluster.launched() == [attempt.pk]
    world.look(*strays[2:])  # the first two have gone and make room for those that were left off
    assert drift_rows.holding() == []
    assert [row.decision_reason for row in drift.findings().rows] == ["known"] * 3


def test_a_foreign_pod_that_is_made_after_a_release_holds_launches_again_however_many_there_are(
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift_rows, "MOST_OPEN", 3)
    world.play.decide()
    first = world.play.attempt().pk + 5
    strays = [stray(first + number, finished=False) for number in range(3)]
    for _ in range(2):
        world.look(*strays)
    verbs.release(ADA, "local", clock=world.play.clock)
    world.play.later(60)
    later = [stray(first + number, finished=False, created_at=world.play.now) for number in range(3, 5)]

    for _ in range(2):
        world.look(*strays, *later)

    assert later[0].name in drift_rows.hold_reason("local")
    assert len(world.open()) == 4, "one is stored although there is no room"
    verbs.decide(ADA, drift.held()[0].id, "leave", clock=world.play.clock)
    world.look(*strays, *later)
    assert later[1].name in drift_rows.hold_reason("local"), "leaving one pod says nothing about another"


def test_a_foreign_pod_is_stored_before_all_others(world: World, running: Attempt, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setattr(drift_rows, "MOST_OPEN", 3)
    alien = stray(running.pk + 5, finished=False)
    for _ in range(2):
        world.look(world.pod_of(running), *[stray(number, finished=False) for number in range(1, 5)], alien)
    assert world.open()[0] == ("foreign_incarnation", alien.name)
    assert len(world.open()) == 3


def test_a_look_at_one_namespace_does_not_dispel_what_was_seen_in_another(world: World) -> None:  # noqa: F811
    world.play.decide()
    attempt = world.play.attempt()
    world.look(stray(attempt.pk + 5, finished=False))
    asked = world.cluster.times("look")
    world.look(namespace="other", after_seconds=1)
    assert world.cluster.launched() == []
    world.play.later(5)
    world.loop.tick(world.play.now)
    assert world.cluster.times("look") == asked + 1, "and the second look at it is asked for still"


@pytest.mark.parametrize("said", [-1, 2**31 - 1, 2**70])
def test_no_incarnation_that_a_pod_claims_breaks_the_driver(world: World, said: int) -> None:  # noqa: F811
    world.play.decide()
    attempt = world.play.attempt()
    alien = replace(stray(attempt.pk + 5), identity=identity(attempt.pk + 5, incarnation=said))
    for _ in range(2):
        world.look(alien)
    assert world.open() == [("foreign_incarnation", alien.name)]
    assert Deployment.objects.get().incarnation < 2**31 - 1


def test_intents_of_an_earlier_life_are_not_sent_again_while_held(world: World) -> None:  # noqa: F811
    world.play.decide()
    world.look()
    attempt = world.play.attempt()
    assert world.cluster.launched() == [attempt.pk]
    alien = stray(attempt.pk + 5)
    for seconds in (5, 5, 61, 61):
        world.look(alien, after_seconds=seconds)
    assert world.cluster.launched() == [attempt.pk], "no answer has come for a minute, and yet"
    verbs.release(ADA, "local", clock=world.play.clock)
    world.loop.tick(world.play.now)
    assert world.cluster.launched() == [attempt.pk] * 2
