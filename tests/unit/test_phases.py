"""One attempt's phases by different clocks: in order, none negative, the whole as long as our own clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.phases import COLUMNS, PHASES, ClockOf, timeline

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS = [phase.column for phase in PHASES if phase.clock is ClockOf.US]
ANCHORS = [phase.column for phase in PHASES if phase.clock is ClockOf.US and phase.anchor]
TRUE_SECONDS = {
    "queued_at": 0.0,
    "claimed_at": 1.25,
    "launched_at": 1.5,
    "acknowledged_at": 1.75,
    "scheduled_at": 4.0,
    "initialized_at": 5.0,
    "pulled_at": 9.0,
    "started_at": 10.0,
    "running_at": 12.5,
    "user_code_at": 13.0,
    "ended_at": 60.0,
    "gone_at": 61.0,
    "cleaned_at": 62.0,
}


def told(**skews: float) -> dict[str, datetime | None]:
    """A whole attempt, with the clocks of `cluster` and `node` ahead of ours by so many seconds."""
    moved = {ClockOf.US: 0.0, ClockOf.CLUSTER: skews.get("cluster", 0.0), ClockOf.NODE: skews.get("node", 0.0)}
    return {
        phase.column: START + timedelta(seconds=TRUE_SECONDS[phase.column] + moved[phase.clock]) for phase in PHASES
    }


moments = st.fixed_dictionaries(
    {},
    optional={
        column: st.floats(-1e6, 1e6, allow_nan=False).map(lambda seconds: START + timedelta(seconds=round(seconds, 3)))
        for column in COLUMNS
    },
)


@given(moments)
def test_whatever_the_clocks_say_the_steps_are_in_order_and_add_up(given_moments: dict[str, datetime]) -> None:
    found = timeline(given_moments)
    assert [step.phase.column for step in found.steps] == [name for name in COLUMNS if name in given_moments]
    spent = [step.seconds for step in found.steps[:-1]]
    assert all(seconds is not None and seconds >= 0 for seconds in spent)
    if found.steps:
        whole = (found.steps[-1].at - found.steps[0].at).total_seconds()
        assert sum(seconds or 0 for seconds in spent) == pytest.approx(whole)
        assert found.steps[-1].seconds is None


@given(
    st.lists(st.integers(0, 10**6), min_size=len(ANCHORS), max_size=len(ANCHORS)).map(sorted),
    moments,
)
def test_other_clocks_never_change_what_our_own_says(own: list[int], others: dict[str, datetime]) -> None:
    ours = {column: START + timedelta(milliseconds=at) for column, at in zip(ANCHORS, own, strict=True)}
    foreign = {column: at for column, at in others.items() if column not in OURS}

    found = timeline({**foreign, **ours})

    assert {step.phase.column: step.at for step in found.steps if step.phase.column in ours} == ours


@pytest.mark.parametrize("skew", [-3600.0, -40.0, 55.0, 3600.0])
def test_a_node_whose_clock_is_wrong_keeps_what_lies_between_its_moments_and_is_named(skew: float) -> None:
    found = timeline(told(node=skew))

    (one,) = found.skews
    assert one.clock is ClockOf.NODE
    assert (one.seconds > 0) is (skew < 0)
    assert abs(one.seconds + skew) <= 60, "not moved by more than it is wrong, but for the room there is"
    at = {step.phase.name: step.at for step in found.steps}
    assert (at["pulled"] - at["initialized"]).total_seconds() == 4.0
    assert ("behind ours" if skew < 0 else "ahead of ours") in one.sentence


def test_clocks_that_agree_are_left_alone() -> None:
    found = timeline(told())

    assert found.skews == ()
    assert all(step.at == step.said for step in found.steps)


def test_whole_seconds_are_no_disagreement() -> None:
    rounded = told()
    rounded["scheduled_at"] = START + timedelta(seconds=1)  # it was 1.6, after the launch at 1.5

    found = timeline(rounded)

    assert found.skews == ()
    assert [step.seconds for step in found.steps if step.phase.name == "launched"] == [0.25]


def test_an_answer_that_came_late_moves_nobody_s_clock() -> None:
    late = told()
    late["acknowledged_at"] = START + timedelta(seconds=58)

    found = timeline(late)

    assert found.skews == ()
    assert {step.phase.name: step.at for step in found.steps}["running"] == START + timedelta(seconds=12.5)
