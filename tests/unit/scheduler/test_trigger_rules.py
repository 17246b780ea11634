"""Every rule over every small set of upstream states, against the oracle's sentences."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from execplane.contract.states import TriggerRule
from execplane.scheduler.trigger_rules import Ruling, Tally, rule
from tests.unit.scheduler.oracle import by_rule

STATES = ("success", "failed", "skipped", "upstream_failed", "running", "none")
SAME = {Ruling.RUN: "run", Ruling.WAIT: "wait", Ruling.SKIP: "skipped", Ruling.UPSTREAM_FAILED: "upstream_failed"}
PLAIN = [each for each in TriggerRule if each is not TriggerRule.ALL_DONE_SETUP_SUCCESS]


def tally(states: tuple[str, ...], setups: tuple[str, ...] = ()) -> Tally:
    every = (*states, *setups)
    return Tally(
        total=len(every),
        success=every.count("success"),
        skipped=every.count("skipped"),
        failed=every.count("failed"),
        upstream_failed=every.count("upstream_failed"),
        setups=len(setups),
        setups_success=setups.count("success"),
        setups_skipped=setups.count("skipped"),
    )


@pytest.mark.parametrize("each", PLAIN)
def test_a_rule_says_what_the_oracle_says_for_up_to_five_upstream_instances(each: TriggerRule) -> None:
    for count in range(6):
        for states in combinations_with_replacement(STATES, count):
            assert SAME[rule(each, tally(states))] == by_rule(str(each), list(states)), (each, states)


@pytest.mark.parametrize("each", list(TriggerRule))
def test_no_rule_waits_once_all_upstream_instances_are_done(each: TriggerRule) -> None:
    for states in combinations_with_replacement(STATES[:4], 3):
        for setups in ((), ("success",), ("skipped",), ("failed", "skipped")):
            assert rule(each, tally(states, setups)) is not Ruling.WAIT


@pytest.mark.parametrize("each", list(TriggerRule))
def test_a_task_with_nothing_upstream_ignores_its_rule(each: TriggerRule) -> None:
    assert rule(each, Tally()) is Ruling.RUN


@pytest.mark.parametrize(
    ("setups", "others", "expected"),
    [
        (("success",), ("failed",), Ruling.RUN),
        (("success", "failed"), ("success",), Ruling.RUN),
        (("skipped",), ("success",), Ruling.SKIP),
        (("failed",), ("success",), Ruling.UPSTREAM_FAILED),
        (("failed", "skipped"), ("success",), Ruling.UPSTREAM_FAILED),
        (("success",), ("running",), Ruling.WAIT),
        ((), ("failed",), Ruling.RUN),
    ],
)
def test_all_done_setup_success_needs_one_setup_that_ran(
    setups: tuple[str, ...], others: tuple[str, ...], expected: Ruling
) -> None:
    assert rule(TriggerRule.ALL_DONE_SETUP_SUCCESS, tally(others, setups)) is expected
