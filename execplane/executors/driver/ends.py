"""How attempts end: the pure verdict fed from the ledger, and its answer written by one transition."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from execplane.contract.categories import Budget, Category
from execplane.contract.errors import NotFound
from execplane.contract.messages import End, Verdict
from execplane.contract.observations import Diagnosis, Gone, LaunchRefused
from execplane.contract.states import AttemptState, Cause, TaskState
from execplane.executors.driver.workloads import task_of
from execplane.executors.task_policy import FailurePolicy, Stop, TaskPolicy
from execplane.executors.verdict import Ended, refused, reported_tasks, verdict
from execplane.pods.ends import diagnose_removal
from execplane.store import launch_rows
from execplane.store.database import write
from execplane.store.launch_rows import EndingRow
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.texts import clean
from execplane.store.transitions import ending
from execplane.store.transitions.ending import AttemptEnd, XComRow

log = logging.getLogger(__name__)

FENCE_MARGIN = 1.1
"""Clocks differ, and a kill takes a moment."""
_STOPS = {
    "clear": Stop.CLEAR,
    "user": Stop.USER,
    "timeout": Stop.TIMEOUT,
    "lost": Stop.LOST,
    "waited": Stop.WAITED,
    "": Stop.MARK,
}


def end_reported(
    attempt_id: int, report: End, xcoms: Sequence[XComRow], *, now: datetime, failures: FailurePolicy, actor: str
) -> str:
    """The worker's report; gives the attempt's state afterwards. A repeated report finds the attempt ended.

    Raises NotFound for an unknown attempt. A report of a process that did not pass the fence moves nothing.
    """
    with write():
        row = _locked(attempt_id)
        if row is None:
            raise NotFound(f"The ledger has no attempt {attempt_id}.")
        return _end_reported(row, report, xcoms, now=now, failures=failures, actor=actor)


def _end_reported(
    row: EndingRow, report: End, xcoms: Sequence[XComRow], *, now: datetime, failures: FailurePolicy, actor: str
) -> str:
    task = _policy(row, failures)
    if report.outcome == "terminated":
        # The worker cannot know who sent the SIGTERM; the pod's status often says so before the container has ended.
        task = replace(task, removed=diagnose_removal(*launch_rows.last_seen(row.attempt_id)))
    ended = verdict(report, None, None, task, now)
    columns: dict[str, Any] = {
        "log_offset": report.log_offset,
        "peak_memory_bytes": report.peak_memory_bytes,
        "user_code_at": report.user_code_started_at,
    }
    if report.rendered is not None:
        columns["rendered"] = report.rendered
    if report.bundle_found:
        columns["bundle_found"] = clean(report.bundle_found, 64)
    if ended is None:
        reason = f"report {report.outcome} after the end; it moves nothing"
        ending.record_only(row.attempt_id, reason, actor=actor, now=now)
        return str(row.state)
    end = _attempt_end(ended, columns, xcoms, map_label=report.map_label, ended_at=report.ended_at)
    moved = ending.end_attempt(row.attempt_id, end, actor=actor, now=now, nonce=report.nonce)
    return str(ended.attempt_state) if moved else str(row.state)


def end_gone(fact: Gone, *, now: datetime, failures: FailurePolicy, self_fence_seconds: float, actor: str) -> None:
    """The executor saw it die. Whatever ended before stays; its death is noted."""
    with write():
        row = _locked(fact.attempt_id)
        if row is not None:
            _end_gone(row, fact, now=now, failures=failures, self_fence_seconds=self_fence_seconds, actor=actor)


def _end_gone(
    row: EndingRow, fact: Gone, *, now: datetime, failures: FailurePolicy, self_fence_seconds: float, actor: str
) -> None:
    if row.uid and fact.uid and row.uid != fact.uid:
        # Another process or pod of the same name: not the one that holds the attempt.
        ending.record_only(fact.attempt_id, f"{fact.uid} is gone, which is not {row.uid}", actor=actor, now=now)
        return
    ended = verdict(None, fact, _last_words(fact, row), _policy(row, failures), now)
    if ended is None:
        ending.gone(fact.attempt_id, fact.at)
        return
    columns: dict[str, Any] = {"gone_at": fact.at}
    if fact.status is not None:
        columns["status"] = fact.status
    if not fact.finished and row.heartbeat_at is not None:
        fenced_at = row.heartbeat_at + timedelta(seconds=self_fence_seconds * FENCE_MARGIN)
        columns["gone_at"] = max(fact.at, fenced_at)
        ended = _held_until(fenced_at, ended, now)
    ending.end_attempt(fact.attempt_id, _attempt_end(ended, columns, ()), actor=actor, now=now)


def _held_until(fenced_at: datetime, ended: Ended, now: datetime) -> Ended:
    """Nobody saw it end (a lost node, a forced delete): its worker may live on until it fences itself, so the next
    attempt waits for that moment. A cleared task's, now or later, waits by way of `gone_at` (`reset_instances`)."""
    earliest = now if ended.task_state is TaskState.NONE else ended.eligible_at
    if earliest is None or fenced_at <= earliest:
        return ended
    when = f"{fenced_at:%H:%M:%S} UTC"
    note = f" Its death is not confirmed: the next attempt waits until {when}, when it has fenced itself."
    return replace(ended, eligible_at=fenced_at, sentence=ended.sentence + note)


