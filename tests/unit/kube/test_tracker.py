"""What the driver believes against what the cluster shows, in every order in which they can come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from execplane.contract.observations import Acknowledged, Cleaned, Fact, Gone, LaunchRefused, Progress
from execplane.contract.workload import Handle, Intent
from execplane.executors.kubernetes_entries import Cleaning, Entry, LastSight
from execplane.executors.kubernetes_tracker import Tracker
from execplane.pods.build import BuildOptions, build_intent, build_pod
from execplane.pods.default_template import default_template
from execplane.pods.status import Pod, decode_pod
from tests.unit.pods.samples import workload


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic(self) -> float:
        self.seconds += 1.0
        return self.seconds


class World:
    """A tracker, its facts, and pods to show it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tracker = Tracker(self.clock)
        self.facts: list[Fact] = []
        self.ready: list[Entry] = []
        self.tracker.connect(self._take, self.ready.append)
        given = workload()
        built = build_pod(given, [default_template()], BuildOptions(image="x", namespace="ns"))
        self.intent: Intent = build_intent(built, given)
        self._pod = built.pod

    def _take(self, facts: Sequence[Fact]) -> None:
        self.facts += facts

    def pod(
        self,
        uid: str = "u1",
        phase: str = "Pending",
        exit_code: int | None = None,
        conditions: Sequence[dict[str, str]] = (),
        **metadata: Any,
    ) -> Pod:
        status: dict[str, Any] = {"phase": phase, **({"conditions": conditions} if conditions else {})}
        if exit_code is not None:
            status["containerStatuses"] = [{"name": "base", "state": {"terminated": {"exitCode": exit_code}}}]
        made = {**self._pod, "metadata": {**self._pod["metadata"], "uid": uid, **metadata}, "status": status}
        return decode_pod(msgspec.json.encode(made))

    def handle(self, uid: str = "") -> Handle:
        intent = self.intent
        return Handle(
            attempt_id=intent.attempt_id, key=intent.key, namespace=intent.namespace, name=intent.name, uid=uid
        )

    def answer(self, uid: str = "u1") -> Acknowledged:
        return Acknowledged(attempt_id=self.intent.attempt_id, uid=uid, at=self.clock.now())

    def launched(self) -> World:
        assert self.tracker.expect(self.intent)
        self.tracker.answered(self.answer())
        return self

    def kinds(self) -> list[str]:
        return [type(fact).__name__ for fact in self.facts]


@pytest.fixture
def world() -> World:
    return World()


def test_the_watch_may_be_faster_than_the_creates_answer(world: World) -> None:
    world.tracker.expect(world.intent)
    world.tracker.changed("ADDED", world.pod(phase="Succeeded", exit_code=0))
    world.tracker.answered(world.answer())
    assert world.kinds() == ["Acknowledged", "Gone"]


def test_a_launch_is_not_begun_twice_and_a_known_one_is_acknowledged_again(world: World) -> None:
    assert world.tracker.expect(world.intent)
    assert not world.tracker.expect(world.intent)
    world.tracker.answered(world.answer())
    assert not world.tracker.expect(world.intent)
    assert world.kinds() == ["Acknowledged", "Acknowledged"]


def test_an_earlier_pod_on_its_way_out_is_not_taken_for_the_one_being_created(world: World) -> None:
    world.tracker.expect(world.intent)
    world.tracker.changed("MODIFIED", world.pod("old", deletionTimestamp="2026-11-21T00:00:00Z"))
    world.tracker.changed("DELETED", world.pod("old", deletionTimestamp="2026-11-21T00:00:00Z"))
    assert world.facts == []
    world.tracker.answered(world.answer("new"))
    assert world.kinds() == ["Acknowledged"]


def test_a_list_that_began_before_the_create_was_answered_says_nothing_about_it(world: World) -> None:
    started = world.clock.monotonic()
    world.launched()
    world.tracker.listed("ns", [], started)
    assert world.kinds() == ["Acknowledged"]


def test_a_list_that_began_before_the_last_event_does_not_bring_the_past_back(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod())
    started = world.clock.monotonic()
    world.tracker.changed("MODIFIED", world.pod(phase="Running"))
    world.tracker.listed("ns", [world.pod(phase="Pending")], started)
    assert [fact.phase for fact in world.facts if isinstance(fact, Progress)] == ["Pending", "Running"]


