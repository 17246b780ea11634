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

A task that is restarting counts as "clear" and one that is no longer in flight as "mark", whatever was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.messages import End, ErrorInfo, Verdict
from execplane.contract.observations import Diagnosis, Gone, LaunchRefused
from execplane.contract.process import LOST_CONTACT, OUT_OF_MEMORY
from execplane.contract.states import ATTEMPT_ENDED, TASK_IN_FLIGHT, AttemptState, Cause, TaskState
from execplane.executors.retries import InfraBackoff, infra_delay_seconds, retry_delay_seconds

_FENCE_PASSED = frozenset({AttemptState.RUNNING, AttemptState.STOPPING})
_MODULE_MISSING = (
    "The module is not where the task ran: install it in the worker's image (for local executors: beside execplane), "
    "or put it into the DAGs folder."
)


class Budget(StrEnum):
    """Which retry budget the end was taken from."""

    AUTHOR = "author"
    INFRA = "infra"
    NONE = "none"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPolicy:
    """The attempt and its task instance as the ledger has them, and what the author allows."""

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
    infra_retries: int = 3
    infra_backoff: InfraBackoff = field(default_factory=InfraBackoff)
    needs_report: bool = False
    """The task's result travels only in the report (see `reported_tasks`): last words of success do not carry it."""
    stop: Stop | None = None
    stop_reason: str = ""
    """In words: "cleared by ada"."""


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


class _Kind(StrEnum):
    SUCCESS = "success"
    SKIPPED = "skipped"
    RESCHEDULE = "reschedule"
    AUTHOR = "author"
    FINAL = "final"
    """The author's failure that is never retried."""
    INFRA = "infra"
    CANCELLED = "cancelled"


