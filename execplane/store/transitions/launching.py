"""From queued to running: the scheduler's launches, the driver's claims and intents, the worker's fence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db.models import F, Q, QuerySet

from execplane.contract.observations import Diagnosis
from execplane.contract.states import AttemptState, Cause, TaskState, task_sources
from execplane.contract.workload import Intent
from execplane.store import blob_rows
from execplane.store.database import nudge, write
from execplane.store.models import Attempt, DagRun, TaskInstance, WaitingReason, XCom
from execplane.store.prepared import Delete, Insert, Parameter, Select, SelectIn, Update, UpdateIn
from execplane.store.queries.literal import is_active
from execplane.store.texts import clean
from execplane.store.transitions import measured
from execplane.store.transitions.events import event, record
from execplane.store.transitions.locked import locked_attempt

_MOST_EXPLAINED = 5000

_ATTEMPT = Parameter("attempt_id")
_TI = Parameter("ti_id")
_NOW = Parameter("now")
_TASK_QUEUED = Update(
    lambda: TaskInstance.objects.filter(pk=_TI),
    state=TaskState.QUEUED,
    attempt_no=Parameter("attempt_no"),
    eligible_at=None,
    reason="",
    try_number=Parameter("try_number"),
    first_started_at=Parameter("first_started_at"),
)
_STILL_QUEUED = SelectIn(
    lambda keys: (
        Attempt.objects.filter(pk__in=keys, state=AttemptState.QUEUED)
        .select_for_update(skip_locked=True)
        .values_list("pk", "seq")
    )
)
_CLAIMED = UpdateIn(
    lambda keys: Attempt.objects.filter(pk__in=keys),
    state=AttemptState.CLAIMED,
    seq=F("seq") + 1,
    owner=Parameter("owner"),
    claimed_at=_NOW,
    not_claimed_reason="",
    retry_at=None,
)
_HELD = SelectIn(
    lambda keys: (
        Attempt.objects.filter(pk__in=keys, state=AttemptState.CLAIMED, owner=Parameter("owner"))
        .order_by("pk")
        .select_for_update()
        .values_list("pk", "seq")
    )
)
_LAUNCHED = Update(
    lambda: Attempt.objects.filter(pk=_ATTEMPT),
    state=AttemptState.LAUNCHED,
    seq=Parameter("seq"),
    cluster=Parameter("cluster"),
    namespace=Parameter("namespace"),
    pod_name=Parameter("pod_name"),
    template_rev=Parameter("template_rev"),
    intent_sha256=Parameter("intent_sha256"),
    launched_at=_NOW,
)
_RUNS = Update(
    lambda: Attempt.objects.filter(pk=_ATTEMPT),
    state=AttemptState.RUNNING,
    seq=Parameter("seq"),
    pod_uid=Parameter("uid"),
    nonce=Parameter("nonce"),
    node=Parameter("node"),
    worker_version=Parameter("worker_version"),
    running_at=_NOW,
    heartbeat_at=_NOW,
    acknowledged_at=Parameter("acknowledged_at"),
    retry_at=None,
    not_claimed_reason="",
)
_TASK_RUNS = Update(
    lambda: TaskInstance.objects.filter(pk=_TI, state=TaskState.QUEUED, attempt_no=Parameter("attempt_no")),
    state=TaskState.RUNNING,
    started_at=_NOW,
    ended_at=None,
)
_FIRST_START = Update(lambda: TaskInstance.objects.filter(pk=_TI, first_started_at=None), first_started_at=_NOW)
_FORGET_DECISIONS = Update(lambda: TaskInstance.objects.filter(pk=_TI), skips=None, map_length=None)
_FORGET_XCOMS = Delete(lambda: XCom.objects.filter(ti=_TI))
_WAITS = Insert(WaitingReason, or_update=("code", "sentence", "data"))
_WAIT_NO_MORE = Delete(lambda: WaitingReason.objects.filter(attempt_id=_ATTEMPT))
_RUN_OF = Select(lambda: TaskInstance.objects.filter(pk=_TI).values_list("dagrun_id"))
_RUN = Select(lambda: DagRun.objects.filter(pk=Parameter("run_pk")).values_list("dag_id", "run_id"))
_MAY_BE_QUEUED = SelectIn(
    lambda keys: (
        TaskInstance.objects.filter(pk__in=keys, state__in=[str(state) for state in task_sources(TaskState.QUEUED)])
        .select_for_update()
        .values_list("pk", "attempt_no", "try_number", "first_started_at")
    )
)
_NEW_ATTEMPTS = Insert(Attempt)
_QUEUED_OF = SelectIn(
    lambda keys: Attempt.objects.filter(ti__pk__in=keys, state=AttemptState.QUEUED).values_list("pk", "ti_id")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAttempt:
    """A launch that the scheduler decided."""

    ti_id: int
    task_id: str
    map_index: int
    cause: Cause
    executor: str
    queue: str
    pool: str
    slots: int
    priority: int
    max_per_dag: int | None = None


def queue_attempts(dagrun_id: int, launches: Sequence[NewAttempt], *, actor: str, now: datetime) -> int:
    """Make an attempt for each launch whose task instance may still be queued; gives how many were made.

    Inside the caller's `write()` that locked the run, so what was read is what is moved.
    """
    if not launches:
        return 0
    dag_id, run_id = _RUN(run_pk=dagrun_id)[0]
    by_id = {launch.ti_id: launch for launch in launches}
    tasks: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    for ti_id, attempt_no, try_number, first_started_at in _MAY_BE_QUEUED(by_id):
        launch = by_id[ti_id]
        new_try = launch.cause in (Cause.FIRST, Cause.RETRY, Cause.CLEAR) or try_number == 0
        numbers = {"attempt_no": attempt_no + 1, "try_number": try_number + 1 if new_try else try_number}
        tasks.append({"ti_id": ti_id, **numbers, "first_started_at": None if new_try else first_started_at})
        attempts.append({**_new_attempt(launch), **numbers, "dag_id": dag_id, "run_id": run_id, "queued_at": now})
    _TASK_QUEUED.many(tasks)
    _NEW_ATTEMPTS.many(attempts)
    record(
        event(pk, 0, now, actor=actor, to_state=AttemptState.QUEUED, reason=f"cause: {by_id[ti_id].cause}")
        for pk, ti_id in _QUEUED_OF(task["ti_id"] for task in tasks)
    )
    nudge("driver", f"run:{dagrun_id}", f"dag:{dag_id}")
    return len(attempts)


def _new_attempt(launch: NewAttempt) -> dict[str, Any]:
    return {
        "ti_id": launch.ti_id,
        "cause": launch.cause,
        "state": AttemptState.QUEUED,
        "task_id": launch.task_id,
        "map_index": launch.map_index,
        "executor": launch.executor,
        "queue": launch.queue,
        "pool": launch.pool,
        "slots": launch.slots,
        "priority": launch.priority,
        "max_per_dag": launch.max_per_dag,
    }


def claim(attempt_ids: Sequence[int], *, owner: str, now: datetime) -> list[int]:
    """queued -> claimed for those still queued; gives their ids. Inside the caller's `write()`."""
    moved = sorted(_STILL_QUEUED(attempt_ids))
    _CLAIMED([pk for pk, _ in moved], owner=owner, now=now)
    record(
        event(pk, seq + 1, now, actor=owner, from_state=AttemptState.QUEUED, to_state=AttemptState.CLAIMED)
        for pk, seq in moved
    )
    return [pk for pk, _ in moved]


