"""How many creates an API server gets at once follows from its answers: fewer at trouble, more when it is well."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from execplane.executors.pace import (
    FIRST_REST_SECONDS,
    JUDGED,
    LONGEST_REST_SECONDS,
    SLOW_SHARE,
    Answer,
    State,
    Why,
    answered,
    begin,
    resized,
    wait_seconds,
)

TROUBLE = (Answer.TOO_MANY, Answer.FAULT, Answer.SILENCE)
answers = st.sampled_from(list(Answer))
steps = st.lists(
    st.tuples(answers, st.floats(0, 40), st.integers(0, 20), st.sampled_from([0.0, 0.0, 0.0, 1.0, 30.0])), max_size=80
)
"""Answer, how long it took, how long after the one before it came, and how long it asks to wait."""


def play(state: State, told: list[tuple[Answer, float, float, float]]) -> list[tuple[float, State]]:
    """The states, with when they began."""
    now, found = 1000.0, [(1000.0, state)]
    for answer, took, later, asked in told:
        now += later
        state = answered(state, answer, sent=now - took, now=now, asked_seconds=asked)
        found.append((now, state))
    return found


def after(state: State, answer: Answer, times: int, *, took: float = 0.01, now: float = 1000.0) -> tuple[State, float]:
    """So many answers one after the other, each sent after the one before."""
    for _ in range(times):
        now += took + 0.001
        state = answered(state, answer, sent=now - took, now=now)
    return state, now


@settings(deadline=None)
@given(st.integers(1, 128), steps)
def test_it_is_always_between_one_and_the_most(most: int, told: list[tuple[Answer, float, float, float]]) -> None:
    for _, state in play(begin(most), told):
        assert 1 <= state.at_once <= most
        assert state.at_once == most or state.why is not None


@settings(deadline=None)
@given(st.integers(1, 128), steps)
def test_something_may_be_sent_in_the_end_whatever_was_answered(
    most: int, told: list[tuple[Answer, float, float, float]]
) -> None:
    now, state = play(begin(most), told)[-1]
    wait = wait_seconds(state, 0, now)
    assert wait <= 30.0
    assert wait_seconds(state, 0, now + wait) == 0.0
    assert wait_seconds(state, state.at_once, now + wait) == math.inf


@settings(deadline=None)
@given(st.integers(1, 128), steps)
def test_what_says_nothing_of_the_server_moves_nothing(
    most: int, told: list[tuple[Answer, float, float, float]]
) -> None:
    nothing = [(Answer.NOTHING, took, later, 0.0) for _, took, later, _ in told]
    assert play(begin(most), nothing)[-1][1] == begin(most)


@settings(deadline=None)
@given(st.integers(1, 128), steps, st.sampled_from(TROUBLE))
def test_trouble_halves_it_at_least_once(
    most: int, told: list[tuple[Answer, float, float, float]], trouble: Answer
) -> None:
    now, state = play(begin(most), told)[-1]
    worse = answered(state, trouble, sent=now + 1, now=now + 2)
    assert worse.allowed == max(1.0, state.allowed / 2)


@settings(deadline=None)
@given(st.integers(2, 128), st.sampled_from(TROUBLE), st.integers(1, 128))
def test_what_was_on_its_way_at_the_cut_cuts_once(most: int, trouble: Answer, on_its_way: int) -> None:
    state = begin(most)
    for number in range(on_its_way):
        state = answered(state, trouble, sent=1000.0, now=1001.0 + number / 1000)
    assert state.allowed == most / 2


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 6))
def test_good_answers_give_one_more_a_round_until_all_is_back(most: int, cuts: int) -> None:
    state, now = after(begin(most), Answer.FAULT, cuts)
    while state.at_once < most:
        before = state
        state, now = after(state, Answer.GOOD, before.at_once + 1, now=now + 60)
        assert before.at_once < state.at_once <= before.at_once + 2
    assert (state.why, state.rest_seconds) == (None, 0.0)


def test_creates_rest_longer_and_longer_when_one_at_a_time_is_too_many() -> None:
    state, now = after(begin(4), Answer.SILENCE, 3)
    rests = []
    for _ in range(8):
        rests.append(wait_seconds(state, 0, now))
        state, now = after(state, Answer.SILENCE, 1, now=now + rests[-1])
    assert rests[:4] == [FIRST_REST_SECONDS, FIRST_REST_SECONDS * 2, FIRST_REST_SECONDS * 4, FIRST_REST_SECONDS * 8]
    assert rests[-1] == LONGEST_REST_SECONDS
    well, now = after(state, Answer.GOOD, 1, now=now + 5)
    assert wait_seconds(well, 0, now) == 0.0


def test_all_wait_as_long_as_the_server_asks() -> None:
    state = answered(begin(16), Answer.TOO_MANY, sent=999.0, now=1000.0, asked_seconds=30.0)
    assert wait_seconds(state, 0, 1010.0) == 20.0
    again = answered(state, Answer.TOO_MANY, sent=999.0, now=1000.0, asked_seconds=5.0)
    assert wait_seconds(again, 0, 1010.0) == 20.0


@settings(deadline=None)
@given(st.floats(0.001, 5), st.floats(1.0, 3.9))
def test_a_server_that_is_as_slow_as_it_always_was_is_not_slow(usual: float, factor: float) -> None:
    state, now = after(begin(16), Answer.GOOD, 40, took=usual)
    state, _ = after(state, Answer.GOOD, 40, took=usual * factor, now=now)
    assert state.at_once == 16


@settings(deadline=None)
@given(st.floats(0.001, 0.12), st.floats(0.55, 30))
def test_a_server_that_takes_far_longer_than_usual_gets_fewer_at_once_but_an_eighth_at_least(
    usual: float, slow: float
) -> None:
    state, now = after(begin(32), Answer.GOOD, 40, took=usual)
    slowed, now = after(state, Answer.GOOD, JUDGED, took=slow, now=now)
    assert slowed.at_once < 32
    assert slowed.why is Why.SLOW
    assert slowed.slow_seconds > 4 * (slowed.usual_seconds or 0)
    slower, _ = after(slowed, Answer.GOOD, 100, took=slow, now=now)
    assert slower.at_once >= 32 // SLOW_SHARE


def test_creates_within_half_a_second_are_never_called_slow() -> None:
    state, now = after(begin(16), Answer.GOOD, 40, took=0.002)
    state, _ = after(state, Answer.GOOD, 100, took=0.49, now=now)
    assert state.at_once == 16


def test_a_few_slow_creates_among_many_are_their_namespaces_business() -> None:
    """A webhook that hangs in one namespace delays its own pods."""
    state, now = after(begin(16), Answer.GOOD, 40, took=0.01)
    for _ in range(30):
        state, now = after(state, Answer.GOOD, 2, took=0.01, now=now)
        state, now = after(state, Answer.GOOD, 1, took=9.0, now=now)
    assert state.at_once == 16


def test_what_lasts_becomes_usual() -> None:
    state, now = after(begin(16), Answer.GOOD, 40, took=0.05)
    for _ in range(120):
        state, now = after(state, Answer.GOOD, 20, took=2.0, now=now)
    assert state.usual_seconds is not None
    assert state.usual_seconds > 0.5
    assert state.at_once == 16


def test_another_most_keeps_a_cut() -> None:
    cut, _ = after(begin(16), Answer.FAULT, 1)
    assert resized(cut, 32).at_once == 8
    assert resized(begin(16), 32).at_once == 32
    assert resized(cut, 4).at_once == 4