_ATTEMPT_END = {
    _Kind.SUCCESS: AttemptState.SUCCESS,
    _Kind.SKIPPED: AttemptState.SKIPPED,
    _Kind.RESCHEDULE: AttemptState.RESCHEDULED,
    _Kind.AUTHOR: AttemptState.FAILED,
    _Kind.FINAL: AttemptState.FAILED,
    _Kind.INFRA: AttemptState.FAILED,
    _Kind.CANCELLED: AttemptState.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    kind: _Kind
    category: str = ""
    sentence: str = ""
    hint: str = ""
    reschedule_at: datetime | None = None
    skips: tuple[str, ...] = ()
    map_length: int | None = None


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
    finding = _find(report, fate, last_words, task)
    return _settle(finding, task, now, exit_code=fate.diagnosis.exit_code if fate is not None else None)


def refused(fact: LaunchRefused, task: TaskPolicy, now: datetime) -> Ended | None:
    """The end of an attempt whose launch did not happen; None when it has ended before, or the same intent is
    to be launched again (`retry`). A name that is taken asks for another attempt, at the infrastructure's cost."""
    if task.attempt_state in ATTEMPT_ENDED or (fact.retry and not fact.new_attempt):
        return None
    stopped = _stopped(task)
    if stopped is None:
        kind = _Kind.INFRA if fact.new_attempt or fact.diagnosis.infrastructure else _Kind.AUTHOR
        stopped = _diagnosed(kind, fact.diagnosis)
    return _settle(stopped, task, now, exit_code=None)


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


def _find(report: End | None, fate: Gone | None, last_words: Verdict | None, task: TaskPolicy) -> _Finding:
    if report is not None:
        finding = _said(report.outcome, report.reason, report.error, fate, task)
        if finding.kind is _Kind.RESCHEDULE:
            return _Finding(kind=finding.kind, reschedule_at=report.reschedule_at)
        if finding.kind is _Kind.SUCCESS:
            return _Finding(kind=finding.kind, skips=report.skip, map_length=report.map_length)
        return finding
    assert fate is not None
    if last_words is not None:
        finding = _said(last_words.outcome, last_words.reason, last_words.error, fate, task)
        if finding.kind is _Kind.SUCCESS and task.needs_report:
            return _Finding(
                kind=_Kind.INFRA,
                category="result_lost",
                sentence="The task succeeded, but its report never came, and other tasks need what it returned.",
                hint="The worker could not reach the API before it ended; look at the API server's availability.",
            )
        return finding
    return _stopped(task) or _seen(fate)


def _seen(fate: Gone) -> _Finding:
    """Only the executor speaks."""
    diagnosis = fate.diagnosis
    if diagnosis.exit_code == 0:
        return _Finding(
            kind=_Kind.INFRA,
            category="unknown",
            sentence="The process ended with exit code 0, but reported nothing: whether the task is done is unknown.",
            hint="The worker lost the API before it could report, or the task ended the process (os._exit(0)).",
        )
    return _diagnosed(_Kind.INFRA if diagnosis.infrastructure else _Kind.AUTHOR, diagnosis)


def _diagnosed(kind: _Kind, diagnosis: Diagnosis) -> _Finding:
    return _Finding(kind=kind, category=diagnosis.category, sentence=diagnosis.sentence, hint=diagnosis.hint)


def _said(outcome: str, reason: str, error: ErrorInfo | None, fate: Gone | None, task: TaskPolicy) -> _Finding:
    """The worker speaks, in its report or in its last words."""
    told = _bare(f"{error.type}: {error.message}" if error is not None else reason)
    match outcome:
        case "success":
            return _Finding(kind=_Kind.SUCCESS)
        case "skipped":
            return _Finding(kind=_Kind.SKIPPED, sentence=reason)
        case "reschedule" if task.stop is Stop.USER:
            return _cancelled(task)
        case "reschedule":
            return _Finding(kind=_Kind.RESCHEDULE)
        case "terminated" if error is not None and error.type == LOST_CONTACT:
            return _stopped(task) or _lost(error.message)
        case "terminated":
            return _stopped(task) or _terminated(reason, fate)
        case "no_files":
            return _stopped(task) or _Finding(
                kind=_Kind.INFRA,
                category="no_files",
                sentence=f"The worker could not get the DAG's files, so the task never began ({_bare(reason)}).",
                hint="Look at the worker's way to the API, or at the image or volume that holds the files.",
            )
        case "timeout":
            return _overdue(told)
        case "failed" | "fail_without_retry" if error is not None and error.type.endswith("SensorTimeout"):
            return _Finding(kind=_Kind.FINAL, category="sensor_timeout", sentence=f"The sensor timed out ({told}).")
        case "fail_without_retry":
            sentence = f"The task asked to fail ({told})."
            return _Finding(kind=_Kind.FINAL, category="failed_without_retry", sentence=sentence)
        case "failed" if task.stop is Stop.TIMEOUT:
            return _overdue(told)
        case "failed" if error is not None and error.type == OUT_OF_MEMORY:
            hint = "Let the task need less memory, or give it more (a pod: its memory limit; else: fewer slots)."
            return _Finding(kind=_Kind.AUTHOR, category="oom_killed", sentence=error.message, hint=hint)
        case "failed":
            hint = _MODULE_MISSING if error is not None and error.type == "ModuleNotFoundError" else ""
            return _Finding(kind=_Kind.AUTHOR, category="task_failed", sentence=f"The task failed ({told}).", hint=hint)
        case _:
            return _Finding(
                kind=_Kind.AUTHOR,
                category="unknown_outcome",
                sentence=f"The worker reported the outcome {outcome!r}, which this version does not know.",
                hint="The worker is newer than the server: upgrade the server first.",
            )


def _bare(sentence: str) -> str:
    """For brackets: the full stop comes after them."""
    return sentence.removesuffix(".")


def _terminated(reason: str, fate: Gone | None) -> _Finding:
    """SIGTERM from outside: the executor may know from whom, and whether the author is to blame."""
    if fate is not None and fate.diagnosis.exit_code != 0:
        return _seen(fate)
    why = f" ({_bare(reason)})" if reason else ""
    return _Finding(
        kind=_Kind.INFRA,
        category="terminated",
        sentence=f"The task was terminated from outside{why}.",
        hint="A drained or reclaimed node, or somebody deleted the pod or killed the process.",
    )


def _stopped(task: TaskPolicy) -> _Finding | None:
    """What an end means that came because it was asked for; None: nobody asked."""
    if task.stop is Stop.TIMEOUT:
        return _overdue(task.stop_reason)
    if task.stop is Stop.LOST:
        why = f" ({task.stop_reason})" if task.stop_reason else ""
        return _lost(f"The worker gave no sign of life any more and was stopped{why}.")
    if task.stop is None and task.task_state in TASK_IN_FLIGHT - {TaskState.RESTARTING}:
        return None
    return _cancelled(task)


def _lost(sentence: str) -> _Finding:
    """Worker and server had no contact for too long: it is the same, whoever of them noticed."""
    hint = "Look at the node and at the worker's way to the API."
    return _Finding(kind=_Kind.INFRA, category="heartbeat_lost", sentence=sentence, hint=hint)


def _cancelled(task: TaskPolicy) -> _Finding:
    why = f" ({task.stop_reason})" if task.stop_reason else ""
    return _Finding(kind=_Kind.CANCELLED, category="cancelled", sentence=f"The attempt was stopped{why}.")


def _overdue(told: str) -> _Finding:
    return _Finding(
        kind=_Kind.AUTHOR,
        category="execution_timeout",
        sentence=f"The task ran longer than its execution_timeout{f' ({told})' if told else ''}.",
    )


def _settle(finding: _Finding, task: TaskPolicy, now: datetime, *, exit_code: int | None) -> Ended:
    ended = _Settlement(finding=finding, task=task, exit_code=exit_code)
    if task.stop is Stop.CLEAR or task.task_state is TaskState.RESTARTING:
        return ended.end(TaskState.NONE, next_cause=Cause.CLEAR)
    if task.stop is Stop.MARK or task.task_state not in TASK_IN_FLIGHT:
        return ended.end(None)
    if finding.kind is _Kind.SUCCESS:
        return ended.end(TaskState.SUCCESS, skips=finding.skips, map_length=finding.map_length)
    if finding.kind is _Kind.SKIPPED:
        return ended.end(TaskState.SKIPPED)
    if task.stop is Stop.USER or finding.kind is _Kind.CANCELLED:
        return ended.end(TaskState.FAILED)
    if finding.kind is _Kind.RESCHEDULE:
        return ended.end(
            TaskState.UP_FOR_RESCHEDULE,
            eligible_at=finding.reschedule_at or now,
            next_cause=Cause.RESCHEDULE,
        )
    return _failed(ended, now)


def _failed(ended: _Settlement, now: datetime) -> Ended:
    """A failure is paid from one budget: another attempt while it lasts, else the task has failed."""
    task, kind = ended.task, ended.finding.kind
    if kind is _Kind.INFRA:
        failures, allowed = task.infra_failures + 1, task.infra_retries
        delay = infra_delay_seconds(failures, key=task.key, backoff=task.infra_backoff)
        budget, cause, word = Budget.INFRA, Cause.INFRA, "infrastructure retry"
    else:
        failures, allowed = task.author_failures + 1, 0 if kind is _Kind.FINAL else task.retries
        delay = retry_delay_seconds(
            failures,
            key=task.key,
            delay_seconds=task.retry_delay_seconds,
            exponential_backoff=task.retry_exponential_backoff,
            cap_seconds=task.max_retry_delay_seconds,
        )
        budget, cause, word = Budget.AUTHOR, Cause.RETRY, "retry"
    if failures > allowed:
        note = "" if kind is _Kind.FINAL or allowed == 0 else f" All {allowed} {word} attempts are used up."
        return ended.end(TaskState.FAILED, budget=budget, note=note)
    return ended.end(
        TaskState.UP_FOR_RETRY,
        budget=budget,
        eligible_at=now + timedelta(seconds=delay),
        next_cause=cause,
        note=f" Next comes {word} {failures} of {allowed}.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settlement:
    """What all ends have in common."""

    finding: _Finding
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
