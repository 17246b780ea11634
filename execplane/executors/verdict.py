"""How an attempt ends, and what becomes of its task instance: one pure function with its whole truth table.

Three witnesses may speak: the worker's fenced report, its last words (the termination message, checked against the
fence by the caller), and the fate that the executor saw. The worker's own word wins over what was seen from outside;
an exit code 0 alone proves nothing. Who asked the attempt to stop decides what its death means:

| stop    | success, skipped | reschedule        | any other end                                             |
|---------|------------------|-------------------|-----------------------------------------------------------|
| none    | as reported      | up_for_reschedule | author's or infrastructure's retry, or failed             |
| clear   | none (again)     | none (again)      | none (again), no budget                                   |
| mark    | task untouched   | task untouched    | task untouched, no budget                                 |
| user    | as reported      | failed, no budget | failed, no budget, no retry                               |
| timeout | as reported      | up_for_reschedule | author's budget                                           |
| lost    | as reported      | up_for_reschedule | infrastructure's budget; the worker's own failure: author's |
| waited  | as reported      | up_for_reschedule | the deadline's category pays; a wait for capacity: nobody |

Who pays for a failure is the witness's word, unless one of the operators' rules says otherwise (`failure_rules`).
A task that is restarting counts as "clear" and one that is no longer in flight as "mark", whatever was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from execplane.contract.categories import MEANING, Budget, Category
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.messages import End, Verdict
from execplane.contract.observations import Gone, LaunchRefused
from execplane.contract.states import ATTEMPT_ENDED, TASK_IN_FLIGHT, AttemptState, Cause, TaskState
from execplane.executors.failure_rules import Failure, first_match
from execplane.executors.retries import infra_delay_seconds, retry_delay_seconds
from execplane.executors.task_policy import Stop, TaskPolicy
from execplane.executors.witnesses import KINDS, Finding, Kind, asked_for, diagnosed, find

_FENCE_PASSED = frozenset({AttemptState.RUNNING, AttemptState.STOPPING})
_FAILURES = frozenset({Kind.AUTHOR, Kind.FINAL, Kind.INFRA, Kind.UNPAID, Kind.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The one end of an attempt. `task_state` None: the task instance is left as it is."""

    attempt_state: AttemptState
    task_state: TaskState | None
    category: str = ""
    """Stable; "" for success, skip and reschedule."""
    sentence: str = ""
    hint: str = ""
    exit_code: int | None = None
    budget: Budget = Budget.NONE
    author_failures: int
    """The new count; so is the next one."""
    infra_failures: int
    eligible_at: datetime | None = None
    next_cause: Cause | None = None
    """For up_for_retry, up_for_reschedule and none: the next attempt's. retry and clear make a new try_number,
    infra and reschedule keep it."""
    skips: tuple[str, ...] = ()
    map_length: int | None = None


_ATTEMPT_END = {
    Kind.SUCCESS: AttemptState.SUCCESS,
    Kind.SKIPPED: AttemptState.SKIPPED,
    Kind.RESCHEDULE: AttemptState.RESCHEDULED,
    Kind.AUTHOR: AttemptState.FAILED,
    Kind.FINAL: AttemptState.FAILED,
    Kind.INFRA: AttemptState.FAILED,
    Kind.UNPAID: AttemptState.FAILED,
    Kind.CANCELLED: AttemptState.CANCELLED,
}


def verdict(
    report: End | None, fate: Gone | None, last_words: Verdict | None, task: TaskPolicy, now: datetime
) -> Ended | None:
    """The attempt's end, or None when nothing ends: it has ended before (record what came late), or nobody spoke.

    `report` and `last_words` must carry the nonce that passed the fence. Before the fence there is no worker's word:
    there they are ignored. Delays count from `now`.
    """
    if task.attempt_state in ATTEMPT_ENDED or (report is None and fate is None):
        return None
    if task.attempt_state not in _FENCE_PASSED:
        report = last_words = None
        if fate is None:
            return None
    finding = find(report, fate, last_words, task)
    return _settle(finding, task, now, exit_code=fate.diagnosis.exit_code if fate is not None else None)


def refused(fact: LaunchRefused, task: TaskPolicy, now: datetime) -> Ended | None:
    """The end of an attempt whose launch did not happen; None when it has ended before, or the same intent is
    to be launched again (`retry`). A name that is taken asks for another attempt, at the infrastructure's cost."""
    if task.attempt_state in ATTEMPT_ENDED or (fact.retry and not fact.new_attempt):
        return None
    infrastructure = fact.new_attempt or fact.diagnosis.infrastructure
    finding = asked_for(task) or diagnosed(fact.diagnosis, infrastructure=infrastructure)
    return _settle(finding, task, now, exit_code=None)


def reported_tasks(dag: DagSpec) -> frozenset[str]:
    """The tasks whose result others need from the report: branches, short circuits, values that others refer to."""
    deciding = {task.task_id for task in dag.tasks if task.kind in ("branch", "short_circuit")}
    args = (arg for task in dag.tasks if task.mapped is not None for arg in task.mapped.args)
    mapped_over = {ref.task_id for arg in args for ref in arg.refs}
    referred = {ref.task_id for task in dag.tasks for ref in task.xcom_refs}
    return frozenset(deciding | mapped_over | referred)


