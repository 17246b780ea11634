"""Stops that come beside a create: what is not there yet is not gone, and no pod is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest

from execplane.contract.observations import Acknowledged, Fact, Gone
from execplane.contract.workload import Handle, Intent
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_remove import Removal, Remover
from execplane.executors.kubernetes_tracker import Tracker
from execplane.kube.client import Client
from execplane.kube.errors import NotFound
from execplane.pods.build import BuildOptions, build_intent, build_pod
from execplane.pods.default_template import default_template
from tests.conftest import TestClock
from tests.parts.eventually import eventually
from tests.unit.pods.samples import workload


class Pods:
    """The API server's pods, as far as a remover asks: at most one, and what happens while it is looked for."""

    def __init__(self) -> None:
        self.pod: bytes | None = None
        self.looked = 0
        self.deleted: list[tuple[str, int | None]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def get_pod(self, namespace: str, name: str) -> bytes:
        found = self.pod
        self.looked += 1
        self.meanwhile()
        if found is None:
            raise NotFound(f"pods {name} not found", status=404)
        return found

    def delete_pod(self, namespace: str, name: str, *, uid: str, grace_seconds: int | None) -> None:
        self.deleted.append((uid, grace_seconds))


class World:
    """A launch whose create is under way, and the remover that is told to stop it."""

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock
        self.pods = Pods()
        self.creating = True
        self.facts: list[Fact] = []
        self.woken = threading.Semaphore(0)
        self.tracker = Tracker(clock)
        self.tracker.connect(self.facts.extend, lambda entry: None)
        options = KubernetesOptions(deployment_id="d", repair_seconds=1.0)
        self.remover = Remover(
            cast(Client, self.pods), self.tracker, options, clock, lambda attempt_id: self.creating, self.woken.release
        )
        given = workload()
        built = build_pod(given, [default_template()], BuildOptions(image="x", namespace="ns"))
        self._pod = built.pod
        self.intent: Intent = build_intent(built, given)
        assert self.tracker.expect(self.intent)

    def created(self) -> None:
        """The API server has made the pod, and has answered."""
        made: dict[str, Any] = {**self._pod, "metadata": {**self._pod["metadata"], "uid": "u1"}, "status": {}}
        self.pods.pod = msgspec.json.encode(made)
        self.creating = False

    def stop(self) -> None:
        intent = self.intent
        handle = Handle(attempt_id=intent.attempt_id, key=intent.key, namespace=intent.namespace, name=intent.name)
        self.remover.remove(Removal(entry=self.tracker.stop(handle), grace_seconds=7))
        self.answered()

    def answered(self) -> None:
        """The removal's try is over: it asks to be waited for."""
        assert self.woken.acquire(timeout=10)

    def gone(self) -> list[Gone]:
        return [fact for fact in self.facts if isinstance(fact, Gone)]


@pytest.fixture
def world(clock: TestClock) -> Iterator[World]:
    one = World(clock)
    yield one
    one.remover.close()


def test_a_stop_beside_a_create_waits_for_the_creates_answer_and_deletes_its_pod(world: World) -> None:
    world.stop()
    assert (world.pods.looked, world.facts, world.pods.deleted) == (1, [], [])

    world.created()
    fact = Acknowledged(attempt_id=world.intent.attempt_id, uid="u1", at=world.clock.now())
    assert world.tracker.answered(fact), "the attempt was told to stop meanwhile"
    world.clock.advance(1.1)
    world.remover.tick()

    eventually(lambda: world.pods.deleted == [("u1", 7)], 10)
    assert world.gone() == []


def test_a_create_that_ends_while_its_pod_is_looked_for_is_not_taken_for_one_that_never_was(world: World) -> None:
    world.pods.meanwhile = world.created

    world.stop()

    assert world.gone() == []
    world.clock.advance(1.1)
    world.remover.tick()
    eventually(lambda: world.pods.deleted == [("u1", 7)], 10)


def test_a_create_that_was_refused_leaves_nothing_to_stop(world: World) -> None:
    world.stop()

    world.creating = False
    world.clock.advance(1.1)
    world.remover.tick()

    (gone,) = eventually(world.gone, 10)
    assert gone.attempt_id == world.intent.attempt_id
    assert world.pods.deleted == []


def test_a_delete_waits_for_the_pods_flight_record_and_no_longer_than_that(world: World) -> None:
    world.created()
    world.tracker.answered(Acknowledged(attempt_id=world.intent.attempt_id, uid="u1", at=world.clock.now()))
    entry = world.tracker.entry(world.intent.attempt_id)
    assert entry is not None

    world.remover.remove(Removal(entry=entry, not_before=world.clock.monotonic() + 5, after_record=True))
    world.remover.tick()
    assert world.pods.deleted == []

    world.remover.recorded(entry.attempt_id)
    eventually(lambda: world.pods.deleted == [("u1", None)], 10)


def test_a_record_that_is_never_made_does_not_keep_the_pod(world: World) -> None:
    world.created()
    world.tracker.answered(Acknowledged(attempt_id=world.intent.attempt_id, uid="u1", at=world.clock.now()))
    entry = world.tracker.entry(world.intent.attempt_id)
    assert entry is not None
    world.remover.remove(Removal(entry=entry, not_before=world.clock.monotonic() + 5, after_record=True))

    world.clock.advance(5.1)
    world.remover.tick()

    eventually(lambda: world.pods.deleted == [("u1", None)], 10)


def test_what_was_to_end_a_kept_pods_containers_is_called_off_when_they_end_by_themselves(world: World) -> None:
    world.created()
    world.tracker.answered(Acknowledged(attempt_id=world.intent.attempt_id, uid="u1", at=world.clock.now()))
    entry = world.tracker.entry(world.intent.attempt_id)
    assert entry is not None
    due = world.clock.monotonic() + 30
    world.remover.remove(Removal(entry=entry, not_before=due, sidecars_only=True))
    assert world.remover.tick() == due

    world.remover.call_off(entry.attempt_id)

    assert world.remover.tick() is None
