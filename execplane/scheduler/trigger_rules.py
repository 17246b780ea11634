"""Airflow's trigger rules as one pure function over counts.

A rule may decide early (one_success runs at the first success; all_success is lost with the first failure), and
once all upstream instances are done it always decides: no rule can leave a task waiting for ever. The first verdict
sticks, because the caller moves the task at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from execplane.contract.states import TriggerRule


class Ruling(StrEnum):
    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"
    UPSTREAM_FAILED = "upstream_failed"


@dataclass(slots=True)
class Tally:
    """How a set of task instances stands. Removed instances, and tasks without instances, are not in it."""

    total: int = 0
    success: int = 0
    skipped: int = 0
    failed: int = 0
    upstream_failed: int = 0
    setups: int = 0
    """How many of them are setups; the next two count within."""
    setups_success: int = 0
    setups_skipped: int = 0

    @property
    def done(self) -> bool:
        return self.success + self.skipped + self.failed + self.upstream_failed >= self.total

    def add(self, other: Tally) -> None:
        self.total += other.total
        self.success += other.success
        self.skipped += other.skipped
        self.failed += other.failed
        self.upstream_failed += other.upstream_failed
        self.setups += other.setups
        self.setups_success += other.setups_success
        self.setups_skipped += other.setups_skipped


def rule(trigger_rule: TriggerRule, upstream: Tally) -> Ruling:
    """What the rule says about a task whose upstream instances stand like this.

    A task with nothing upstream runs under every rule.
    """
    if upstream.total == 0 or trigger_rule is TriggerRule.ALWAYS:
        return Ruling.RUN
    early = _early(trigger_rule, upstream)
    if early is not None:
        return early
    return _when_done(trigger_rule, upstream) if upstream.done else Ruling.WAIT


def _early(trigger_rule: TriggerRule, up: Tally) -> Ruling | None:
    """What can be said before all are done, and cannot change any more."""
    broken = up.failed + up.upstream_failed
    match trigger_rule:
        case TriggerRule.ALL_SUCCESS:
            return Ruling.UPSTREAM_FAILED if broken else Ruling.SKIP if up.skipped else None
        case TriggerRule.ALL_FAILED:
            return Ruling.SKIP if up.success or up.skipped else None
        case TriggerRule.ALL_SKIPPED:
            return Ruling.SKIP if up.success or broken else None
        case TriggerRule.ONE_SUCCESS:
            return Ruling.RUN if up.success else None
        case TriggerRule.ONE_FAILED:
            return Ruling.RUN if broken else None
        case TriggerRule.ONE_DONE:
            return Ruling.RUN if up.success or up.failed else None
        case TriggerRule.NONE_FAILED | TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            return Ruling.UPSTREAM_FAILED if broken else None
        case TriggerRule.NONE_SKIPPED | TriggerRule.ALL_DONE_MIN_ONE_SUCCESS:
            return Ruling.SKIP if up.skipped else None
        case _:
            return None


def _when_done(trigger_rule: TriggerRule, up: Tally) -> Ruling:
    """What is left to say when all are done and `_early` said nothing."""
    match trigger_rule:
        case TriggerRule.ONE_SUCCESS:
            return Ruling.SKIP if up.skipped == up.total else Ruling.UPSTREAM_FAILED
        case TriggerRule.ONE_FAILED | TriggerRule.ONE_DONE:
            return Ruling.SKIP
        case TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            return Ruling.RUN if up.success else Ruling.SKIP
        case TriggerRule.ALL_DONE_MIN_ONE_SUCCESS:
            return Ruling.RUN if up.success else Ruling.UPSTREAM_FAILED
        case TriggerRule.ALL_DONE_SETUP_SUCCESS if up.setups and up.setups_skipped >= up.setups:
            return Ruling.SKIP
        case TriggerRule.ALL_DONE_SETUP_SUCCESS if up.setups and not up.setups_success:
            return Ruling.UPSTREAM_FAILED
        case _:
            return Ruling.RUN
