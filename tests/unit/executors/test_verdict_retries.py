"""Delays between attempts: what the author asked for, capped, spread, and the same whenever asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.executors.retries import (
    LONGEST_DELAY_SECONDS,
    InfraBackoff,
    infra_delay_seconds,
    retry_delay_seconds,
)


@pytest.mark.parametrize("failures", [1, 2, 9])
def test_without_backoff_the_delay_is_constant(failures: int) -> None:
    assert retry_delay_seconds(failures, key="k", delay_seconds=12.5) == 12.5


@pytest.mark.parametrize(("failures", "least"), [(1, 10), (2, 20), (3, 40), (5, 160)])
def test_with_backoff_the_delay_lies_between_the_power_and_its_double(failures: int, least: int) -> None:
    delays = {
        retry_delay_seconds(failures, key=str(number), delay_seconds=10, exponential_backoff=2) for number in range(200)
    }
    assert least <= min(delays) < least * 1.2
    assert least * 1.8 < max(delays) < least * 2


def test_the_cap_holds_and_a_day_holds_without_one() -> None:
    assert retry_delay_seconds(8, key="k", delay_seconds=10, exponential_backoff=2, cap_seconds=45) == 45
    assert retry_delay_seconds(5000, key="k", delay_seconds=10, exponential_backoff=3) == LONGEST_DELAY_SECONDS


def test_no_delay_with_backoff_is_a_second_or_so() -> None:
    assert retry_delay_seconds(1, key="k", delay_seconds=0, exponential_backoff=2) == 1


@pytest.mark.parametrize(("failures", "whole"), [(1, 10), (2, 20), (4, 80), (6, 300), (5000, 300)])
def test_infrastructure_backs_off_up_to_its_cap(failures: int, whole: float) -> None:
    delays = {infra_delay_seconds(failures, key=str(number)) for number in range(200)}
    assert whole / 2 <= min(delays) < whole * 0.55
    assert whole * 0.95 < max(delays) <= whole


def test_the_back_off_can_be_set() -> None:
    backoff = InfraBackoff(first_seconds=1, cap_seconds=2)
    assert 1 <= infra_delay_seconds(9, key="k", backoff=backoff) <= 2


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0, 10), st.none() | st.floats(0, 1e5), st.text())
def test_a_delay_is_finite_not_negative_and_the_same_when_asked_again(
    failures: int, delay: float, base: float, cap: float | None, key: str
) -> None:
    def ask() -> float:
        return retry_delay_seconds(failures, key=key, delay_seconds=delay, exponential_backoff=base, cap_seconds=cap)

    assert ask() == ask()
    assert 0 <= ask() <= max(LONGEST_DELAY_SECONDS, delay)
    if cap is not None and base > 0:
        assert ask() <= cap
