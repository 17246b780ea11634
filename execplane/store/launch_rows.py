"""What the driver reads: candidates for a claim, what is occupied, what is in hand. Frozen rows, bounded lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.states import AttemptState, TaskState
from execplane.contract.workload import Handle
from execplane.store import blob_rows
from execplane.store.keyed import attempt_columns
from execplane.store.models import Attempt, Dag, Pool
from execplane.store.prepared import Parameter, Select, SelectIn
from execplane.store.queries.literal import is_active, is_ended

OCCUPYING = [AttemptState.CLAIMED, AttemptState.LAUNCHED, AttemptState.RUNNING, AttemptState.STOPPING]
IN_HAND = [AttemptState.LAUNCHED, AttemptState.RUNNING, AttemptState.STOPPING]

_EXECUTOR = Parameter("executor")
_AFTER = Parameter("after_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A queued attempt, with what gates its claim."""

    attempt_id: int
    dag_id: str
    task_id: str
    pool: str
    slots: int
    priority: int
    max_per_dag: int | None
    not_claimed_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Occupied:
    """What is alive now, over all executors."""

    total: int
    by_executor: dict[str, int]
    by_pool: dict[str, int]
    by_dag: dict[str, int]
    by_task: dict[tuple[str, str], int]


def candidates(
    executor: str,
    *,
    limit: int,
    full_pools: Sequence[str] = (),
    full_dags: Sequence[str] = (),
    held_clusters: Sequence[str] = (),
    held_namespaces: Sequence[str] = (),
    after: Candidate | None = None,
) -> list[Candidate]:
    """Queued attempts by priority, then age, without those that a full pool or DAG blocks, nor those of which it is
    known that their pods would come into one of these places; those behind `after`.

    Reads attempt_active.
    """
    if full_pools or full_dags or held_clusters or held_namespaces or after is not None:
        rows = _queued(executor).exclude(pool__in=full_pools).exclude(dag_id__in=full_dags)
        rows = rows.exclude(cluster__in=held_clusters).exclude(namespace__in=held_namespaces)
        if after is not None:
            behind = Q(priority__lt=after.priority) | Q(priority=after.priority, pk__gt=after.attempt_id)
            rows = rows.filter(behind, priority__lte=after.priority)
        found = list(_as_candidates(rows, limit))
    else:
        found = _first_candidates(limit)(executor=executor)
    return [
        Candidate(
            attempt_id=pk,
            dag_id=dag_id,
            task_id=task_id,
            pool=pool,
            slots=slots,
            priority=priority,
            max_per_dag=max_per_dag,
            not_claimed_reason=reason,
        )
        for pk, dag_id, task_id, pool, slots, priority, max_per_dag, reason in found
    ]


def _queued(executor: str | Parameter) -> QuerySet[Attempt]:
    return Attempt.objects.filter(is_active(), executor=executor, state=AttemptState.QUEUED)


def _as_candidates(rows: QuerySet[Attempt], limit: int) -> QuerySet[Attempt, tuple[Any, ...]]:
    fields = ("pk", "dag_id", "task_id", "pool", "slots", "priority", "max_per_dag", "not_claimed_reason")
    return rows.order_by("-priority", "pk").values_list(*fields)[:limit]


@cache
def _first_candidates(limit: int) -> Select:
    """`limit` is one of few: the page's size, or an executor's claims a tick."""
    return Select(lambda: _as_candidates(_queued(_EXECUTOR), limit))


_ANY_QUEUED = Select(lambda: _queued(_EXECUTOR).values_list("pk")[:1])


def any_queued(executor: str) -> bool:
    return _ANY_QUEUED.first(executor=executor) is not None


_OCCUPIED = Select(
    lambda: (
        Attempt.objects.filter(is_active(), state__in=OCCUPYING)
        .values_list("executor", "pool", "dag_id", "task_id")
        .annotate(n=Count("pk"), slots_sum=Sum("slots"))
        .order_by()
    )
)


