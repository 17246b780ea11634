"""What a verdict knows besides its witnesses: the attempt and its task in the ledger, what the author allows, and how
the deployment treats failures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from execplane.contract.observations import Diagnosis
from execplane.contract.states import AttemptState, TaskState
from execplane.executors.failure_rules import FailureRule
from execplane.executors.retries import InfraBackoff


class Stop(StrEnum):
    """Who asked the attempt to stop."""

    CLEAR = "clear"
    """Cleared in flight: the task instance is restarting."""
    MARK = "mark"
    """The task instance has been given its state already (marked, fail_fast, the run's timeout)."""
    USER = "user"
    """Somebody stopped this attempt: the task fails and is not tried again."""
    TIMEOUT = "timeout"
    """The execution timeout, enforced from outside."""
    LOST = "lost"
    """No sign of life for longer than the self-fence time."""
    WAITED = "waited"
    """It stayed before its claim for longer than a deadline allows: `stop_category` says what that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """The deployment's settings about failures."""

    infra_retries: int = 3
    infra_backoff: InfraBackoff = field(default_factory=InfraBackoff)
    rules: tuple[FailureRule, ...] = ()
    """The operators' own: the first that matches says who pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPolicy:
    """The attempt and its task instance as the ledger has them, and what is allowed."""

    attempt_state: AttemptState
    task_state: TaskState
    key: str
    """The task instance's key as text: seeds the jitter of delays."""
    retries: int = 0
    retry_delay_seconds: float = 300.0
    retry_exponential_backoff: float = 0.0
    max_retry_delay_seconds: float | None = None
    author_failures: int = 0
    """Failures that counted against `retries` so far."""
    infra_failures: int = 0
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    needs_report: bool = False
    """The task's result travels only in the report (see `reported_tasks`): last words of success do not carry it."""
    removed: Diagnosis | None = None
    """What was seen to happen to the pod as a whole, when its worker says that it was terminated from outside."""
    stop: Stop | None = None
    stop_reason: str = ""
    """In words: "cleared by ada"."""
    stop_category: str = ""
    """Of a stop that is a verdict already (`Stop.WAITED`)."""
