"""The driver compares its executor's pods with the ledger: what two looks find is stored, shown and mended, and what
another life of the database made holds launches until an operator decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.actions import drift as verbs
from execplane.contract.errors import Conflict, InvalidInput
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Acknowledged, Mended, Missed
from execplane.contract.workload import Intent, Workload
from execplane.executors.driver import reconciling
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.pods.identity import PodIdentity
from execplane.pods.reconcile import Look, Mend, Patience, PodSeen, Repair
from execplane.store import drift_rows
from execplane.store.models import Attempt, DriftFinding, DriftLook
from execplane.store.queries import drift
from tests.integration.driver.conftest import Recorder, many
from tests.integration.store.play import ADA, Play


@dataclass
class Clustered(Recorder):
    """An executor that launches nothing, and shows whatever pods it is told to."""

    namespaces: dict[str, Look] = field(default_factory=dict)
    trouble: str = ""
    repairs: list[Repair] = field(default_factory=list)
    incarnations: list[int] = field(default_factory=list)
    cluster: str = ""
    patience: Patience = field(default_factory=Patience)

    def build(self, workload: Workload) -> Intent:
        self.incarnations.append(workload.incarnation)
        name = f"pod-{workload.attempt_id}"
        return Intent(attempt_id=workload.attempt_id, key=workload.key, namespace="ns", name=name, body=b"bytes")

    def looks(self) -> Mapping[str, Look]:
        return dict(self.namespaces)

    def unseen(self) -> Mapping[str, str]:
        return {} if "ns" in self.namespaces else {"ns": self.trouble}

    def look_again(self) -> None:
        self.asked.append(("look", ()))

    def repair(self, repairs: Sequence[Repair]) -> None:
        self.repairs += repairs

    def times(self, verb: str) -> int:
        return sum(1 for asked, _ in self.asked if asked == verb)


@dataclass
class World:
    loop: DriverLoop
    cluster: Clustered
    play: Play

    def whole_list(self, *pods: PodSeen, namespace: str = "ns") -> Look:
        return Look(namespace=namespace, at=self.play.now, started=self.play.clock.monotonic(), pods=pods)

    def look(self, *pods: PodSeen, namespace: str = "ns", after_seconds: float = 5) -> None:
        """A new list that shows these pods, and as many ticks as its comparison takes."""
        self.play.later(after_seconds)
        self.cluster.namespaces[namespace] = self.whole_list(*pods, namespace=namespace)
        for _ in range(10):
            if not self.loop.tick(self.play.now).now:
                return
        raise AssertionError("a comparison without end")

    def open(self) -> list[tuple[str, str]]:
        rows = DriftFinding.objects.filter(resolved_at=None).order_by("pk")
        return list(rows.values_list("kind", "pod_name"))

    def pod_of(self, attempt: Attempt) -> PodSeen:
        task = TaskKey(
            dag_id=attempt.dag_id, run_id=attempt.run_id, task_id=attempt.task_id, map_index=attempt.map_index
        )
        key = AttemptKey(task=task, attempt_no=attempt.attempt_no)
        return PodSeen(
            namespace="ns", name=f"pod-{attempt.pk}", uid=f"u{attempt.pk}", identity=identity(attempt.pk, key)
        )


LONG_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


def identity(attempt_id: int, key: AttemptKey | None = None, incarnation: int = 1) -> PodIdentity:
    task = TaskKey(dag_id="orders", run_id="gone", task_id="extract")
    return PodIdentity(
        attempt_id=attempt_id,
        key=key or AttemptKey(task=task, attempt_no=1),
        try_number=1,
        deployment_id="d",
        incarnation=incarnation,
    )


def stray(
    attempt_id: int,
    *,
    finished: bool = True,
    deleted_by: datetime | None = None,
    created_at: datetime = LONG_BEFORE,
) -> PodSeen:
    """A pod of an attempt that the ledger does not have."""
    return PodSeen(
        namespace="ns",
        name=f"stray-{attempt_id}",
        uid=f"s{attempt_id}",
        identity=identity(attempt_id),
        created_at=created_at,
        finished=finished,
        deleted_by=deleted_by,
    )


@pytest.fixture
def world(play: Play) -> World:
    cluster = Clustered()
    deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
    loop = DriverLoop(lambda: cluster, deployed, DriverOptions(), play.clock, owner="d1", wake=lambda: None)
    return World(loop=loop, cluster=cluster, play=play)


@pytest.fixture
def running(world: World) -> Attempt:
    """An attempt that was launched and acknowledged long ago; ids below its own are free for orphans."""
    world.play.decide()
    Attempt.objects.filter(pk=world.play.attempt().pk).update(id=1000)
    world.look()
    attempt = world.play.attempt()
    assert attempt.state == "launched"
    world.cluster.said(Acknowledged(attempt_id=attempt.pk, uid=f"u{attempt.pk}", at=world.play.now))
    world.loop.tick(world.play.now)
    world.play.later()
    return attempt


def test_before_the_first_look_nothing_is_launched(world: World) -> None:
    world.play.decide()

    following = world.loop.tick(world.play.now)

    assert world.cluster.launched() == []
    assert "first compares its pods with the ledger" in world.play.attempt().not_claimed_reason
    assert following.at is not None
    assert following.at - world.play.now < timedelta(seconds=1)
    world.look()
    assert world.cluster.launched() == [world.play.attempt().pk]


def test_a_first_look_that_does_not_come_is_asked_for_each_second_and_costs_no_write(world: World) -> None:
    world.play.decide()
    world.cluster.trouble = "connection refused"
    world.loop.tick(world.play.now)
    world.play.later(6)
    world.loop.tick(world.play.now)

    with CaptureQueriesContext(connection) as captured:
        following = world.loop.tick(world.play.now)

    assert following.at is not None
    assert following.at - world.play.now == timedelta(seconds=1)
    said = [query["sql"] for query in captured.captured_queries]
    assert [sql for sql in said if not sql.startswith("SELECT")] == []


def test_a_fault_of_comparing_stops_neither_clean_ups_nor_ends_and_holds_launches(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.play.decide()
    attempt = world.play.attempt()
    Attempt.objects.filter(pk=attempt.pk).update(state="failed", launched_at=world.play.now, ended_at=world.play.now)
    many(world.play, 1, first=7)
    with monkeypatch.context() as patched:
        patched.setattr(reconciling, "compare", lambda *_: 1 // 0)
        world.look()
        faults = caplog.text.count("could not be compared")
        world.play.later(1)
        world.loop.tick(world.play.now)
    assert ("clean", (attempt.pk,)) in world.cluster.asked
    assert world.cluster.launched() == []
    assert "That fails: ZeroDivisionError" in Attempt.objects.latest("pk").not_claimed_reason
    assert (faults, caplog.text.count("could not be compared")) == (1, 1), "not at each tick"

    world.play.later(10)  # the list is the same one
    for _ in range(5):
        world.loop.tick(world.play.now)

    assert world.cluster.launched() == [Attempt.objects.latest("pk").pk]


def test_what_does_not_go_is_written_once_and_not_with_each_look(world: World, running: Attempt) -> None:
    stuck = [stray(number, deleted_by=world.play.now - timedelta(minutes=10)) for number in range(1, 11)]
    for _ in range(2):
        world.look(world.pod_of(running), *stuck)
    with CaptureQueriesContext(connection) as captured:
        world.look(world.pod_of(running), *stuck, after_seconds=61)
    said = [query["sql"] for query in captured.captured_queries]
    assert len([sql for sql in said if sql.startswith('UPDATE "execplane_driftfinding"')]) <= 2


def test_a_namespace_that_cannot_be_listed_is_not_waited_for(world: World) -> None:
    world.play.decide()
    world.cluster.trouble = "403 Forbidden"
    world.look(namespace="other")
    assert world.cluster.launched() == [world.play.attempt().pk]
    assert drift.looks()[0].unseen == "ns: 403 Forbidden"


def test_one_look_is_a_suspicion_and_a_second_one_a_finding(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    world.look(mine, stray(7))
    assert world.open() == []
    assert world.cluster.repairs == []
    asked = world.cluster.times("look")
    world.play.later(5)
    world.loop.tick(world.play.now)
    assert world.cluster.times("look") == asked + 1, "a second look is asked for"

    world.look(mine, stray(7), after_seconds=0)

    assert world.open() == [("orphan", "stray-7")]
    (repair,) = world.cluster.repairs
    assert (repair.mend, repair.uid, repair.name) == (Mend.DELETE, "s7", "stray-7")


def test_what_a_second_look_does_not_find_was_none(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    world.look(mine, stray(7))
    world.look(mine)
    world.look(mine, stray(7))
    assert DriftFinding.objects.count() == 0


def test_what_was_done_is_noted_and_the_finding_ends_with_its_pod(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    for _ in range(2):
        world.look(mine, stray(7))
    (repair,) = world.cluster.repairs
    world.cluster.said(
        Mended(attempt_id=7, finding_id=repair.finding_id, at=world.play.now, done=True, sentence="It was deleted.")
    )

    world.look(mine)

    row = drift.finding(repair.finding_id)
    assert (row.action, row.action_by) == ("It was deleted.", "d1")
    assert row.resolved_at == world.play.now
    assert world.open() == []


def test_a_repair_that_fails_is_tried_again_but_not_for_ever(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    for _ in range(12):
        world.look(mine, stray(7), after_seconds=61)
    assert len(world.cluster.repairs) == 5
    assert world.open() == [("orphan", "stray-7")]


def test_a_repair_that_is_under_way_is_not_ordered_twice(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    for _ in range(4):
        world.look(mine, stray(7))
    assert len(world.cluster.repairs) == 1


def test_a_pass_mends_only_so_many(world: World, running: Attempt) -> None:
    strays = [stray(number) for number in range(1, 61)]
    for _ in range(2):
        world.look(world.pod_of(running), *strays)
    assert len(world.open()) == 60
    assert len(world.cluster.repairs) == 50
    world.look(world.pod_of(running), *strays)
    assert len(world.cluster.repairs) == 60


def test_without_the_lease_nothing_is_mended(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    world.look(mine, stray(7))
    # It is lost while the second look is being compared.
    world.loop.may_act = lambda: not DriftFinding.objects.exists()
    world.play.later(5)
    world.cluster.namespaces["ns"] = world.whole_list(mine, stray(7))
    for _ in range(5):
        world.loop.tick(world.play.now)
    assert world.open() == [("orphan", "stray-7")]
    assert world.cluster.repairs == []


def test_an_attempt_whose_pod_is_missing_is_looked_at_again_by_the_executor(world: World, running: Attempt) -> None:
    world.look()
    assert ("adopt", (running.pk,)) not in world.cluster.asked
    world.look()
    assert world.open() == [("missing", f"pod-{running.pk}")]
    assert ("adopt", (running.pk,)) in world.cluster.asked
    assert drift.findings().rows[0].action_by == "d1"


def test_a_list_of_one_namespace_says_nothing_about_another(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    for _ in range(2):
        world.look(mine, stray(7))
    world.look(namespace="other")
    assert world.open() == [("orphan", "stray-7")]


def test_the_next_driver_keeps_what_the_last_one_found(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    for _ in range(2):
        world.look(mine, stray(7))
    first = DriftFinding.objects.get()
    world.loop.close()
    world.cluster.namespaces.clear()

    world.look(mine, stray(7))

    row = DriftFinding.objects.get()
    assert (row.pk, row.resolved_at, row.first_seen) == (first.pk, None, first.first_seen)


def test_a_pod_that_ends_meanwhile_is_the_same_finding_with_another_mend(world: World, running: Attempt) -> None:
    mine = world.pod_of(running)
    for _ in range(2):
        world.look(mine, stray(7, finished=False))
    assert world.cluster.repairs == []
    world.look(mine, stray(7))
    assert [repair.mend for repair in world.cluster.repairs] == [Mend.DELETE]
    assert DriftFinding.objects.count() == 1


def test_what_a_list_found_gone_before_the_watch_told_is_kept_as_drift(world: World, running: Attempt) -> None:
    pod = world.pod_of(running)
    assert pod.identity is not None
    world.cluster.said(
        Missed(
            attempt_id=running.pk, key=pod.identity.key, namespace="ns", name=pod.name, uid=pod.uid, at=world.play.now
        )
    )
    world.loop.tick(world.play.now)
    (row,) = drift.findings(resolved=True).rows
    assert (row.kind, row.resolved_at, row.action_by) == ("missing", world.play.now, "d1")
    assert drift.findings().rows == ()


# What operators decide


def test_an_operator_has_a_foreign_pod_deleted(world: World, running: Attempt) -> None:
    alien = stray(running.pk + 5, finished=False)
    for _ in range(2):
        world.look(world.pod_of(running), alien)
    (row,) = drift.findings().rows
    verbs.decide(ADA, row.id, "delete", "nobody wants it", clock=world.play.clock)
    world.play.later(2)
    asked = world.cluster.times("look")
    world.loop.tick(world.play.now)
    assert world.cluster.times("look") == asked + 1, "the driver looks at once"

    world.look(world.pod_of(running), alien, after_seconds=0)

    assert [(one.mend, one.uid) for one in world.cluster.repairs] == [(Mend.DELETE, alien.uid)]
    assert drift_rows.holding() == []


def test_a_pod_that_an_operator_leaves_is_left(world: World, running: Attempt) -> None:
    for _ in range(2):
        world.look(world.pod_of(running), stray(7, finished=False))
    (row,) = drift.findings().rows
    verbs.decide(ADA, row.id, "leave", clock=world.play.clock)
    for _ in range(2):
        world.look(world.pod_of(running), stray(7))
    assert world.cluster.repairs == []


def test_force_needs_a_reason_and_a_pod_that_is_stuck(world: World, running: Attempt) -> None:
    stuck = stray(7, deleted_by=world.play.now - timedelta(hours=1))
    for _ in range(2):
        world.look(world.pod_of(running), stuck, stray(8, finished=False))
    rows = {row.kind: row for row in drift.findings().rows}
    with pytest.raises(InvalidInput, match="needs a reason"):
        verbs.decide(ADA, rows["stuck_terminating"].id, "force", " ", clock=world.play.clock)
    with pytest.raises(InvalidInput, match="may be: leave, delete"):
        verbs.decide(ADA, rows["orphan"].id, "force", "because", clock=world.play.clock)
    assert world.cluster.repairs == [], "by itself nothing is done about it"

    verbs.decide(ADA, rows["stuck_terminating"].id, "force", "the node burned", clock=world.play.clock)
    world.look(world.pod_of(running), stuck)

    assert [(one.mend, one.uid) for one in world.cluster.repairs] == [(Mend.FORCE, stuck.uid)]


def test_what_is_resolved_is_not_decided_any_more(world: World, running: Attempt) -> None:
    for _ in range(2):
        world.look(world.pod_of(running), stray(7, finished=False))
    (row,) = drift.findings().rows
    world.look(world.pod_of(running))
    with pytest.raises(Conflict, match="is resolved"):
        verbs.decide(ADA, row.id, "leave", clock=world.play.clock)


def test_a_look_that_somebody_asks_for_comes_at_once(world: World, running: Attempt) -> None:
    world.look(world.pod_of(running))
    asked = world.cluster.times("look")
    verbs.look(ADA, ("local",), clock=world.play.clock)
    world.play.later(2)
    for _ in range(3):
        world.loop.tick(world.play.now)
    assert world.cluster.times("look") == asked + 1
    world.look(world.pod_of(running))
    look = DriftLook.objects.get(pk="local")
    assert (look.at, look.pods, look.attempts) == (world.play.now, 1, 1)
