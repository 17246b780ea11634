"""An operator's launch holds at the driver: what they cover waits with its reason, everything else goes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from execplane.actions import holds
from execplane.actions.pending import PendingOptions, WhyPending
from execplane.contract.categories import Category
from execplane.contract.errors import Conflict, InvalidInput, NotFound
from execplane.contract.observations import Acknowledged, Diagnosis, LaunchRefused
from execplane.contract.pending import Code
from execplane.contract.workload import Intent, Workload
from execplane.executors.driver.deadlines import DeadlineOptions
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.store import launch_hold_rows
from execplane.store.models import Attempt, AttemptEvent, Audit, DagTag, LaunchHold
from tests.integration.driver.conftest import Driven, Recorder, many
from tests.integration.store.play import ADA, Play

pytestmark = pytest.mark.django_db


class Placing(Recorder):
    """Makes pods: attempts with an even number in one namespace, the others in another one."""

    builds = 0

    def build(self, workload: Workload) -> Intent:
        self.builds += 1
        namespace = "even" if workload.attempt_id % 2 == 0 else "odd"
        return Intent(
            attempt_id=workload.attempt_id,
            key=workload.key,
            namespace=namespace,
            name=f"x-{workload.attempt_id}",
            cluster="c1",
            body=b"bytes",
        )


@dataclass
class Waiting(Placing):
    """Its creates wait here, until somebody lets them go."""

    waiting: set[int] = field(default_factory=set)

    def launch(self, intents: Sequence[Intent]) -> None:
        super().launch(intents)
        self.waiting |= {intent.attempt_id for intent in intents}

    def unsent(self) -> set[int]:
        return self.waiting

    def withdraw(self, attempt_ids: Collection[int]) -> list[int]:
        gone = sorted(self.waiting & set(attempt_ids))
        self.waiting -= set(gone)
        return gone


def driving(play: Play, recorder: Recorder, options: DriverOptions | None = None) -> Driven:
    deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
    loop = DriverLoop(
        lambda: recorder,
        deployed,
        options or DriverOptions(),
        play.clock,
        owner="d1",
        wake=lambda: None,
        api_answers=lambda: "",
    )
    return Driven(loop=loop, recorder=recorder, play=play)


def hold(play: Play, scope: str, name: str = "", until: str = "") -> int:
    return holds.hold(ADA, scope, name, "upgrade", until, clock=play.clock).id


def reasons() -> set[str]:
    return set(Attempt.objects.filter(state="queued").values_list("not_claimed_reason", flat=True))


@pytest.mark.parametrize(
    ("scope", "name"), [("all", ""), ("executor", "local"), ("dag", "orders"), ("dag_tag", "nightly")]
)
def test_what_is_held_waits_with_its_reason_until_the_release(driven: Driven, scope: str, name: str) -> None:
    DagTag.objects.create(dag_id="orders", name="nightly")
    ids = many(driven.play, 3)
    pk = hold(driven.play, scope, name)

    driven.tick()

    assert driven.recorder.launched() == []
    (reason,) = reasons()
    assert reason.startswith(f"Launch hold {pk} on ")
    assert reason.endswith("by ada: upgrade.")
    holds.release(ADA, pk, clock=driven.play.clock)
    driven.tick()
    assert driven.recorder.launched() == ids


@pytest.mark.parametrize(
    ("scope", "name"), [("executor", "kubernetes"), ("dag", "bills"), ("dag_tag", "weekly"), ("namespace", "etl")]
)
def test_a_hold_of_something_else_keeps_nothing(driven: Driven, scope: str, name: str) -> None:
    # The verb refuses a DAG or a tag that nobody has.
    LaunchHold.objects.create(scope=scope, name=name, reason="upgrade", author="ada", created_at=driven.play.now)
    ids = many(driven.play, 2)
    driven.tick()
    assert driven.recorder.launched() == ids


def test_what_runs_is_not_touched_by_a_hold(driven: Driven) -> None:
    (pk,) = many(driven.play, 1)
    driven.tick()
    driven.recorder.said(Acknowledged(attempt_id=pk, uid="u", at=driven.play.now))
    hold(driven.play, "all")
    driven.tick()
    assert Attempt.objects.get(pk=pk).state == "launched"
    assert [verb for verb, _ in driven.recorder.asked if verb in ("stop", "clean")] == []


def test_an_expiry_needs_nobody_and_wakes_the_driver_that_sleeps(driven: Driven) -> None:
    ids = many(driven.play, 1)
    hold(driven.play, "all", until="90s")

    slept_until = driven.tick().at

    assert slept_until == driven.play.now + timedelta(seconds=90)
    driven.play.later(91)
    driven.tick()
    assert driven.recorder.launched() == ids


def test_a_held_namespace_keeps_its_own_pods_once_they_are_built_and_no_other(play: Play) -> None:
    placing = Placing()
    driven = driving(play, placing)
    ids = many(play, 6)
    pk = hold(play, "namespace", "even")

    driven.tick()
    built = placing.builds
    stories = AttemptEvent.objects.count()
    for _ in range(3):
        driven.tick()

    held = [attempt_id for attempt_id in ids if attempt_id % 2 == 0]
    assert placing.launched() == [attempt_id for attempt_id in ids if attempt_id % 2]
    assert (placing.builds, AttemptEvent.objects.count()) == (built, stories), "it is built and told once"
    for row in Attempt.objects.filter(pk__in=held):
        assert (row.state, row.namespace, row.attempt_no, row.launch_failures) == ("queued", "even", 1, 0)
        assert row.not_claimed_reason.startswith(f"Launch hold {pk} on the namespace even")
    holds.release(ADA, pk, clock=play.clock)
    driven.tick()
    assert sorted(placing.launched()) == ids


def test_many_that_are_held_keep_nobody_behind_them_waiting(play: Play) -> None:
    placing = Placing()
    driven = driving(play, placing, DriverOptions(claims_per_tick=10))
    ids = many(play, 30)
    hold(play, "namespace", "even")
    for _ in range(6):
        driven.tick()
    assert sorted(placing.launched()) == [attempt_id for attempt_id in ids if attempt_id % 2]


def test_a_held_cluster_keeps_the_pods_that_would_be_made_there(play: Play) -> None:
    placing = Placing()
    driven = driving(play, placing)
    many(play, 2)
    LaunchHold.objects.create(scope="cluster", name="c1", reason="upgrade", author="ada", created_at=play.now)
    for _ in range(3):
        driven.tick()
    assert (placing.launched(), placing.builds) == ([], 2)


def test_creates_that_still_wait_in_the_executor_are_taken_back(play: Play) -> None:
    waiting = Waiting()
    driven = driving(play, waiting)
    ids = many(play, 4)
    driven.tick()
    waiting.waiting.discard(ids[0])  # Its create is under way.

    pk = hold(play, "all")
    driven.tick()
    assert waiting.waiting == set()
    play.later(3600)
    driven.tick()
    assert len(waiting.launched()) == 4, "nothing is sent again while it is held"

    holds.release(ADA, pk, clock=play.clock)
    driven.tick()
    assert sorted(waiting.launched()[4:]) == ids
    assert set(Attempt.objects.values_list("launch_failures", flat=True)) == {0}


def test_a_hold_is_no_wait_that_a_deadline_counts(play: Play) -> None:
    options = DriverOptions(deadlines=DeadlineOptions(task_queued_timeout_seconds=100, launch_seconds=100))
    driven = driving(play, Waiting(), options)
    many(play, 2)
    driven.tick()  # Two launches wait in the executor, and are taken back.
    many(play, 2, first=2)
    pk = hold(play, "all")
    for _ in range(5):
        driven.tick()
        play.later(50)
    assert set(Attempt.objects.values_list("state", flat=True)) == {"queued", "launched"}

    holds.release(ADA, pk, clock=play.clock)
    driven.tick()
    assert set(Attempt.objects.values_list("state", flat=True)) == {"launched"}


def test_a_hold_is_no_wait_for_room_either(play: Play) -> None:
    """A quota refused the first create; a hold keeps it from being sent again."""
    driven = driving(play, Waiting(), DriverOptions(deadlines=DeadlineOptions(unscheduled_seconds=100)))
    (attempt_id,) = many(play, 1)
    driven.tick()
    why = Diagnosis(category=Category.QUOTA, sentence="The quota is full.")
    driven.recorder.said(
        LaunchRefused(attempt_id=attempt_id, diagnosis=why, retry=True, retry_after_seconds=10, at=play.now)
    )
    driven.tick()
    pk = hold(play, "all")
    for _ in range(5):
        driven.tick()
        play.later(50)
    driven.tick()
    assert Attempt.objects.get().state == "launched"

    holds.release(ADA, pk, clock=play.clock)
    for _ in range(3):
        driven.tick()
        play.later(25)
    assert Attempt.objects.get().state == "launched", "the hold's time is not made up for at once"
    for _ in range(3):
        driven.tick()
        play.later(25)
    assert Attempt.objects.get().state == "stopping"


def test_why_pending_says_the_hold_and_what_ends_it(driven: Driven) -> None:
    (attempt_id,) = many(driven.play, 1)
    pk = hold(driven.play, "dag", "orders", until="2h")
    driven.tick()

    why = WhyPending(PendingOptions(executors=("local",)), driven.play.clock)
    answer = why.attempt(attempt_id).pending
    said = {one.code: one for one in (answer.first, *answer.others)}

    assert Code.OPERATOR_HOLD in said
    assert Code.NEXT_CLAIM not in said
    assert said[Code.OPERATOR_HOLD].sentence == f"Launch hold {pk} on the DAG orders, by ada: upgrade."
    assert f"`execplane holds release {pk}`" in said[Code.OPERATOR_HOLD].then
    assert said[Code.OPERATOR_HOLD].since == driven.play.now


# The verbs


def test_a_hold_says_who_why_and_until_when_and_is_audited(play: Play) -> None:
    pk = hold(play, "namespace", "etl", until="1d12h")
    row = launch_hold_rows.get(pk).hold
    assert (row.author, row.reason, row.until) == ("ada", "upgrade", play.now + timedelta(hours=36))
    holds.release(ADA, pk, clock=play.clock)
    assert list(Audit.objects.order_by("pk").values_list("action", "object")) == [
        ("hold", f"hold:{pk}"),
        ("release", f"hold:{pk}"),
    ]
    with pytest.raises(Conflict, match="ended already by ada"):
        holds.release(ADA, pk, clock=play.clock)


def test_the_same_words_said_twice_make_one_hold(play: Play) -> None:
    until = (play.now + timedelta(hours=2)).isoformat()
    assert hold(play, "all", until=until) == hold(play, "all", until=until)
    assert LaunchHold.objects.count() == 1


@pytest.mark.parametrize(
    ("scope", "name", "reason", "until", "words"),
    [
        ("planet", "", "r", "", "nothing that can be held"),
        ("all", "x", "r", "", "has no name"),
        ("namespace", "", "r", "", "Which namespace"),
        ("namespace", "Not_One", "r", "", "no name that a namespace can have"),
        ("dag", "none", "r", "", "none"),
        ("dag_tag", "none", "r", "", "No DAG has the tag none"),
        ("all", "", " ", "", "needs a reason"),
        ("all", "", "r", "0m", "ended already"),
        ("all", "", "r", "soon", "says no time"),
        ("all", "", "r", "99999-01-01", "says no time"),
    ],
)
def test_a_hold_that_would_cover_nothing_is_refused(
    play: Play, scope: str, name: str, reason: str, until: str, words: str
) -> None:
    with pytest.raises((InvalidInput, NotFound), match=words):
        holds.hold(ADA, scope, name, reason, until, clock=play.clock)
    assert LaunchHold.objects.count() == 0


def test_there_are_never_more_holds_than_a_claim_reads(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_hold_rows, "MOST_ACTIVE", 2)
    hold(play, "namespace", "one", until="1h")
    hold(play, "namespace", "two")
    with pytest.raises(Conflict, match="2 launch holds count already"):
        hold(play, "namespace", "three")
    play.later(3601)
    hold(play, "namespace", "three")
    assert LaunchHold.objects.filter(name="one", ended_at__isnull=False).exists()
