"""What workers ask and report: the claim with its fence, heartbeats, XComs, the end. Called by the worker API only.

The actor is the worker process that the token names; its permission is that it holds the attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import msgspec

from execplane.contract.clock import Clock
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.errors import Conflict, Forbidden, InvalidInput, NotFound
from execplane.contract.keys import NOT_MAPPED
from execplane.contract.messages import (
    ClaimAnswer,
    ClaimRequest,
    End,
    EndAnswer,
    Heartbeat,
    RunContext,
    TaskContext,
    XComPull,
    XComValue,
    XComValues,
)
from execplane.contract.states import ATTEMPT_ENDED, AttemptState, RunType
from execplane.executors.driver import ends, holding
from execplane.executors.driver.holding import HoldLimits
from execplane.executors.driver.workloads import task_of
from execplane.executors.task_policy import FailurePolicy
from execplane.executors.verdict import max_tries
from execplane.store import worker_rows
from execplane.store.database import is_outage, write
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.texts import NUL, json_has_nul, nul_replaced
from execplane.store.transitions import ending, launching, observing
from execplane.store.transitions.ending import XComRow
from execplane.store.worker_rows import ClaimRow, LiveAttempt, XComFound

log = logging.getLogger(__name__)

_MOST_PREFETCHED = 200
_PREFETCH_BYTES = 65_536
_MOST_PULLED = 10_000
_PRIOR_RUNS = 100
_HELD_OUTCOMES = frozenset({"failed", "fail_without_retry", "timeout"})
"""Failures of the task itself: what was told to stop is not kept."""


class NotYet(Conflict):
    """Ask again soon."""


class UnknownProtocol(InvalidInput):
    """The worker speaks a version that this server does not."""


class Fenced(Conflict):
    """Somebody else's attempt: stop working."""


@dataclass(frozen=True, kw_only=True)
class WorkerPolicy:
    """What every claim's answer says."""

    heartbeat_seconds: float
    self_fence_seconds: float
    grace_seconds: float
    xcom_blob_bytes: int
    xcom_max_bytes: int
    failures: FailurePolicy
    web_url: str
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Executor -> (source, dags_folder); absent: bundle."""
    env: dict[str, str] = field(default_factory=dict)
    """For every task's process."""
    ignore_syntax: str = ""
    holds: HoldLimits = field(default_factory=HoldLimits)


def claim(
    request: ClaimRequest,
    row: ClaimRow,
    policy: WorkerPolicy,
    *,
    mint: Callable[[int, str, datetime], tuple[str, datetime]],
    now: datetime,
) -> ClaimAnswer:
    """Pass the fence and learn what to run; `row` is the attempt that the launch token was checked against. Raises
    NotYet, Fenced.

    Lost answers: idempotent for (uid, nonce); everybody else is refused.
    """
    if row.key != request.key:
        raise Fenced("The ledger has no such attempt.", hint="It may have been restored from a backup.")
    passed = launching.pass_fence(
        request.attempt_id,
        uid=request.uid,
        nonce=request.nonce,
        hostname=request.hostname,
        worker_version=request.worker_version,
        now=now,
    )
    if passed.code == "not_yet":
        raise NotYet(passed.message)
    if passed.code != "running":
        raise Fenced(passed.message, hint="Nothing is run twice; this process leaves.")
    spec = dag_spec(row.dag_version_id)
    task = task_of(spec, row.key.task.task_id)
    token, expires = mint(request.attempt_id, request.nonce, now)
    source, folder = policy.sources.get(row.executor, ("bundle", ""))
    return ClaimAnswer(
        token=token,
        token_expires_at=expires,
        heartbeat_seconds=policy.heartbeat_seconds,
        self_fence_seconds=policy.self_fence_seconds,
        grace_seconds=policy.grace_seconds,
        dag_file=spec.file,
        bundle=row.bundle,
        source=source,
        dags_folder=folder,
        run=_run_context(row),
        task=_task_context(row, spec, task, now),
        xcoms=_prefetch(row, task),
        xcom_blob_bytes=policy.xcom_blob_bytes,
        xcom_max_bytes=policy.xcom_max_bytes,
        env=policy.env,
        ignore_syntax=policy.ignore_syntax,
        web_url=f"{policy.web_url}/attempts/{row.attempt_id}",
    )


def _run_context(row: ClaimRow) -> RunContext:
    before = worker_rows.previous_success(row.key.task.dag_id, row.logical_date) if row.logical_date else None
    return RunContext(
        run_type=RunType(row.run_type),
        logical_date=row.logical_date,
        data_interval_start=row.interval_start,
        data_interval_end=row.interval_end,
        run_after=row.run_after,
        queued_at=row.queued_at,
        started_at=row.started_at,
        conf=row.conf,
        dag_version=row.dag_version_hash,
        triggered_by=row.triggered_by,
        previous_success_logical_date=before.logical_date if before else None,
        previous_success_interval_start=before.interval_start if before else None,
        previous_success_interval_end=before.interval_end if before else None,
        previous_success_started_at=before.started_at if before else None,
        previous_success_ended_at=before.ended_at if before else None,
    )


