"""Launch waves when something goes wrong on the way: a query that fails loses nothing that was noticed before it, what
ended for others begins no waves, and waves that are over leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from execplane.actions import dags as dag_actions
from execplane.actions import holds
from execplane.contract.errors import Unavailable
from execplane.executors.driver.waves import WaveOptions
from execplane.store import launch_hold_rows, launch_rows, launch_wave_rows
from execplane.store.models import Attempt, Dag, LaunchHold
from tests.integration.driver.conftest import Driven, Recorder, many
from tests.integration.driver.test_launch_waves import (
    driven,  # noqa: F401 - a fixture
    driving,
    fail,
    launched_now,
    outage,
    start,
)
from tests.integration.store.play import ADA, Play

pytestmark = pytest.mark.django_db


class Once:
    """Makes one call of a function fail, before it has done anything or after it has done all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool = False) -> None:
        self.real: Callable[..., Any] = getattr(owner, name)
        self.after = after
        self.failed = False
        monkeypatch.setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.failed:
            return self.real(*args, **kwargs)
        self.failed = True
        if self.after:
            self.real(*args, **kwargs)
        raise Unavailable("The database is gone.")


def breaks_off(driven: Driven) -> None:  # noqa: F811
    """One tick that the failing query ends."""
    with pytest.raises(Unavailable):
        driven.tick()


def a_hold_ends(play: Play) -> None:
    (hold,) = launch_hold_rows.active(play.now)
    holds.release(ADA, hold.id, clock=play.clock)


def an_unpause(play: Play) -> None:
    dag_actions.unpause(ADA, "orders", clock=play.clock)


def the_outage_ends(play: Play) -> None:
    play.later(61)


def waiting_for(driven: Driven, ends: Callable[[Play], None]) -> None:  # noqa: F811
    """Thirty wait for the end of something that has just ended."""
    play = driven.play
    if ends is a_hold_ends:
        holds.hold(ADA, "all", reason="upgrade", clock=play.clock)
    if ends is an_unpause:
        dag_actions.pause(ADA, "orders", clock=play.clock)
    if ends is the_outage_ends:
        driven.recorder.refuse = "The API server does not answer."
    many(play, 30)
    assert launched_now(driven) == []
    ends(play)
    driven.recorder.refuse = ""


@pytest.mark.parametrize("ends", [a_hold_ends, an_unpause, the_outage_ends])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (launch_rows, "paused_dags"),
        (launch_wave_rows, "more_waiting_than"),
        (launch_wave_rows, "count_waiting"),
        (launch_wave_rows, "begin"),
    ],
)
def test_what_has_ended_is_not_forgotten_when_a_query_fails_before_the_wave_began(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    ends: Callable[[Play], None],
    owner: object,
    name: str,
) -> None:
    waiting_for(driven, ends)
    Once(monkeypatch, owner, name)
    breaks_off(driven)
    assert len(launched_now(driven)) == 4
    assert launched_now(driven) == []


