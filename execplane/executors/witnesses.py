"""What each witness of an attempt's end says: the worker's report, its last words, and the fate that was seen.

Pure: one finding, with a category and a sentence; what it costs is settled by `verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from execplane.contract.categories import MEANING, Budget, Category
from execplane.contract.messages import End, ErrorInfo, Verdict
from execplane.contract.observations import Diagnosis, Gone
from execplane.contract.process import LOST_CONTACT, OUT_OF_MEMORY
from execplane.contract.states import TASK_IN_FLIGHT, TaskState
from execplane.executors.task_policy import Stop, TaskPolicy

_MODULE_MISSING = (
    "The module is not where the task ran: install it in the worker's image (for local executors: beside execplane), "
    "or put it into the DAGs folder."
)


class Kind(StrEnum):
    """What sort of an end it is."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    RESCHEDULE = "reschedule"
    AUTHOR = "author"
    FINAL = "final"
    """The author's failure that is never retried."""
    INFRA = "infra"
    UNPAID = "unpaid"
    """A failure that costs nothing and is not tried again: what it waited for would be waited for again."""
    CANCELLED = "cancelled"


KINDS = {Budget.AUTHOR: Kind.AUTHOR, Budget.INFRA: Kind.INFRA, Budget.NONE: Kind.UNPAID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    kind: Kind
    category: str = ""
    sentence: str = ""
    hint: str = ""
    reason: str = ""
    """Kubernetes' own word for the end."""
    reschedule_at: datetime | None = None
    skips: tuple[str, ...] = ()
    map_length: int | None = None


def find(report: End | None, fate: Gone | None, last_words: Verdict | None, task: TaskPolicy) -> Finding:
    """The worker's own word wins; without it, what was asked for, then what was seen. One of them must speak."""
    if report is not None:
        return _reported(report, fate, task)
    assert fate is not None
    if last_words is not None:
        finding = _said(last_words.outcome, last_words.reason, last_words.error, fate, task)
        if finding.kind is Kind.SUCCESS and task.needs_report:
            sentence = "The task succeeded, but its report never came, and other tasks need what it returned."
            return Finding(kind=Kind.INFRA, category=Category.RESULT_LOST, sentence=sentence)
        return finding
    return asked_for(task) or _seen(fate)


def diagnosed(diagnosis: Diagnosis, *, infrastructure: bool) -> Finding:
    """What the executor says, as it says it."""
    return Finding(
        kind=Kind.INFRA if infrastructure else Kind.AUTHOR,
        category=diagnosis.category,
        sentence=diagnosis.sentence,
        hint=diagnosis.hint,
        reason=str(diagnosis.data.get("reason") or ""),
    )


def asked_for(task: TaskPolicy) -> Finding | None:
    """What an end means that came because it was asked for; None: nobody asked."""
    if task.stop is Stop.TIMEOUT:
        return _overdue(task.stop_reason)
    if task.stop is Stop.LOST:
        return _lost(f"The worker gave no sign of life any more and was stopped{_brackets(task.stop_reason)}.")
    if task.stop is Stop.WAITED:
        known = task.stop_category in set(Category)
        category = Category(task.stop_category) if known else Category.UNKNOWN
        return Finding(kind=KINDS[MEANING[category].budget], category=category, sentence=task.stop_reason)
    if task.stop is None and task.task_state in TASK_IN_FLIGHT - {TaskState.RESTARTING}:
        return None
    return _cancelled(task)


def _reported(report: End, fate: Gone | None, task: TaskPolicy) -> Finding:
    finding = _said(report.outcome, report.reason, report.error, fate, task)
    if finding.kind is Kind.RESCHEDULE:
        return replace(finding, reschedule_at=report.reschedule_at)
    if finding.kind is Kind.SUCCESS:
        return replace(finding, skips=report.skip, map_length=report.map_length)
    if finding.category == Category.OOM_KILLED and report.peak_memory_bytes:
        peak = f" The most that it was seen to use is {report.peak_memory_bytes >> 20} MiB."
        return replace(finding, sentence=finding.sentence + peak)
    return finding


def _seen(fate: Gone) -> Finding:
    """Only the executor speaks."""
    diagnosis = fate.diagnosis
    if diagnosis.exit_code == 0:
        return Finding(
            kind=Kind.INFRA,
            category=Category.UNKNOWN,
            sentence="The process ended with exit code 0, but reported nothing: whether the task is done is unknown.",
            hint="The worker lost the API before it could report, or the task ended the process (os._exit(0)).",
        )
    return diagnosed(diagnosis, infrastructure=diagnosis.infrastructure)


def _said(outcome: str, reason: str, error: ErrorInfo | None, fate: Gone | None, task: TaskPolicy) -> Finding:
    """The worker speaks, in its report or in its last words."""
    told = ": ".join(part for part in (error.type, error.message) if part) if error is not None else reason
    match outcome:
        case "success":
            return Finding(kind=Kind.SUCCESS)
        case "skipped":
            return Finding(kind=Kind.SKIPPED, sentence=reason)
        case "reschedule" if task.stop is Stop.USER:
            return _cancelled(task)
        case "reschedule":
            return Finding(kind=Kind.RESCHEDULE)
        case "terminated" if error is not None and error.type == LOST_CONTACT:
            return asked_for(task) or _lost(error.message)
        case "terminated":
            return asked_for(task) or _terminated(reason, fate, task)
        case "no_files":
            sentence = f"The worker could not get the DAG's files, so the task never began{_brackets(reason)}."
            return asked_for(task) or Finding(kind=Kind.INFRA, category=Category.NO_FILES, sentence=sentence)
        case "timeout":
            return _overdue(told)
        case _:
            return _failed(outcome, told, error, task)


def _failed(outcome: str, told: str, error: ErrorInfo | None, task: TaskPolicy) -> Finding:
    match outcome:
        case "failed" | "fail_without_retry" if error is not None and error.type.endswith("SensorTimeout"):
            return Finding(
                kind=Kind.FINAL, category=Category.SENSOR_TIMEOUT, sentence=f"The sensor timed out{_brackets(told)}."
            )
        case "fail_without_retry":
            sentence = f"The task asked to fail{_brackets(told)}."
            return Finding(kind=Kind.FINAL, category=Category.FAILED_WITHOUT_RETRY, sentence=sentence)
        case "failed" if task.stop is Stop.TIMEOUT:
            return _overdue(told)
        case "failed" if error is not None and error.type == OUT_OF_MEMORY:
            hint = "Let the task need less memory, or give it more (a pod: its memory limit; else: fewer slots)."
            return Finding(kind=Kind.AUTHOR, category=Category.OOM_KILLED, sentence=error.message, hint=hint)
        case "failed":
            hint = _MODULE_MISSING if error is not None and error.type == "ModuleNotFoundError" else ""
            sentence = f"The task failed{_brackets(told)}."
            return Finding(kind=Kind.AUTHOR, category=Category.TASK_FAILED, sentence=sentence, hint=hint)
        case _:
            sentence = f"The worker reported the outcome {outcome!r}, which this version does not know."
            return Finding(kind=Kind.AUTHOR, category=Category.UNKNOWN_OUTCOME, sentence=sentence)


def _terminated(reason: str, fate: Gone | None, task: TaskPolicy) -> Finding:
    """SIGTERM from outside: the executor may know from whom, and whether the author is to blame."""
    if fate is not None and fate.diagnosis.exit_code != 0:
        return _seen(fate)
    if task.removed is not None:
        return diagnosed(task.removed, infrastructure=task.removed.infrastructure)
    sentence = f"The task was terminated from outside{_brackets(reason)}."
    return Finding(kind=Kind.INFRA, category=Category.TERMINATED, sentence=sentence)


def _lost(sentence: str) -> Finding:
    """Worker and server had no contact for too long: it is the same, whoever of them noticed."""
    return Finding(kind=Kind.INFRA, category=Category.HEARTBEAT_LOST, sentence=sentence)


def _cancelled(task: TaskPolicy) -> Finding:
    sentence = f"The attempt was stopped{_brackets(task.stop_reason)}."
    return Finding(kind=Kind.CANCELLED, category=Category.CANCELLED, sentence=sentence)


def _overdue(told: str) -> Finding:
    return Finding(
        kind=Kind.AUTHOR,
        category=Category.EXECUTION_TIMEOUT,
        sentence=f"The task ran longer than its execution_timeout{_brackets(told)}.",
    )


def _brackets(told: str) -> str:
    """ " (told)", without its full stop, which comes after the bracket; "" where nothing was told."""
    bare = told.removesuffix(".")
    return f" ({bare})" if bare else ""