def end_refused(fact: LaunchRefused, *, now: datetime, failures: FailurePolicy, actor: str) -> None:
    """It was not launched, and will not be with this intent."""
    with write():
        row = _locked(fact.attempt_id)
        ended = None if row is None else refused(fact, _policy(row, failures), now)
        if ended is not None:
            columns = {"gone_at": fact.at, "cleaned_at": fact.at}
            ending.end_attempt(fact.attempt_id, _attempt_end(ended, columns, ()), actor=actor, now=now)


def end_waited(
    attempt_id: int, category: str, sentence: str, *, now: datetime, failures: FailurePolicy, actor: str
) -> bool:
    """It waited too long to be launched; False: it is not queued any more."""
    with write():
        row = _locked(attempt_id)
        if row is None or row.state != AttemptState.QUEUED:
            return False
        policy = replace(_policy(row, failures), stop=Stop.WAITED, stop_reason=sentence, stop_category=category)
        diagnosis = Diagnosis(category=category, sentence=sentence)
        ended = refused(LaunchRefused(attempt_id=attempt_id, diagnosis=diagnosis, retry=False, at=now), policy, now)
        if ended is None:
            return False
        columns = {"gone_at": now, "cleaned_at": now}
        return ending.end_attempt(attempt_id, _attempt_end(ended, columns, ()), actor=actor, now=now)


def end_unconfirmed(
    attempt_id: int,
    sentence: str,
    *,
    heartbeat_at: datetime | None,
    now: datetime,
    failures: FailurePolicy,
    self_fence_seconds: float,
    actor: str,
) -> bool:
    """A stopped attempt that nobody saw end, and that has fenced itself since; False: somebody has heard of it."""
    with write():
        row = _locked(attempt_id)
        if row is None or row.state != AttemptState.STOPPING or row.heartbeat_at != heartbeat_at:
            return False
        ending.record_only(attempt_id, f"{sentence}: its end is not waited for any longer", actor=actor, now=now)
        diagnosis = Diagnosis(category=Category.HEARTBEAT_LOST, sentence=f"{sentence}.", infrastructure=True)
        fact = Gone(attempt_id=attempt_id, uid=row.uid, at=now, diagnosis=diagnosis, finished=False)
        _end_gone(row, fact, now=now, failures=failures, self_fence_seconds=self_fence_seconds, actor=actor)
    return True


def _locked(attempt_id: int) -> EndingRow | None:
    """What the verdict is found from, held until it is written: a clear in between would be lost otherwise."""
    return launch_rows.ending_row(attempt_id) if ending.lock_attempt(attempt_id) else None


def _policy(row: EndingRow, failures: FailurePolicy) -> TaskPolicy:
    spec = dag_spec(row.dag_version_id)
    try:
        task = task_of(spec, row.key.task.task_id)
    except NotFound:
        return TaskPolicy(attempt_state=row.state, task_state=row.task_state, key=str(row.key.task), failures=failures)
    return TaskPolicy(
        attempt_state=row.state,
        task_state=row.task_state,
        key=str(row.key.task),
        retries=task.retries,
        retry_delay_seconds=task.retry_delay_seconds,
        retry_exponential_backoff=task.retry_exponential_backoff,
        max_retry_delay_seconds=task.max_retry_delay_seconds,
        author_failures=row.author_failures,
        infra_failures=row.infra_failures,
        failures=failures,
        needs_report=row.key.task.task_id in _reported(row.dag_version_id),
        stop=_STOPS.get(row.stop_then, Stop.MARK) if row.state == AttemptState.STOPPING else None,
        stop_reason=row.stop_reason,
        stop_category=row.category,
    )


@lru_cache(maxsize=256)
def _reported(dag_version_id: int) -> frozenset[str]:
    return reported_tasks(dag_spec(dag_version_id))


def _last_words(fact: Gone, row: EndingRow) -> Verdict | None:
    """The termination message, when it is the word of the process that passed the fence."""
    if not fact.verdict:
        return None
    try:
        words = msgspec.json.decode(fact.verdict, type=Verdict)
    except msgspec.DecodeError:
        return None
    return words if words.attempt_id == row.attempt_id and row.nonce and words.nonce == row.nonce else None


def _attempt_end(
    ended: Ended,
    columns: dict[str, Any],
    xcoms: Sequence[XComRow],
    *,
    map_label: str = "",
    ended_at: datetime | None = None,
) -> AttemptEnd:
    return AttemptEnd(
        state=ended.attempt_state,
        task_state=ended.task_state,
        category=ended.category,
        reason=ended.sentence,
        hint=ended.hint,
        exit_code=ended.exit_code,
        author_failure=ended.budget is Budget.AUTHOR,
        infra_failure=ended.budget is Budget.INFRA,
        eligible_at=ended.eligible_at,
        next_cause=ended.next_cause or Cause.RETRY,
        skips=ended.skips or None,
        map_length=ended.map_length,
        map_label=map_label,
        xcoms=xcoms,
        ended_at=ended_at,
        columns=columns,
    )