def test_a_wave_whose_beginning_was_written_and_not_answered_goes_on(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting_for(driven, the_outage_ends)
    Once(monkeypatch, launch_wave_rows, "begin", after=True)
    breaks_off(driven)
    # Meanwhile fewer wait than waves would begin for.
    Attempt.objects.filter(pk__in=Attempt.objects.order_by("-pk").values("pk")[:15]).delete()
    assert len(launched_now(driven)) == 4
    assert launched_now(driven) == []


def test_the_end_of_a_hold_is_noticed_by_the_look_after_one_that_broke_off(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting_for(driven, a_hold_ends)
    Once(monkeypatch, launch_hold_rows, "tagged")
    breaks_off(driven)
    assert len(launched_now(driven)) == 4


@pytest.mark.parametrize(("owner", "name"), [(launch_wave_rows, "count_waiting"), (launch_wave_rows, "go_on")])
def test_starts_that_were_read_count_although_the_next_query_failed(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    start(driven, launched_now(driven))
    Once(monkeypatch, owner, name)
    breaks_off(driven)
    assert len(launched_now(driven)) == 8
    row = launch_wave_rows.wave("local")
    assert row is not None
    assert (row.number, row.before, row.launched) == (2, 4, 8)


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (launch_wave_rows, "count_waiting", False),
        (launch_hold_rows, "add", False),
        (launch_wave_rows, "end", False),
        (launch_wave_rows, "end", True),
    ],
)
def test_failures_that_were_read_stop_the_wave_although_the_next_query_failed(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    after: bool,
) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    fail(driven, launched_now(driven)[:2])
    Once(monkeypatch, owner, name, after=after)
    breaks_off(driven)
    assert launched_now(driven) == []
    (hold,) = launch_hold_rows.active(driven.play.now)
    assert "2 of 4 launches failed before their worker ran (image_missing (2))" in hold.reason


def test_launches_go_out_and_count_although_the_wave_could_not_be_written_down(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many(driven.play, 30)
    outage(driven, 61)
    Once(monkeypatch, launch_wave_rows, "go_on")
    breaks_off(driven)
    assert len(driven.recorder.launched()) == 4, "what was committed was launched first"
    assert launched_now(driven) == []
    row = launch_wave_rows.wave("local")
    assert row is not None
    assert row.launched == 4


def test_while_no_more_holds_may_count_a_wave_that_failed_keeps_everything_back(
    driven: Driven,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch_hold_rows, "MOST_ACTIVE", 1)
    many(driven.play, 30)
    outage(driven, 61)
    first = launched_now(driven)
    other = LaunchHold.objects.create(
        scope="dag", name="bills", reason="upgrade", author="ada", created_at=driven.play.now
    )
    fail(driven, first[:2])

    for _ in range(3):
        assert launched_now(driven) == []

    row = launch_wave_rows.wave("local")
    assert row is not None
    assert row.failed == 2
    (reason,) = set(Attempt.objects.filter(state="queued").values_list("not_claimed_reason", flat=True))
    assert "no launch hold can say so" in reason
    holds.release(ADA, other.pk, clock=driven.play.clock)
    assert launched_now(driven) == []
    (hold,) = launch_hold_rows.active(driven.play.now)
    assert "2 of 4 launches failed" in hold.reason


@pytest.mark.parametrize("scope", ["executor", "cluster"])
def test_the_end_of_another_executors_hold_begins_no_waves(driven: Driven, scope: str) -> None:  # noqa: F811
    # The verb refuses an executor that there is not.
    other = LaunchHold.objects.create(
        scope=scope, name="elsewhere", reason="upgrade", author="ada", created_at=driven.play.now
    )
    driven.tick()
    many(driven.play, 30)
    holds.release(ADA, other.pk, clock=driven.play.clock)
    assert len(launched_now(driven)) == 30


def test_a_hold_that_ended_while_nobody_waited_begins_no_waves_later(driven: Driven) -> None:  # noqa: F811
    pk = holds.hold(ADA, "all", reason="upgrade", clock=driven.play.clock).id
    driven.tick()
    holds.release(ADA, pk, clock=driven.play.clock)
    driven.tick()
    many(driven.play, 30)
    assert len(launched_now(driven)) == 30


def test_waves_are_over_once_nobody_waits(driven: Driven) -> None:  # noqa: F811
    ids = many(driven.play, 30)
    outage(driven, 61)
    assert len(launched_now(driven)) == 4
    Attempt.objects.filter(pk__in=ids[4:]).delete()
    assert launched_now(driven) == []
    assert launch_wave_rows.wave("local") is None
    many(driven.play, 30, first=100)
    assert len(launched_now(driven)) == 30, "what waits later has waited for nothing"


def test_the_failures_of_the_last_wave_make_a_hold_too(driven: Driven) -> None:  # noqa: F811
    ids = many(driven.play, 30)
    outage(driven, 61)
    first = launched_now(driven)
    Attempt.objects.filter(pk__in=ids[4:]).delete()
    fail(driven, first[:2])
    driven.tick()
    (hold,) = launch_hold_rows.active(driven.play.now)
    assert "2 of 4 launches failed" in hold.reason
    assert launch_wave_rows.wave("local") is None


@pytest.mark.parametrize("waiting", [0, 30])
def test_a_driver_without_waves_removes_what_one_with_waves_left(
    driven: Driven,  # noqa: F811
    waiting: int,
) -> None:
    ids = many(driven.play, 30)
    outage(driven, 61)
    assert len(launched_now(driven)) == 4
    driven.loop.close()
    Attempt.objects.filter(pk__in=ids[waiting:]).delete()

    other = driving(driven.play, Recorder(), WaveOptions(from_waiting=0))

    assert len(launched_now(other)) == max(waiting - 4, 0)
    assert launch_wave_rows.wave("local") is None


def test_seconds_of_trouble_are_no_outage_however_long_the_executor_is_busy_after_it(play: Play) -> None:
    class Busy(Recorder):
        """Has as much to send as is claimed at once."""

        is_busy = False

        def unsent(self) -> set[int]:
            return set(range(-100, 0)) if self.is_busy else set()

    recorder = Busy()
    Dag.objects.update(max_active_tasks=1000)
    driven = driving(play, recorder)  # noqa: F811
    many(play, 30)
    outage(driven, 5)
    recorder.is_busy = True
    assert launched_now(driven) == []
    play.later(75)
    recorder.is_busy = False
    assert len(launched_now(driven)) == 30