def _task_context(row: ClaimRow, spec: DagSpec, task: TaskSpec, now: datetime) -> TaskContext:
    mapped = {other.task_id for other in spec.tasks if other.mapped is not None}
    lengths = worker_rows.mapped_lengths(row.run_pk, mapped) if mapped else {}
    return TaskContext(
        try_number=row.try_number,
        max_tries=max_tries(task, try_number=row.try_number, author_failures=row.author_failures),
        pool=row.pool,
        queue=row.queue,
        priority_weight=row.priority,
        first_started_at=row.first_started_at or now,
        mapped_lengths=lengths,
    )


def _prefetch(row: ClaimRow, task: TaskSpec) -> tuple[XComValue, ...]:
    """Small XComs that the arguments refer to, so that most tasks need no further request."""
    if not task.xcom_refs:
        return ()
    wanted = {(ref.task_id, ref.key) for ref in task.xcom_refs}
    found = worker_rows.xcoms(
        row.run_pk,
        sorted({task_id for task_id, _ in wanted}),
        limit=_MOST_PREFETCHED,
        without_values_above=_PREFETCH_BYTES,
    )
    return tuple(_value(one) for one in found if (one.task_id, one.key) in wanted)


def _value(found: XComFound) -> XComValue:
    return XComValue(
        task_id=found.task_id,
        map_index=found.map_index,
        key=found.key,
        value=msgspec.Raw(found.value if found.value is not None else b"null"),
        blob=found.blob,
    )


def attempt_of(attempt_id: int, nonce: str) -> LiveAttempt:
    """The attempt that a token's bearer holds. Raises Fenced."""
    row = worker_rows.live_attempt(attempt_id)
    if row is None or row.nonce != nonce:
        raise Fenced("The attempt belongs to another process now.")
    return row


def demand_running(row: LiveAttempt) -> None:
    """Raises Fenced once the attempt has ended."""
    if row.state not in (AttemptState.RUNNING, AttemptState.STOPPING):
        raise Fenced(f"The attempt is {row.state}.")


class Beats:
    """Heartbeats wait here and go to the ledger once a second, all in one transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._waiting: dict[int, tuple[int, str, int, datetime]] = {}

    def add(self, attempt_id: int, nonce: str, log_offset: int) -> None:
        with self._lock:
            self._waiting[attempt_id] = (attempt_id, nonce, log_offset, self._clock.now())

    def take(self) -> list[tuple[int, str, int, datetime]]:
        with self._lock:
            beats, self._waiting = list(self._waiting.values()), {}
        return beats

    def flush(self) -> int:
        """Write what waits. A database that does not answer is asked again next time; a beat that cannot be written
        (a fault of ours) is dropped, and holds back no other."""
        beats = self.take()
        parts = [beats] if beats else []
        while parts:
            part = parts.pop()
            try:
                observing.beat(part)
            except Exception as error:
                if is_outage(error):
                    self._put_back([beat for rest in (part, *parts) for beat in rest])
                    raise
                if len(part) == 1:
                    log.exception("a heartbeat of attempt %s could not be written and is dropped", part[0][0])
                else:
                    middle = len(part) // 2
                    parts += [part[:middle], part[middle:]]
        return len(beats)

    def _put_back(self, beats: Sequence[tuple[int, str, int, datetime]]) -> None:
        """Newer ones stay: at most one an attempt waits, however long the database is gone."""
        with self._lock:
            for beat in beats:
                self._waiting.setdefault(beat[0], beat)


def heartbeat(row: LiveAttempt, beat: Heartbeat, beats: Beats, *, now: datetime) -> str:
    """Note the sign of life; gives the reason to stop, "" to go on. Raises Fenced once the attempt has ended."""
    demand_running(row)
    beats.add(row.attempt_id, row.nonce, beat.log_offset)
    if beat.rendered is not None or beat.bundle_found:
        observing.keep_rendered(row.attempt_id, _storable(beat.rendered), beat.bundle_found)
    return row.stop_reason or "stopped" if row.state == AttemptState.STOPPING else ""


def end(row: LiveAttempt, report: End, policy: WorkerPolicy, *, now: datetime) -> EndAnswer:
    """The report. A repeated one is accepted again, moves nothing, and is told the rest of the same hold."""
    if row.state in ATTEMPT_ENDED:
        return _ended(row.attempt_id, str(row.state), now)
    report = msgspec.structs.replace(report, rendered=_storable(report.rendered))
    # Rooms of their own, one transaction: an end without its hold would have its container cleaned up.
    with write():
        state = _end(row, report, policy, now)
        if state == AttemptState.FAILED and report.outcome in _HELD_OUTCOMES:
            holding.hold(row.attempt_id, policy.holds, actor=f"worker {row.nonce[:8]}", now=now)
    return _ended(row.attempt_id, state, now)


def _ended(attempt_id: int, state: str, now: datetime) -> EndAnswer:
    """Only a failed attempt's container may be held."""
    seconds = holding.left(attempt_id, now) if state == AttemptState.FAILED else 0.0
    return EndAnswer(accepted=True, state=state, hold_seconds=seconds)