def not_claimed(reasons: dict[int, str]) -> None:
    """Remember why each attempt stays queued. Only rows whose reason changed should be given."""
    if not reasons:
        return  # On SQLite a transaction that writes nothing keeps others from writing, too.
    by_reason: dict[str, list[int]] = defaultdict(list)
    for pk, reason in reasons.items():
        by_reason[reason[:300]].append(pk)
    with write():
        for reason, ids in by_reason.items():
            _explain(Attempt.objects.filter(pk__in=ids, state=AttemptState.QUEUED), reason)


def _explain(rows: QuerySet[Attempt], reason: str) -> None:
    """A reason is worth no wait: rows that somebody holds (a clear, say) are left out, and so nothing deadlocks."""
    free = rows.exclude(not_claimed_reason=reason).select_for_update(skip_locked=True).values_list("pk", flat=True)
    if ids := list(free[:_MOST_EXPLAINED]):
        Attempt.objects.filter(pk__in=ids).update(not_claimed_reason=reason)


def explain_blocked(executor: str, blocked: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """The reason of attempts that something keeps from even being looked at: of each column, value -> reason. What
    stands first speaks, so that no reason is written over another's and back again."""
    waiting = Attempt.objects.filter(executor=executor, state=AttemptState.QUEUED)
    for column, reasons in blocked:
        values: dict[str, list[str]] = defaultdict(list)
        for value, reason in reasons.items():
            values[reason[:300]].append(value)
        for reason, some in values.items():
            _explain(waiting.filter(**{f"{column}__in": some}), reason)
        if reasons:
            waiting = waiting.exclude(**{f"{column}__in": list(reasons)})


def unclaim(actor: str, executor: str, *, now: datetime) -> int:
    """claimed -> queued for all that is claimed on the executor: no intent was committed, so nothing was sent.

    For a driver that has just taken over, or whose last claim broke off. Whoever claimed it commits no intent any more.
    """
    with write():
        rows = Attempt.objects.filter(executor=executor, state=AttemptState.CLAIMED)
        moved = list(rows.select_for_update(skip_locked=True).values_list("pk", "seq", "owner"))
        Attempt.objects.filter(pk__in=[pk for pk, _, _ in moved]).update(
            state=AttemptState.QUEUED, seq=F("seq") + 1, owner="", claimed_at=None
        )
        record(
            event(
                pk,
                seq + 1,
                now,
                actor=actor,
                from_state=AttemptState.CLAIMED,
                to_state=AttemptState.QUEUED,
                reason=f"{owner} committed no intent for it",
            )
            for pk, seq, owner in moved
        )
        if moved:
            nudge("driver")
    return len(moved)


def commit_intents(intents: Sequence[Intent], *, owner: str, now: datetime) -> list[int]:
    """claimed -> launched with the exact bytes, for what `owner` still holds; gives the ids that may be created.

    From this commit on the launch may exist, whatever becomes of us: only these bytes are ever posted for it.
    """
    with write():
        held = dict(_HELD(sorted(intent.attempt_id for intent in intents), owner=owner))
        kept = [intent for intent in intents if intent.attempt_id in held]
        digests = blob_rows.put_all([intent.body for intent in kept], now)
        _LAUNCHED.many(
            {
                "attempt_id": intent.attempt_id,
                "seq": held[intent.attempt_id] + 1,
                "cluster": intent.cluster,
                "namespace": intent.namespace,
                "pod_name": intent.name,
                "template_rev": intent.template_rev,
                "intent_sha256": digest,
                "now": now,
            }
            for intent, digest in zip(kept, digests, strict=True)
        )
        record(
            event(
                intent.attempt_id,
                held[intent.attempt_id] + 1,
                now,
                actor=owner,
                from_state=AttemptState.CLAIMED,
                to_state=AttemptState.LAUNCHED,
                reason=f"intent: {intent.name}",
                data={"overruled": [f"{o.layer}: {o.path}" for o in intent.overruled]} if intent.overruled else None,
            )
            for intent in kept
        )
    return [intent.attempt_id for intent in kept]


_LONGEST_RETRY_SECONDS = 60.0


def postpone_launch(attempt_id: int, diagnosis: Diagnosis, *, wait_seconds: float, now: datetime) -> None:
    """The intent stays and is sent again: after `wait_seconds`, and ever later when it is refused again and again, up
    to a minute. What it waits for shows the category and the sentence."""
    with write():
        rows = Attempt.objects.filter(pk=attempt_id, state=AttemptState.LAUNCHED)
        failures = rows.values_list("launch_failures", flat=True).first() or 0
        back_off = min(2.0 ** min(failures - 1, 10), _LONGEST_RETRY_SECONDS) if failures else 0.0
        postponed = rows.update(
            retry_at=now + timedelta(seconds=max(wait_seconds, back_off)),
            launch_failures=F("launch_failures") + 1,
            not_claimed_reason=clean(diagnosis.sentence, 300),
        )
        if postponed:
            waits = {"code": diagnosis.category[:40], "sentence": clean(diagnosis.sentence), "since": now}
            _WAITS.many([{"attempt_id": attempt_id, **waits}])
            nudge(f"attempt:{attempt_id}")


def hold_launch(attempt_ids: Sequence[int], *, until: datetime) -> None:
    """Launches that are being sent again: not once more before `until`."""
    with write():
        rows = Attempt.objects.filter(pk__in=attempt_ids, state=AttemptState.LAUNCHED)
        ids = list(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
        Attempt.objects.filter(pk__in=ids).update(retry_at=until)


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """The fence's answer. state: "running" (passed, or passed before by the same process), else the refusal's code."""

    code: str
    message: str = ""
    first_time: bool = False


def pass_fence(attempt_id: int, *, uid: str, nonce: str, hostname: str, worker_version: str, now: datetime) -> Passed:
    """launched -> running for exactly one process; idempotent for (uid, nonce), refused for everybody else."""
    with write():
        row = locked_attempt(attempt_id)
        if row is None:
            return Passed(code="fenced", message="The ledger has no such attempt.")
        if row.state in (AttemptState.RUNNING, AttemptState.STOPPING) and (row.pod_uid, row.nonce) == (
            uid,
            nonce,
        ):
            return Passed(code="running")
        if row.state in (AttemptState.QUEUED, AttemptState.CLAIMED):
            return Passed(code="not_yet", message="The attempt's intent is not committed yet.")
        if row.state != AttemptState.LAUNCHED or (row.pod_uid and row.pod_uid != uid):
            message = _refusal(row, uid)
            record(
                [
                    event(
                        row.pk,
                        row.seq,
                        now,
                        actor=f"worker {uid}",
                        from_state=row.state,
                        to_state=row.state,
                        reason=f"claim refused: {message}",
                    )
                ]
            )
            return Passed(code="fenced", message=message)
        _begin(row, uid, nonce, hostname, worker_version, now)
        measured.began(row, now)
    return Passed(code="running", first_time=True)


def _refusal(row: Attempt, uid: str) -> str:
    if row.state == AttemptState.LAUNCHED:
        return f"The attempt belongs to {row.pod_uid}, not to {uid}."
    if row.nonce:
        return f"The attempt is {row.state}; another process passed the fence before."
    return f"The attempt is {row.state}."


def _begin(row: Attempt, uid: str, nonce: str, hostname: str, worker_version: str, now: datetime) -> None:
    _RUNS(
        attempt_id=row.pk,
        seq=row.seq + 1,
        uid=uid,
        nonce=nonce,
        # In a pod the host's name is the pod's, and no node: the cluster tells where it runs.
        node=row.node or ("" if row.namespace else hostname[:253]),
        worker_version=worker_version[:40],
        now=now,
        acknowledged_at=row.acknowledged_at or now,
    )
    record(
        [
            event(
                row.pk,
                row.seq + 1,
                now,
                actor=f"worker {uid}",
                from_state=AttemptState.LAUNCHED,
                to_state=AttemptState.RUNNING,
                reason="passed the fence",
            )
        ]
    )
    _TASK_RUNS(ti_id=row.ti_id, attempt_no=row.attempt_no, now=now)
    _FIRST_START(ti_id=row.ti_id, now=now)
    if row.cause != Cause.RESCHEDULE:
        # As in Airflow: a new try starts without the XComs of the one before, and without what it decided.
        _FORGET_DECISIONS(ti_id=row.ti_id)
        _FORGET_XCOMS(ti_id=row.ti_id)
    _WAIT_NO_MORE(attempt_id=row.pk)
    ((run_pk,),) = _RUN_OF(ti_id=row.ti_id)
    nudge(f"run:{run_pk}", f"attempt:{row.pk}", f"dag:{row.dag_id}")


def due_again(executor: str, *, now: datetime, older_than: timedelta, limit: int = 500) -> list[int]:
    """Launched attempts whose create must be sent again: refused for now, or never answered for `older_than`.

    Reads attempt_active (executor, state), at most `limit` rows.
    """
    return [pk for (pk,) in _due_again(limit)(executor=executor, now=now, before=now - older_than)]


@cache
def _due_again(limit: int) -> Select:
    waits = Attempt.objects.filter(
        is_active(), executor=Parameter("executor"), state=AttemptState.LAUNCHED, acknowledged_at=None
    )
    due = waits.filter(Q(retry_at__lte=_NOW) | Q(retry_at=None, launched_at__lte=Parameter("before")))
    return Select(lambda: due.order_by("-priority", "pk").values_list("pk")[:limit])