def test_a_pod_that_a_list_does_not_show_any_more_is_gone(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    world.tracker.listed("ns", [], world.clock.monotonic())
    gone = world.facts[-2]
    assert isinstance(gone, Gone)
    assert (gone.finished, gone.diagnosis.category) == (False, "deleted")
    assert gone.status == {"phase": "Running"}
    assert world.kinds()[-1] == "Cleaned"


def test_a_list_of_one_namespace_says_nothing_about_another(world: World) -> None:
    world.launched()
    world.tracker.listed("other", [], world.clock.monotonic())
    assert world.kinds() == ["Acknowledged"]


def test_an_end_is_reported_once_however_often_it_is_seen(world: World) -> None:
    world.launched()
    for _ in range(3):
        world.tracker.changed("MODIFIED", world.pod(phase="Failed", exit_code=3))
    world.tracker.listed("ns", [world.pod(phase="Failed", exit_code=3)], world.clock.monotonic())
    world.tracker.changed("DELETED", world.pod(phase="Failed", exit_code=3))
    assert world.kinds() == ["Acknowledged", "Gone", "Cleaned"]


def test_another_pod_of_the_same_name_changes_nothing(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod("other", phase="Failed", exit_code=3))
    assert world.kinds() == ["Acknowledged"]


def test_the_same_progress_is_reported_once(world: World) -> None:
    world.launched()
    for _ in range(3):
        world.tracker.changed("MODIFIED", world.pod(phase="Running"))
    assert world.kinds() == ["Acknowledged", "Progress"]


def test_a_pod_whose_init_containers_are_done_is_worth_no_fact_of_its_own(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod())
    said = len(world.facts)
    condition = {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-21T00:00:00Z"}
    world.tracker.changed("MODIFIED", world.pod(conditions=[condition]))
    assert len(world.facts) == said


def test_adoption_waits_for_a_list_that_began_after_it(world: World) -> None:
    started = world.clock.monotonic()
    assert world.tracker.adopt([world.handle()]) == {"ns"}
    world.tracker.listed("ns", [], started)
    assert world.facts == []
    world.tracker.listed("ns", [], world.clock.monotonic())
    (refused,) = world.facts
    assert isinstance(refused, LaunchRefused)
    assert refused.retry


def test_adoption_of_what_the_watch_has_seen_needs_no_list(world: World) -> None:
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    assert world.tracker.adopt([world.handle("u1")]) == set()
    assert world.kinds() == ["Acknowledged", "Progress"]


def test_adoption_of_an_attempt_whose_name_another_pod_bears_now_ends_it(world: World) -> None:
    world.tracker.changed("ADDED", world.pod("another"))
    world.tracker.adopt([world.handle("mine")])
    world.tracker.listed("ns", [world.pod("another")], world.clock.monotonic())
    assert world.kinds() == ["Gone", "Cleaned"]


def test_an_ended_attempt_that_is_cleaned_after_a_restart_is_not_acknowledged_again(world: World) -> None:
    world.tracker.changed("ADDED", world.pod(phase="Failed", exit_code=1))
    assert world.tracker.clean(world.handle("u1"), Cleaning.DELETE)
    assert world.kinds() == ["Gone"]
    assert [entry.name for entry in world.ready] == [world.intent.name]


def test_cleaning_waits_for_the_containers_own_end(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    assert not world.tracker.clean(world.handle("u1"), Cleaning.KEEP)
    assert world.ready == []
    world.tracker.changed("MODIFIED", world.pod(phase="Succeeded", exit_code=0))
    assert len(world.ready) == 1


def test_a_stop_that_is_repeated_after_the_end_is_answered_again(world: World) -> None:
    world.launched()
    world.tracker.changed("MODIFIED", world.pod(phase="Failed", exit_code=3))
    world.tracker.stop(world.handle("u1"))
    ends = [fact for fact in world.facts if isinstance(fact, Gone)]
    assert [end.diagnosis.category for end in ends] == ["user_code", "user_code"]


def test_an_end_that_an_operator_asked_for_is_called_so(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"))
    world.tracker.stop(world.handle("u1"))
    world.tracker.changed("DELETED", world.pod(phase="Running"))
    gone = next(fact for fact in world.facts if isinstance(fact, Gone))
    assert (gone.diagnosis.category, gone.diagnosis.infrastructure) == ("killed_by_operator", False)


def test_pods_without_our_annotations_are_nobodys_business(world: World) -> None:
    world.launched()
    world.tracker.changed("ADDED", world.pod(annotations={}))
    assert world.kinds() == ["Acknowledged"]


def test_a_kept_pod_that_somebody_deletes_later_is_cleaned(world: World) -> None:
    world.launched()
    world.tracker.changed("MODIFIED", world.pod(phase="Failed", exit_code=3))
    world.tracker.clean(world.handle("u1"), Cleaning.KEEP)
    world.tracker.kept(world.ready[0])
    world.tracker.changed("DELETED", world.pod(phase="Failed", exit_code=3))
    assert [fact.kept for fact in world.facts if isinstance(fact, Cleaned)] == [True, False]
    assert world.tracker.counts()["gone"] == 0


def test_each_end_is_told_to_the_recorder_once_with_the_pod_as_it_came_and_before_its_clean_up(world: World) -> None:
    order: list[str] = []
    sights: list[LastSight] = []

    def gone(sight: LastSight) -> None:
        order.append("gone")
        sights.append(sight)

    world.tracker.connect(world._take, lambda entry: order.append("ready"), gone)
    world.launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"), b"running")
    world.tracker.clean(world.handle("u1"), Cleaning.DELETE)

    world.tracker.changed("MODIFIED", world.pod(phase="Failed", exit_code=3), b"failed")
    world.tracker.changed("DELETED", world.pod(phase="Failed", exit_code=3), b"deleted")

    assert order == ["gone", "ready"]
    (sight,) = sights
    assert (sight.uid, sight.whole) == ("u1", b"failed")


def test_a_pod_that_somebody_deletes_while_it_runs_is_told_to_the_recorder_as_it_was_last(world: World) -> None:
    sights: list[LastSight] = []
    world.tracker.connect(world._take, lambda entry: None, sights.append)
    world.launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"), b"running")

    world.tracker.changed("DELETED", world.pod(phase="Running"), b"deleted")

    assert [one.whole for one in sights] == [b"deleted"]


def test_a_pod_that_a_list_misses_is_told_with_what_was_seen_of_it_last(world: World) -> None:
    sights: list[LastSight] = []
    world.tracker.connect(world._take, lambda entry: None, sights.append)
    world.launched()
    world.tracker.changed("ADDED", world.pod(phase="Running"), b"running")

    world.tracker.listed("ns", [], world.clock.monotonic())

    (sight,) = sights
    assert sight.whole == b""
    assert sight.pod is not None
    assert sight.pod.status().phase == "Running"