def max_tries(task: TaskSpec, *, try_number: int, author_failures: int) -> int:
    """The number of the last try that is allowed, when try `try_number` begins after so many failures."""
    return try_number + max(0, task.retries - author_failures)


def _settle(finding: Finding, task: TaskPolicy, now: datetime, *, exit_code: int | None) -> Ended:
    ended = _Settlement(finding=_whole(finding), task=task, exit_code=exit_code)
    if task.stop is Stop.CLEAR or task.task_state is TaskState.RESTARTING:
        return ended.end(TaskState.NONE, next_cause=Cause.CLEAR)
    if task.stop is Stop.MARK or task.task_state not in TASK_IN_FLIGHT:
        return ended.end(None)
    if finding.kind is Kind.SUCCESS:
        return ended.end(TaskState.SUCCESS, skips=finding.skips, map_length=finding.map_length)
    if finding.kind is Kind.SKIPPED:
        return ended.end(TaskState.SKIPPED)
    if task.stop is Stop.USER or finding.kind is Kind.CANCELLED:
        return ended.end(TaskState.FAILED)
    if finding.kind is Kind.RESCHEDULE:
        return ended.end(
            TaskState.UP_FOR_RESCHEDULE,
            eligible_at=finding.reschedule_at or now,
            next_cause=Cause.RESCHEDULE,
        )
    return _failed(ended, now)


def _whole(finding: Finding) -> Finding:
    """Whatever failed has a category, a sentence and a hint, however little its witness said."""
    if finding.kind not in _FAILURES:
        return finding
    category = finding.category or Category.UNKNOWN
    meaning = MEANING[Category(category) if category in set(Category) else Category.UNKNOWN]
    return replace(
        finding,
        category=category,
        sentence=finding.sentence.strip() or meaning.sentence,
        hint=finding.hint or meaning.hint,
    )


def _failed(ended: _Settlement, now: datetime) -> Ended:
    """A failure is paid from one budget: another attempt while it lasts, else the task has failed."""
    ended = _ruled(ended)
    task, kind = ended.task, ended.finding.kind
    if kind is Kind.UNPAID:
        return ended.end(TaskState.FAILED)
    if kind is Kind.INFRA:
        failures, allowed = task.infra_failures + 1, task.failures.infra_retries
        delay = infra_delay_seconds(failures, key=task.key, backoff=task.failures.infra_backoff)
        budget, cause, word = Budget.INFRA, Cause.INFRA, "infrastructure retry"
    else:
        failures, allowed = task.author_failures + 1, 0 if kind is Kind.FINAL else task.retries
        delay = retry_delay_seconds(
            failures,
            key=task.key,
            delay_seconds=task.retry_delay_seconds,
            exponential_backoff=task.retry_exponential_backoff,
            cap_seconds=task.max_retry_delay_seconds,
        )
        budget, cause, word = Budget.AUTHOR, Cause.RETRY, "retry"
    if failures > allowed:
        note = "" if kind is Kind.FINAL or allowed == 0 else f" All {allowed} {word} attempts are used up."
        return ended.end(TaskState.FAILED, budget=budget, note=note)
    return ended.end(
        TaskState.UP_FOR_RETRY,
        budget=budget,
        eligible_at=now + timedelta(seconds=delay),
        next_cause=cause,
        note=f" Next comes {word} {failures} of {allowed}.",
    )


def _ruled(ended: _Settlement) -> _Settlement:
    """The operators' rules, the only place where they apply. What asked not to be tried again is not, whoever pays."""
    found = ended.finding
    failure = Failure(category=found.category, sentence=found.sentence, exit_code=ended.exit_code, reason=found.reason)
    rule = first_match(ended.task.failures.rules, failure)
    if rule is None:
        return ended
    kind = Kind.FINAL if found.kind is Kind.FINAL and rule.budget is not Budget.NONE else KINDS[rule.budget]
    finding = replace(found, kind=kind, category=rule.name or found.category, hint=rule.hint or found.hint)
    return replace(ended, finding=finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settlement:
    """What all ends have in common."""

    finding: Finding
    task: TaskPolicy
    exit_code: int | None

    def end(
        self,
        task_state: TaskState | None,
        *,
        budget: Budget = Budget.NONE,
        eligible_at: datetime | None = None,
        next_cause: Cause | None = None,
        skips: tuple[str, ...] = (),
        map_length: int | None = None,
        note: str = "",
    ) -> Ended:
        found, task = self.finding, self.task
        return Ended(
            attempt_state=_ATTEMPT_END[found.kind],
            task_state=task_state,
            category=found.category,
            sentence=f"{found.sentence}{note}",
            hint=found.hint,
            exit_code=self.exit_code,
            budget=budget,
            author_failures=task.author_failures + (budget is Budget.AUTHOR),
            infra_failures=task.infra_failures + (budget is Budget.INFRA),
            eligible_at=eligible_at,
            next_cause=next_cause,
            skips=skips,
            map_length=map_length,
        )
