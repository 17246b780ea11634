"""The operators' own rules: which failures their deployment pays for, in addition to the built-in categories.

Pure, and applied in one place (`verdict`), to failures only: an end that was asked for pays nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from execplane.contract.categories import Budget

_MOST_SEARCHED = 4000
"""Characters of a sentence that a pattern is searched in: a slow pattern must not stall the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a rule may look at."""

    category: str
    sentence: str
    exit_code: int | None = None
    """The container's or process's; None where only the worker spoke."""
    reason: str = ""
    """Kubernetes' own word for the container's or the pod's end: Error, OOMKilled, Evicted …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRule:
    """Matches where all that it names matches. The settings have checked it."""

    budget: Budget
    category: str = ""
    exit_codes: tuple[int, ...] = ()
    reason: str = ""
    message: str = ""
    """A regular expression, searched in the failure's sentence."""
    hint: str = ""
    """In place of the built-in one."""
    name: str = ""
    """A category of the operators' own, in place of the built-in one."""

    def matches(self, failure: Failure) -> bool:
        return (
            (not self.category or self.category == failure.category)
            and (not self.exit_codes or failure.exit_code in self.exit_codes)
            and (not self.reason or self.reason == failure.reason)
            and (not self.message or re.search(self.message, failure.sentence[:_MOST_SEARCHED]) is not None)
        )


def first_match(rules: Iterable[FailureRule], failure: Failure) -> FailureRule | None:
    return next((rule for rule in rules if rule.matches(failure)), None)