def occupied() -> Occupied:
    """One grouped read of the active attempts (attempt_active): as large as what is alive, grouped by task."""
    groups = _OCCUPIED()
    by_executor: dict[str, int] = {}
    by_pool: dict[str, int] = {}
    by_dag: dict[str, int] = {}
    by_task: dict[tuple[str, str], int] = {}
    for executor, pool, dag_id, task_id, n, slots in groups:
        by_executor[executor] = by_executor.get(executor, 0) + n
        by_pool[pool] = by_pool.get(pool, 0) + slots
        by_dag[dag_id] = by_dag.get(dag_id, 0) + n
        by_task[dag_id, task_id] = by_task.get((dag_id, task_id), 0) + n
    return Occupied(
        total=sum(by_executor.values()), by_executor=by_executor, by_pool=by_pool, by_dag=by_dag, by_task=by_task
    )


_POOLS = Select(lambda: Pool.objects.order_by("pk").values_list("name", "slots"))
_LOCKED_POOLS = Select(lambda: Pool.objects.order_by("pk").select_for_update().values_list("name", "slots"))


def pool_slots(*, lock: bool = False) -> dict[str, int]:
    """Slots by pool name, -1: no limit. `lock`: no other driver claims from pools until the caller's `write()` ends."""
    return dict((_LOCKED_POOLS if lock else _POOLS)())


def paused_dags(executor: str) -> list[str]:
    """Paused DAGs of which an attempt is queued: nothing of theirs starts."""
    return [dag_id for (dag_id,) in _PAUSED(executor=executor)]


_PAUSED = Select(
    lambda: Dag.objects.filter(paused=True, dag_id__in=_queued(_EXECUTOR).values("dag_id")).values_list("dag_id")
)
_MAX_ACTIVE_TASKS = Select(lambda: Dag.objects.filter(active=True).values_list("dag_id", "max_active_tasks"))


def max_active_tasks() -> dict[str, int]:
    """Each active DAG's max_active_tasks."""
    return dict(_MAX_ACTIVE_TASKS())


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchRow:
    """All that a workload is made from."""

    attempt_id: int
    key: AttemptKey
    try_number: int
    queue: str
    pool: str
    dag_version_id: int
    bundle: str
    priority: int


def launch_rows(attempt_ids: Sequence[int]) -> list[LaunchRow]:
    """In the order of priority, then age."""
    rows = sorted(_LAUNCH_ROWS(attempt_ids), key=lambda row: (-row[-1], row[0]))
    return [
        LaunchRow(
            attempt_id=pk,
            key=AttemptKey(
                task=TaskKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index), attempt_no=attempt_no
            ),
            try_number=try_number,
            queue=queue,
            pool=pool,
            dag_version_id=version,
            bundle=bundle,
            priority=priority,
        )
        for pk, dag_id, run_id, task_id, map_index, attempt_no, try_number, queue, pool, version, bundle, priority in (
            rows
        )
    ]


_LAUNCH_ROWS = SelectIn(
    lambda keys: Attempt.objects.filter(pk__in=keys).values_list(
        "pk",
        "dag_id",
        "run_id",
        "task_id",
        "map_index",
        "attempt_no",
        "try_number",
        "queue",
        "pool",
        "ti__dagrun__dag_version_id",
        "ti__dagrun__bundle_id",
        "priority",
    )
)


_HANDLE_FIELDS = (
    "pk",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "attempt_no",
    "namespace",
    "pod_name",
    "cluster",
    "pod_uid",
    "intent_sha256",
    "priority",
)


def _handle(row: tuple[object, ...], *, with_body: bool = False) -> Handle:
    pk, dag_id, run_id, task_id, map_index, attempt_no, namespace, name, cluster, uid, digest, priority = row
    return Handle(
        attempt_id=pk,  # type: ignore[arg-type]
        key=AttemptKey(
            task=TaskKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index),  # type: ignore[arg-type]
            attempt_no=attempt_no,  # type: ignore[arg-type]
        ),
        namespace=str(namespace),
        name=str(name or ""),
        cluster=str(cluster),
        priority=priority,  # type: ignore[arg-type]
        uid=str(uid),
        body=blob_rows.get(str(digest)) if with_body and digest else b"",
    )


