"""What the driver reads: candidates for a claim, what is occupied, what is in hand. Frozen rows, bounded lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import BooleanField, Count, F, Func, Q, Sum

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.states import AttemptState, TaskState
from execplane.contract.workload import Handle
from execplane.store import blob_rows
from execplane.store.models import Attempt, Dag, Pool
from execplane.store.models.attempts import ACTIVE, ENDED
from execplane.store.prepared import Parameter, Select

OCCUPYING = [AttemptState.CLAIMED, AttemptState.LAUNCHED, AttemptState.RUNNING, AttemptState.STOPPING]
IN_HAND = [AttemptState.LAUNCHED, AttemptState.RUNNING, AttemptState.STOPPING]


def _literally(states: Sequence[str]) -> Func:
    """The condition of a partial index, word for word: SQLite uses the index only where a query repeats it so."""
    listed = ", ".join(f"'{state}'" for state in states)
    return Func(F("state"), template=f"%(expressions)s IN ({listed})", output_field=BooleanField())


IS_ACTIVE = _literally(ACTIVE)
HAS_ENDED = _literally(ENDED)


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
    after: Candidate | None = None,
) -> list[Candidate]:
    """Queued attempts by priority, then age, without those that a full pool or DAG blocks; those behind `after`.

    Reads attempt_active.
    """
    rows = Attempt.objects.filter(IS_ACTIVE, executor=executor, state=AttemptState.QUEUED)
    rows = rows.exclude(pool__in=full_pools).exclude(dag_id__in=full_dags)
    if after is not None:
        behind = Q(priority__lt=after.priority) | Q(priority=after.priority, pk__gt=after.attempt_id)
        rows = rows.filter(behind, priority__lte=after.priority)
    fields = ("pk", "dag_id", "task_id", "pool", "slots", "priority", "max_per_dag", "not_claimed_reason")
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
        for pk, dag_id, task_id, pool, slots, priority, max_per_dag, reason in rows.order_by(
            "-priority", "pk"
        ).values_list(*fields)[:limit]
    ]


def any_queued(executor: str) -> bool:
    return Attempt.objects.filter(IS_ACTIVE, executor=executor, state=AttemptState.QUEUED).exists()


def occupied() -> Occupied:
    """One grouped read of the active attempts (attempt_active): as large as what is alive, grouped by task."""
    groups = (
        Attempt.objects.filter(IS_ACTIVE, state__in=OCCUPYING)
        .values_list("executor", "pool", "dag_id", "task_id")
        .annotate(n=Count("pk"), slots_sum=Sum("slots"))
        .order_by()
    )
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


def pool_slots(*, lock: bool = False) -> dict[str, int]:
    """Slots by pool name, -1: no limit. `lock`: no other driver claims from pools until the caller's `write()` ends."""
    rows = Pool.objects.order_by("pk")
    if lock:
        rows = rows.select_for_update()
    return dict(rows.values_list("name", "slots"))


def paused_dags(executor: str) -> list[str]:
    """Paused DAGs of which an attempt is queued: nothing of theirs starts."""
    queued = Attempt.objects.filter(IS_ACTIVE, executor=executor, state=AttemptState.QUEUED).values("dag_id")
    return list(Dag.objects.filter(paused=True, dag_id__in=queued).values_list("dag_id", flat=True))


def max_active_tasks() -> dict[str, int]:
    """Each active DAG's max_active_tasks."""
    return dict(Dag.objects.filter(active=True).values_list("dag_id", "max_active_tasks"))


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


def launch_rows(attempt_ids: Sequence[int]) -> list[LaunchRow]:
    """In the order of priority, then age."""
    rows = (
        Attempt.objects.filter(pk__in=attempt_ids)
        .order_by("-priority", "pk")
        .values_list(
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
        )
    )
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
        )
        for pk, dag_id, run_id, task_id, map_index, attempt_no, try_number, queue, pool, version, bundle in rows
    ]


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
)


