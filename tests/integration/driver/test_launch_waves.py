"""Launches in waves at the driver: what begins them, what lets them grow, what stops them, and who may end them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from execplane.actions import dags as dag_actions
from execplane.actions import holds
from execplane.actions.pending import PendingOptions, WhyPending
from execplane.contract.categories import Category
from execplane.contract.errors import Conflict
from execplane.contract.observations import Diagnosis, LaunchRefused
from execplane.contract.pending import Code
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.waves import WaveOptions
from execplane.executors.driver.workloads import Deployed
from execplane.store import launch_hold_rows, launch_wave_rows
from execplane.store.models import Attempt, Audit, Dag
from execplane.store.transitions import launching
from tests.integration.driver.conftest import Driven, Recorder, many
from tests.integration.store.play import ADA, Play

pytestmark = pytest.mark.django_db

WAVES = WaveOptions(from_waiting=20, first=4, failing_share=0.3, outage_seconds=60)


def driving(play: Play, recorder: Recorder, waves: WaveOptions = WAVES) -> Driven:
    deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
    options = DriverOptions(waves=waves)
    loop = DriverLoop(
        lambda: recorder, deployed, options, play.clock, owner="d1", wake=lambda: None, api_answers=lambda: ""
    )
    return Driven(loop=loop, recorder=recorder, play=play)


@pytest.fixture
def driven(play: Play) -> Driven:
    Dag.objects.update(max_active_tasks=1000)
    return driving(play, Recorder())


def start(driven: Driven, attempt_ids: Iterable[int]) -> None:
    """Their workers come to run."""
    for pk in attempt_ids:
        launching.pass_fence(pk, uid=f"u{pk}", nonce="n", hostname="h", worker_version="1", now=driven.play.now)


def fail(driven: Driven, attempt_ids: Iterable[int]) -> None:
    """Their launches are refused for good."""
    why = Diagnosis(category=Category.IMAGE_MISSING, sentence="There is no such image.")
    driven.recorder.said(
        *(LaunchRefused(attempt_id=pk, diagnosis=why, retry=False, at=driven.play.now) for pk in attempt_ids)
    )


def refused(driven: Driven, attempt_ids: Iterable[int]) -> None:
    """A quota is full for them; they are sent again much later."""
    why = Diagnosis(category=Category.QUOTA, sentence="The quota of etl is full.")
    driven.recorder.said(
        *(
            LaunchRefused(attempt_id=pk, diagnosis=why, retry=True, retry_after_seconds=3600, at=driven.play.now)
            for pk in attempt_ids
        )
    )


def outage(driven: Driven, seconds: float) -> None:
    driven.recorder.refuse = "The API server does not answer."
    driven.tick()
    driven.play.later(seconds)
    driven.tick()
    driven.recorder.refuse = ""


def launched_now(driven: Driven) -> list[int]:
    """What one more tick launches."""
    before = len(driven.recorder.launched())
    driven.tick()
    return driven.recorder.launched()[before:]


def test_after_an_outage_launches_go_out_in_waves_that_grow_as_they_start_well(driven: Driven) -> None:
    ids = many(driven.play, 30)
    outage(driven, 61)

    first = launched_now(driven)
    assert first == ids[:4]
    assert launched_now(driven) == [], "nothing more goes before the first wave has started"
    start(driven, first[:2])
    assert launched_now(driven) == []
    start(driven, first[2:3])
    second = launched_now(driven)
    assert second == ids[4:12], "three of four started well: that is enough"
    row = launch_wave_rows.wave("local")
    assert row is not None
    assert (row.number, row.size, row.total, row.before, row.launched) == (2, 8, 30, 4, 8)
    start(driven, second)
    assert launched_now(driven) == ids[12:28]
    start(driven, ids[12:28])
    assert launched_now(driven) == ids[28:]
    many(driven.play, 1, first=100)
    assert len(launched_now(driven)) == 1
    assert launch_wave_rows.wave("local") is None, "all that waited is launched"


def test_a_short_outage_and_a_short_queue_begin_no_waves(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 10)
    assert len(launched_now(driven)) == 30
    many(driven.play, 20, first=100)
    outage(driven, 600)
    assert len(launched_now(driven)) == 20


def test_an_unpause_begins_waves(driven: Driven) -> None:
    dag_actions.pause(ADA, "orders", clock=driven.play.clock)
    many(driven.play, 30)
    assert launched_now(driven) == []
    dag_actions.unpause(ADA, "orders", clock=driven.play.clock)
    assert len(launched_now(driven)) == 4
    row = launch_wave_rows.wave("local")
    assert row is not None
    assert row.cause == "the DAG orders was unpaused"


def test_what_is_paused_is_not_waited_for(driven: Driven) -> None:
    Dag.objects.create(pk="other", bundle_name="dags", file="o.py", paused=True, created_at=driven.play.now)
    Attempt.objects.filter(pk__in=many(driven.play, 50)).update(dag_id="other")
    many(driven.play, 30, first=100)
    outage(driven, 61)
    assert len(launched_now(driven)) == 4
    row = launch_wave_rows.wave("local")
    assert row is not None
    assert row.total == 30


def test_a_mass_clear_begins_waves_and_many_first_attempts_do_not(driven: Driven) -> None:
    many(driven.play, 30)
    assert len(launched_now(driven)) == 30
    driven.tick()
    cleared = many(driven.play, 30, first=100)
    Attempt.objects.filter(pk__in=cleared).update(cause="clear")
    assert len(launched_now(driven)) == 4


def test_the_end_of_a_hold_begins_waves(driven: Driven) -> None:
    pk = holds.hold(ADA, "all", reason="upgrade", clock=driven.play.clock).id
    many(driven.play, 30)
    assert launched_now(driven) == []
    holds.release(ADA, pk, clock=driven.play.clock)
    assert len(launched_now(driven)) == 4


def test_a_wave_that_fails_at_launch_makes_a_hold_that_says_why(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    first = launched_now(driven)
    fail(driven, first[:2])

    assert launched_now(driven) == []

    (hold,) = launch_hold_rows.active(driven.play.now)
    assert (hold.scope, hold.name, hold.author, hold.until) == ("executor", "local", "launch waves", None)
    assert "2 of 4 launches failed before their worker ran (image_missing (2))" in hold.reason
    assert launch_wave_rows.wave("local") is None
    assert Audit.objects.get().object == f"hold:{hold.id}"
    for _ in range(3):
        assert launched_now(driven) == []
    holds.release(ADA, hold.id, clock=driven.play.clock)
    assert len(launched_now(driven)) == 4, "and then it begins with a small one again"


def test_a_full_namespace_holds_the_next_wave_back_for_a_minute_only(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    first = launched_now(driven)
    start(driven, first[:1])
    refused(driven, first[1:])
    assert launched_now(driven) == []
    driven.play.later(30)
    assert launched_now(driven) == []
    driven.play.later(31)
    assert len(set(launched_now(driven)) - set(first)) == 8


def test_pods_without_a_node_hold_the_next_wave_back_for_a_minute_only(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    first = launched_now(driven)
    Attempt.objects.filter(pk__in=first).update(namespace="etl", acknowledged_at=driven.play.now)
    start(driven, first[:1])
    assert launched_now(driven) == []
    driven.play.later(61)
    Attempt.objects.filter(pk=first[3]).update(node="n1")
    assert launched_now(driven) == [], "one that has a node is waited for"
    start(driven, first[3:])
    assert len(launched_now(driven)) == 8


def test_an_operator_lets_all_go(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    assert len(launched_now(driven)) == 4
    holds.launch_all(ADA, "local", clock=driven.play.clock)
    assert len(launched_now(driven)) == 26
    with pytest.raises(Conflict, match="do not go out in waves"):
        holds.launch_all(ADA, "local", clock=driven.play.clock)


def test_an_operator_stops_a_wave_by_a_hold(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    first = launched_now(driven)
    holds.hold(ADA, "executor", "local", "looks bad", clock=driven.play.clock)
    start(driven, first)
    assert launched_now(driven) == []


def test_a_driver_that_takes_over_goes_on_with_a_wave_of_the_same_size(driven: Driven) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    start(driven, launched_now(driven))
    assert len(launched_now(driven)) == 8
    driven.loop.close()

    other = driving(driven.play, Recorder())

    assert len(launched_now(other)) == 8
    assert launched_now(other) == []


def test_why_pending_says_which_wave_it_is(driven: Driven) -> None:
    ids = many(driven.play, 30)
    outage(driven, 61)
    driven.tick()
    driven.tick()

    why = WhyPending(PendingOptions(executors=("local",)), driven.play.clock)
    answer = why.attempt(ids[-1]).pending
    said = {one.code: one for one in (answer.first, *answer.others)}

    assert "wave 1 of about 4, 4 of 30 launched" in said[Code.LAUNCH_WAVE].sentence
    assert Code.NEXT_CLAIM not in said
    waits = set(Attempt.objects.filter(state="queued").values_list("not_claimed_reason", flat=True))
    assert waits == {
        "Launches of the executor local go out in waves (the executor could launch nothing for 61 s): its turn comes."
    }