def _end(row: LiveAttempt, report: End, policy: WorkerPolicy, now: datetime) -> str:
    return ends.end_reported(
        row.attempt_id,
        report,
        xcom_rows(row, report.xcoms),
        now=now,
        failures=policy.failures,
        actor=f"worker {row.nonce[:8]}",
    )


def push(row: LiveAttempt, values: Sequence[XComValue], map_length: int | None, *, now: datetime) -> None:
    """Keep XComs while the task runs; pushing again overwrites."""
    demand_running(row)
    ending.push_xcoms(row.attempt_id, row.ti_id, row.key.attempt_no, xcom_rows(row, values), map_length, now=now)


def _storable(rendered: dict[str, Any] | None) -> dict[str, Any] | None:
    """A template may have rendered a NUL: that must not cost the result."""
    if rendered is None or not json_has_nul(msgspec.json.encode(rendered)):
        return rendered
    return {nul_replaced(key): nul_replaced(value) for key, value in rendered.items()}


def xcom_rows(row: LiveAttempt, values: Sequence[XComValue]) -> list[XComRow]:
    """Raises InvalidInput for XComs of other tasks or keys without a name."""
    rows = []
    for value in values:
        if value.task_id not in ("", row.key.task.task_id):
            raise InvalidInput(f"The task {row.key.task.task_id} pushed an XCom for {value.task_id}.")
        if not value.key or len(value.key) > 512 or NUL in value.key:
            raise InvalidInput("An XCom's key has 1 to 512 characters, and no NUL among them.")
        data = None if value.blob else bytes(value.value)
        rows.append(XComRow(key=value.key, value=data, blob=value.blob, size_bytes=len(data) if data else 0))
    return rows


def pull(row: LiveAttempt, wanted: XComPull) -> XComValues:
    """XComs of the same run, or of the run or DAG that is named; with include_prior_dates, for each task of the newest
    run up to that one that has the XCom."""
    task_ids = wanted.task_ids or (row.key.task.task_id,)
    values: list[XComValue] = []
    missing = list(task_ids)
    run_pks = _runs_to_pull(row, wanted)
    for pk in run_pks:
        found = worker_rows.xcoms(pk, missing, key=wanted.key, map_index=wanted.map_index, limit=_MOST_PULLED)
        values += [_value(one) for one in found]
        missing = [task_id for task_id in missing if task_id not in {one.task_id for one in found}]
        if not missing:
            break
    order = {task_id: position for position, task_id in enumerate(task_ids)}
    values.sort(key=lambda value: (order.get(value.task_id, 0), value.map_index))
    mapped = {value.task_id for value in values if value.map_index != NOT_MAPPED}
    if run_pks:  # the tasks that pushed nothing there
        mapped.update(worker_rows.mapped_lengths(run_pks[0], task_ids))
    return XComValues(values=tuple(values), mapped_task_ids=tuple(sorted(mapped)))


def _runs_to_pull(row: LiveAttempt, wanted: XComPull) -> Sequence[int]:
    """Where to look, in this order. Prior runs of another DAG are those up to our date: it need not have our run id."""
    own = row.key.task
    dag_id, run_id = wanted.dag_id or own.dag_id, wanted.run_id or own.run_id
    named = row.run_pk if (dag_id, run_id) == (own.dag_id, own.run_id) else worker_rows.run_pk(dag_id, run_id)
    if not wanted.include_prior_dates:
        return () if named is None else (named,)
    up_to = row.run_pk if run_id == own.run_id else named
    if up_to is None:
        return ()
    prior = worker_rows.runs_up_to(dag_id, worker_rows.date_of(up_to), limit=_PRIOR_RUNS)
    return prior if up_to != named or up_to in prior else (up_to, *prior)


def token_may_serve(row: LiveAttempt, expires_at: datetime, now: datetime) -> None:
    """An expired token serves on while its attempt has not ended: it is renewed by the next heartbeat."""
    if expires_at < now and row.state in ATTEMPT_ENDED:
        raise Forbidden("The attempt token has expired, and the attempt has ended.")


def renewal_due(issued_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Past its half-life."""
    return now - issued_at > (expires_at - issued_at) / 2 or expires_at - now < timedelta(seconds=60)


__all__ = [
    "Beats", "Fenced", "NotFound", "NotYet", "UnknownProtocol", "WorkerPolicy", "attempt_of", "claim", "end",
    "heartbeat", "pull", "push", "renewal_due", "token_may_serve",
]  # fmt: skip