def _handle(row: tuple[object, ...], *, with_body: bool = False) -> Handle:
    pk, dag_id, run_id, task_id, map_index, attempt_no, namespace, name, cluster, uid, digest = row
    return Handle(
        attempt_id=pk,  # type: ignore[arg-type]
        key=AttemptKey(
            task=TaskKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index),  # type: ignore[arg-type]
            attempt_no=attempt_no,  # type: ignore[arg-type]
        ),
        namespace=str(namespace),
        name=str(name or ""),
        cluster=str(cluster),
        uid=str(uid),
        body=blob_rows.get(str(digest)) if with_body and digest else b"",
    )


def in_hand(executor: str, *, after_id: int = 0, limit: int = 1000) -> list[Handle]:
    """What may be alive on the executor, a page at a time by id. Reads attempt_active."""
    rows = Attempt.objects.filter(IS_ACTIVE, executor=executor, state__in=IN_HAND, pk__gt=after_id).order_by("pk")
    return [_handle(row) for row in rows.values_list(*_HANDLE_FIELDS)[:limit]]


def handles(attempt_ids: Sequence[int], *, with_body: bool = False) -> list[Handle]:
    rows = Attempt.objects.filter(pk__in=attempt_ids).order_by("-priority", "pk")
    return [_handle(row, with_body=with_body) for row in rows.values_list(*_HANDLE_FIELDS)]


def stopping(executor: str, *, after_id: int = 0, limit: int = 500) -> list[Handle]:
    """What was told to stop and is not confirmed dead, a page at a time by id. Reads attempt_active."""
    rows = Attempt.objects.filter(IS_ACTIVE, executor=executor, state=AttemptState.STOPPING, pk__gt=after_id)
    return [_handle(row) for row in rows.order_by("pk").values_list(*_HANDLE_FIELDS)[:limit]]


def to_clean(executor: str, *, after_id: int = 0, limit: int = 500) -> list[tuple[Handle, bool]]:
    """Ended attempts whose pod or process is not cleaned up, with whether they failed, a page at a time by id. Reads
    attempt_to_clean."""
    rows = Attempt.objects.filter(
        HAS_ENDED, executor=executor, launched_at__isnull=False, cleaned_at=None, pk__gt=after_id
    ).order_by("pk")
    found = list(rows.values_list(*_HANDLE_FIELDS, "state")[:limit])
    return [(_handle(row[:-1]), row[-1] in (AttemptState.FAILED, AttemptState.CANCELLED)) for row in found]


@dataclass(frozen=True, kw_only=True, slots=True)
class EndingRow:
    """What the verdict on an attempt needs of the ledger."""

    attempt_id: int
    key: AttemptKey
    state: AttemptState
    nonce: str
    try_number: int
    author_failures: int
    infra_failures: int
    dag_version_id: int
    task_state: TaskState
    stop_reason: str
    stop_actor: str
    stop_then: str
    stop_at: datetime | None
    uid: str
    executor: str
    heartbeat_at: datetime | None


_ENDING = Select(
    lambda: Attempt.objects.filter(pk=Parameter("attempt_id")).values_list(
        "pk",
        "dag_id",
        "run_id",
        "task_id",
        "map_index",
        "attempt_no",
        "state",
        "nonce",
        "try_number",
        "ti__author_failures",
        "ti__infra_failures",
        "ti__dagrun__dag_version_id",
        "stop_reason",
        "stop_actor",
        "stop_then",
        "stop_at",
        "pod_uid",
        "executor",
        "ti__state",
        "heartbeat_at",
    )
)


def ending_row(attempt_id: int) -> EndingRow | None:
    row = _ENDING.first(attempt_id=attempt_id)
    if row is None:
        return None
    return EndingRow(
        attempt_id=row[0],
        key=AttemptKey(task=TaskKey(dag_id=row[1], run_id=row[2], task_id=row[3], map_index=row[4]), attempt_no=row[5]),
        state=AttemptState(row[6]),
        nonce=row[7],
        try_number=row[8],
        author_failures=row[9],
        infra_failures=row[10],
        dag_version_id=row[11],
        stop_reason=row[12],
        stop_actor=row[13],
        stop_then=row[14],
        stop_at=row[15],
        uid=row[16],
        executor=row[17],
        task_state=TaskState(row[18]),
        heartbeat_at=row[19],
    )
