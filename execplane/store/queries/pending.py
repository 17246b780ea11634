"""What the answer to "why does it not run" needs of the ledger: who holds what, who is before it, who drives it.

Asked for one attempt at a time, by a person: each read has its index and its limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Count, Q, Sum

from execplane.contract.states import AttemptState, RunState
from execplane.store.database import database_now
from execplane.store.launch_rows import OCCUPYING, Candidate
from execplane.store.models import Attempt, DagRun, Lease, LoopStatus
from execplane.store.queries.literal import is_active, run_is_active

MOST_AHEAD = 1000


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The attempts in flight of one task, over all its runs."""

    dag_id: str
    task_id: str
    attempts: int
    slots: int


def candidate(attempt_id: int) -> Candidate | None:
    """A queued attempt as the driver's gates look at it (the primary key)."""
    columns = ("dag_id", "task_id", "pool", "slots", "priority", "max_per_dag", "not_claimed_reason")
    row = Attempt.objects.filter(pk=attempt_id, state=AttemptState.QUEUED).values(*columns).first()
    return None if row is None else Candidate(attempt_id=attempt_id, **row)


def holders(
    *, pool: str = "", executor: str = "", dag_id: str = "", task_id: str = "", limit: int = 3
) -> tuple[Holder, ...]:
    """Which tasks hold the most slots of a pool, an executor, a DAG, or of all (index: attempt_active)."""
    rows = Attempt.objects.filter(is_active(), state__in=OCCUPYING)
    for column, value in (("pool", pool), ("executor", executor), ("dag_id", dag_id), ("task_id", task_id)):
        if value:
            rows = rows.filter(**{column: value})
    groups = rows.order_by().values_list("dag_id", "task_id").annotate(n=Count("pk"), held=Sum("slots"))
    return tuple(
        Holder(dag_id=dag, task_id=task, attempts=n, slots=held)
        for dag, task, n, held in groups.order_by("-held", "dag_id", "task_id")[:limit]
    )


def ahead(executor: str, one: Candidate) -> int:
    """How many queued attempts of the executor are claimed before this one, counted to MOST_AHEAD (attempt_active)."""
    rows = Attempt.objects.filter(is_active(), executor=executor, state=AttemptState.QUEUED)
    before = Q(priority__gt=one.priority) | Q(priority=one.priority, pk__lt=one.attempt_id)
    return rows.filter(before, priority__gte=one.priority).order_by()[:MOST_AHEAD].count()


def throttled_until(executor: str, words: tuple[str, ...], now: datetime) -> datetime | None:
    """Until when a create of the executor waits because it was answered with one of these words (attempt_active)."""
    rows = Attempt.objects.filter(
        is_active(), executor=executor, state=AttemptState.LAUNCHED, acknowledged_at=None, retry_at__gt=now
    )
    said = reduce(or_, (Q(not_claimed_reason__contains=word) for word in words))
    return rows.filter(said).order_by("-retry_at").values_list("retry_at", flat=True).first()


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who drives an executor. `since`: when the lease ran out or was given back; None: it never was taken."""

    held: bool
    holder: str = ""
    since: datetime | None = None
    state: str = ""
    last_error: str = ""


def driver(executor: str) -> Driver:
    """The executor's lease and what its holder's loop last said (the lease's key, then loop_status_once)."""
    name = f"driver:{executor}"
    lease = Lease.objects.filter(pk=name).values_list("holder", "expires_at").first()
    if lease is None:
        return Driver(held=False)
    holder, expires_at = lease
    if not holder or expires_at <= database_now():
        return Driver(held=False, holder=holder, since=expires_at)
    said = LoopStatus.objects.filter(process=holder, name=name).values_list("state", "last_error").first()
    state, last_error = said or ("", "")
    return Driver(held=True, holder=holder, state=state, last_error=last_error)


def loop_seen_at(name: str) -> datetime | None:
    """When a loop of this name last reported, in any process (a row per process and loop)."""
    rows = LoopStatus.objects.filter(name=name).exclude(state="stopped")
    return rows.order_by("-seen_at").values_list("seen_at", flat=True).first()


def running_runs(dag_id: str, limit: int = 3) -> tuple[str, ...]:
    """The DAG's running runs, the oldest first (index: dagrun_active)."""
    rows = DagRun.objects.filter(run_is_active(), dag_id=dag_id, state=RunState.RUNNING)
    return tuple(rows.order_by("started_at", "pk").values_list("run_id", flat=True)[:limit])


def count_running_runs(dag_id: str) -> int:
    """As many as max_active_runs allows (index: dagrun_active)."""
    return DagRun.objects.filter(run_is_active(), dag_id=dag_id, state=RunState.RUNNING).count()
