"""The flight recorder beside everything else: bounded, never in the way, and honest about what it could not read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from execplane.contract.flight import Flight, unpack
from execplane.contract.observations import Recorded
from execplane.executors import kubernetes_flight
from execplane.executors.kubernetes_entries import LastSight
from execplane.executors.kubernetes_flight import FlightRecorder
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.client import Client
from execplane.kube.errors import AccessDenied, KubeError, NotFound
from execplane.pods.status import decode_pod
from tests.conftest import TestClock
from tests.parts.eventually import eventually

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
    "spec": {"nodeName": "n1", "containers": [{"name": "base"}, {"name": "proxy"}, {"name": "late"}]},
    "status": {
        "phase": "Failed",
        "containerStatuses": [
            {"name": "proxy", "state": {"running": {"startedAt": "2026-03-01T12:00:00Z"}}},
            {"name": "base", "imageID": "reg/x@sha256:ab", "state": {"terminated": {"exitCode": 3}}},
            {"name": "late", "state": {"waiting": {"reason": "ContainerCreating"}}},
        ],
    },
}
PATH = "/api/v1/namespaces/ns/pods/p"
ANSWERS: dict[str, bytes | KubeError] = {
    PATH: msgspec.json.encode(POD),
    f"{PATH}/log?base": b"one\ntwo\n",
    f"{PATH}/log?proxy": b"",
    "/api/v1/namespaces/ns/events": msgspec.json.encode({"items": [{"reason": "BackOff", "type": "Warning"}]}),
    "/api/v1/nodes/n1": msgspec.json.encode({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
}


class Api:
    """The API server, as far as a recorder asks."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.each_takes = 0.0
        self.clock: TestClock | None = None

    def request(self, method: str, path: str, *, query: Any = (), timeout_seconds: float | None = None) -> bytes:
        assert method == "GET", "it only reads"
        assert timeout_seconds is not None, "no call without a limit"
        self.gate.wait(10)
        asked = f"{path}?{dict(query)['container']}" if path.endswith("/log") else path
        self.asked.append(asked)
        if self.clock is not None:
            self.clock.advance(self.each_takes)
        answer = self.answers[asked]
        if isinstance(answer, KubeError):
            raise answer
        return answer


class World:
    def __init__(self, clock: TestClock) -> None:
        self.api = Api()
        self.facts: list[Recorded] = []
        self.done: list[int] = []
        options = KubernetesOptions(deployment_id="d", flight_record_threads=1)
        self.recorder = FlightRecorder(
            cast(Client, self.api), options, clock, report=self.facts.append, done=self.done.append
        )

    def made(self, sight: LastSight) -> Flight:
        return unpack(self.recorder.make(sight).body)


def sight(attempt_id: int = 7, whole: bytes = b"", *, seen: bool = True) -> LastSight:
    pod = decode_pod(msgspec.json.encode(POD)) if seen else None
    return LastSight(attempt_id=attempt_id, namespace="ns", name="p", uid="u1", pod=pod, whole=whole)


@pytest.fixture
def world(clock: TestClock) -> Iterator[World]:
    one = World(clock)
    yield one
    one.api.gate.set()
    one.recorder.close()


def test_a_record_has_the_pod_its_events_its_node_and_the_last_lines_of_what_has_begun(world: World) -> None:
    fact = world.recorder.make(sight())
    found = unpack(fact.body)

    assert found.pod["spec"]["nodeName"] == "n1"
    assert [(one.container, one.text) for one in found.lines] == [("base", "one\ntwo\n"), ("proxy", "")]
    assert [one.reason for one in found.events] == ["BackOff"]
    assert found.node is not None
    assert found.unread == ()
    assert (fact.node, fact.image_digest) == ("n1", "sha256:ab")


def test_a_pod_that_somebody_deleted_is_recorded_as_it_was_seen_last(world: World) -> None:
    gone = NotFound("pods p not found", status=404)
    world.api.answers.update({PATH: gone, f"{PATH}/log?base": gone, f"{PATH}/log?proxy": gone})

    found = world.made(sight(whole=msgspec.json.encode(POD)))

    assert PATH not in world.api.asked, "the watch brought it"
    assert found.pod["status"]["phase"] == "Failed"
    assert [one.unread for one in found.lines] == ["it is gone", "it is gone"]
    assert [one.reason for one in found.events] == ["BackOff"], "events outlive their pod"


def test_of_a_pod_that_only_the_tracker_remembers_its_status_is_kept(world: World) -> None:
    world.api.answers[PATH] = NotFound("pods p not found", status=404)

    found = world.made(sight())

    assert found.pod == {"status": POD["status"]}
    assert found.unread == ("Could not read the pod itself: it is gone.",)


def test_a_later_pod_of_the_same_name_is_not_taken_for_it(world: World) -> None:
    other = {**POD, "metadata": {**POD["metadata"], "uid": "u2"}}
    world.api.answers[PATH] = msgspec.json.encode(other)

    found = world.made(sight(seen=False))

    assert found.pod == {}
    assert "gone" in found.unread[0]


def test_what_the_role_does_not_allow_is_named(world: World) -> None:
    denied = AccessDenied("GET /api/v1/nodes/n1: 403 Forbidden: nodes is forbidden", status=403)
    world.api.answers["/api/v1/nodes/n1"] = denied

    first, second = world.made(sight()), world.made(sight(8))

    assert first.unread == ("Could not read node n1: execplane's role does not allow it.",)
    assert second.unread == first.unread
    assert world.api.asked.count("/api/v1/nodes/n1") == 1, "one answer for all pods of a node"


def test_a_slow_api_server_costs_a_record_its_rest_and_no_more(world: World, clock: TestClock) -> None:
    world.api.clock, world.api.each_takes = clock, 6.0

    found = world.made(sight(whole=msgspec.json.encode(POD)))

    assert len(world.api.asked) == 2
    assert [one.unread != "" for one in found.lines] == [False, True]
    assert "longer than 10 s" in found.unread[-1]


def test_each_attempt_is_recorded_once_at_a_time_and_told_when_it_is_done(world: World) -> None:
    world.api.gate.clear()
    world.recorder.capture(sight())
    world.recorder.capture(sight())
    assert world.recorder.under_way(7)

    world.api.gate.set()

    eventually(lambda: world.done == [7], 10)
    assert not world.recorder.under_way(7)
    assert [fact.attempt_id for fact in world.facts] == [7]


def test_more_than_can_wait_is_dropped_and_nobody_is_held_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_flight, "_MOST_WAITING", 3)
    world.api.gate.clear()

    for attempt_id in range(10):
        world.recorder.capture(sight(attempt_id))

    world.api.gate.set()
    eventually(lambda: len(world.done) == 3, 10)
    assert not world.recorder.under_way(9)


def test_a_fault_of_ours_in_one_record_leaves_its_pod_to_be_cleaned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FlightRecorder, sight: LastSight) -> Recorded:
        raise ValueError(sight)

    monkeypatch.setattr(FlightRecorder, "make", broken)

    world.recorder.capture(sight())

    eventually(lambda: world.done == [7], 10)
    assert not world.recorder.under_way(7)
