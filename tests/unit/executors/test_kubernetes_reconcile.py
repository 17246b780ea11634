"""The executor's part of reconciliation: lists as they are compared, repairs by uid alone, what the watch missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from execplane.contract.observations import Cleaned, Fact, Gone, Mended, Missed
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_reconcile import Looks, Mender, look_at
from execplane.kube.client import Client, ListMeta, Page
from execplane.kube.errors import AccessDenied, AnswerLost, KubeError, NotFound, PreconditionFailed
from execplane.pods.reconcile import Mend, Repair
from execplane.pods.status import Pod, decode_pod
from tests.conftest import TestClock
from tests.parts.eventually import eventually
from tests.unit.kube.test_tracker import World

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def pod(name: str) -> Pod:
    return decode_pod(msgspec.json.encode({"metadata": {"name": name, "namespace": "ns", "uid": f"u-{name}"}}))


# Looks


def test_a_list_that_arrives_late_does_not_replace_a_newer_one() -> None:
    looks = Looks()
    looks.took("ns", START, 20.0, [pod("new")])
    looks.took("ns", START + timedelta(minutes=5), 10.0, [pod("old")])  # the clock was set back in between
    assert [one.name for one in looks.newest()["ns"].pods] == ["new"]


class Lists:
    """The API server's lists: a page a pod, and namespaces that it refuses."""

    def __init__(self, pods: dict[str, list[str]]) -> None:
        self.pods = pods
        self.selectors: set[str] = set()

    def list_pages(self, path: str, *, label_selector: str = "") -> Iterator[Page]:
        self.selectors.add(label_selector)
        namespace = path.split("/")[-2]
        if namespace not in self.pods:
            raise AccessDenied(f"pods is forbidden in {namespace}", status=403)
        for name in self.pods[namespace]:
            body = msgspec.Raw(msgspec.json.encode({"metadata": {"name": name, "namespace": namespace}}))
            yield Page(metadata=ListMeta(resource_version="1"), items=[body])


def test_one_namespace_that_may_not_be_read_hides_no_other(clock: TestClock) -> None:
    lists = Lists({"ns": ["a", "b"], "also": []})
    options = KubernetesOptions(deployment_id="dep", namespace="ns", namespaces=("closed", "also"))

    looks, unseen = look_at(cast(Client, lists), options, clock)

    assert {name: [one.name for one in look.pods] for name, look in looks.items()} == {"ns": ["a", "b"], "also": []}
    assert unseen == "closed: pods is forbidden in closed"
    assert lists.selectors == {"execplane.io/deployment=dep,!execplane.io/cluster"}


# Repairs


class Server:
    """Notes what is asked of it, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int | None]] = []
        self.error: KubeError | None = None

    def delete_pod(self, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None) -> None:
        self.asked.append(("delete", uid, grace_seconds))
        if self.error is not None:
            raise self.error

    def patch_pod(self, namespace: str, name: str, patch: dict[str, Any]) -> bytes:
        self.asked.append(("patch", patch["metadata"]["uid"], patch["spec"]["activeDeadlineSeconds"]))
        return b"{}"


Order = Callable[[Mend], Mended]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def order(server: Server, clock: TestClock) -> Iterator[Order]:
    """Orders one repair and gives its answer."""
    facts: list[Mended] = []
    mender = Mender(cast(Client, server), clock, facts.extend)

    def ordered(mend: Mend) -> Mended:
        facts.clear()
        mender.order([Repair(finding_id=3, mend=mend, namespace="ns", name="p", uid="u1", attempt_id=7)])
        eventually(lambda: facts, 10)
        return facts[0]

    yield ordered
    mender.close()


@pytest.mark.parametrize(
    ("mend", "asked"),
    [(Mend.DELETE, ("delete", "u1", None)), (Mend.FORCE, ("delete", "u1", 0)), (Mend.END, ("patch", "u1", 1))],
)
def test_a_repair_names_its_pods_uid(server: Server, order: Order, mend: Mend, asked: tuple[str, str, int]) -> None:
    fact = order(mend)
    assert server.asked == [asked]
    assert (fact.finding_id, fact.attempt_id, fact.done) == (3, 7, True)


@pytest.mark.parametrize("error", [NotFound("gone", status=404), PreconditionFailed("another uid", status=409)])
def test_a_pod_that_is_gone_or_another_one_is_mended(server: Server, order: Order, error: KubeError) -> None:
    server.error = error
    fact = order(Mend.DELETE)
    assert (fact.done, fact.sentence) == (True, "It was gone already.")


def test_a_repair_whose_answer_is_lost_is_not_called_done(server: Server, order: Order) -> None:
    server.error = AnswerLost("sent, but no answer came")
    fact = order(Mend.DELETE)
    assert (fact.done, fact.sentence) == (False, "That failed: sent, but no answer came")
    assert len(server.asked) == 1, "the next look orders it again"


# What the watch missed


def missed(world: World) -> list[Missed]:
    return [fact for fact in world.facts if isinstance(fact, Missed)]


def listed(world: World, *pods: Pod, after_seconds: float = 0) -> list[Fact]:
    world.clock.seconds += after_seconds
    world.tracker.listed("ns", pods, world.clock.monotonic())
    return world.facts


def test_an_end_that_only_a_list_told_is_missed_once() -> None:
    world = World().launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    listed(world)
    assert [kind for kind in world.kinds() if kind in ("Gone", "Cleaned")] == ["Gone", "Cleaned"]
    listed(world)
    assert missed(world) == [], "the watch may be a moment behind"

    listed(world, after_seconds=60)
    listed(world, after_seconds=60)

    (fact,) = missed(world)
    assert (fact.attempt_id, fact.uid, fact.key) == (world.intent.attempt_id, "u1", world.intent.key)


def test_an_end_that_the_watch_tells_a_moment_later_is_no_drift() -> None:
    world = World().launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    listed(world)
    world.tracker.changed("DELETED", world.pod(phase="Running"))
    listed(world, after_seconds=60)
    assert missed(world) == []


def test_a_pod_that_we_had_stopped_ourselves_is_not_missed() -> None:
    world = World().launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    world.tracker.stop(world.handle("u1"))
    listed(world)
    listed(world, after_seconds=60)
    assert missed(world) == []
    assert any(isinstance(fact, Gone) for fact in world.facts)


def test_a_launch_that_went_while_nobody_drove_is_missed() -> None:
    world = World()
    world.tracker.adopt([world.handle("u1")])
    listed(world)
    listed(world, after_seconds=60)
    assert [type(fact) for fact in world.facts] == [Gone, Cleaned, Missed]