def in_hand(executor: str, *, after_id: int = 0, limit: int = 1000) -> list[Handle]:
    """What may be alive on the executor, a page at a time by id. Reads attempt_active."""
    rows = Attempt.objects.filter(is_active(), executor=executor, state__in=IN_HAND, pk__gt=after_id).order_by("pk")
    return [_handle(row) for row in rows.values_list(*_HANDLE_FIELDS)[:limit]]


def handles(attempt_ids: Sequence[int], *, with_body: bool = False) -> list[Handle]:
    rows = Attempt.objects.filter(pk__in=attempt_ids).order_by("-priority", "pk")
    return [_handle(row, with_body=with_body) for row in rows.values_list(*_HANDLE_FIELDS)]


def stopping(executor: str, *, after_id: int = 0, limit: int = 500) -> list[Handle]:
    """What was told to stop and is not confirmed dead, a page at a time by id. Reads attempt_active."""
    return [_handle(row) for row in _stopping(limit)(executor=executor, after_id=after_id)]


@cache
def _stopping(limit: int) -> Select:
    rows = Attempt.objects.filter(is_active(), executor=_EXECUTOR, state=AttemptState.STOPPING, pk__gt=_AFTER)
    return Select(lambda: rows.order_by("pk").values_list(*_HANDLE_FIELDS)[:limit])


def to_clean(executor: str, *, now: datetime, after_id: int = 0, limit: int = 500) -> list[tuple[Handle, AttemptState]]:
    """Ended attempts whose pod or process is not cleaned up, with how they ended, a page at a time by id. A hold
    keeps one only while there is something alive to look into. Reads attempt_to_clean."""
    found = _to_clean(limit)(executor=executor, after_id=after_id, now=now)
    return [(_handle(row[:-1]), AttemptState(row[-1])) for row in found]


@cache
def _to_clean(limit: int) -> Select:
    now = Parameter("now")
    rows = Attempt.objects.filter(
        is_ended(), executor=_EXECUTOR, launched_at__isnull=False, cleaned_at=None, pk__gt=_AFTER
    ).filter(Q(held_until=None) | Q(held_until__lte=now) | Q(gone_at__lte=now))
    return Select(lambda: rows.order_by("pk").values_list(*_HANDLE_FIELDS, "state")[:limit])


@dataclass(frozen=True, kw_only=True, slots=True)
class EndingRow:
    """What the verdict on an attempt needs of the ledger."""

    attempt_id: int
    key: AttemptKey
    state: AttemptState
    nonce: str
    author_failures: int
    infra_failures: int
    dag_version_id: int
    task_state: TaskState
    stop_reason: str
    stop_then: str
    category: str
    """Of a stop that is a verdict already; "" else, as long as it has not ended."""
    uid: str
    heartbeat_at: datetime | None


_ENDING = attempt_columns(
    nonce="nonce",
    author_failures="ti__author_failures",
    infra_failures="ti__infra_failures",
    dag_version_id="ti__dagrun__dag_version_id",
    task_state="ti__state",
    stop_reason="stop_reason",
    stop_then="stop_then",
    category="category",
    uid="pod_uid",
    heartbeat_at="heartbeat_at",
)


_LAST_SEEN = Select(lambda: Attempt.objects.filter(pk=Parameter("attempt_id")).values_list("status", "node"))


def last_seen(attempt_id: int) -> tuple[dict[str, Any], str]:
    """The pod's status as it was last told, and its node; empty where there is none."""
    status, node = _LAST_SEEN.first(attempt_id=attempt_id) or (None, "")
    return status or {}, node


def ending_row(attempt_id: int) -> EndingRow | None:
    row = _ENDING(attempt_id)
    return None if row is None else EndingRow(**{**row, "task_state": TaskState(row["task_state"])})
