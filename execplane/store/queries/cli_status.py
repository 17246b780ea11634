"""What `execplane status` asks of the ledger. Bounded reads: active rows by their index, ended ones by the newest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Count, Max, Min

from execplane.store.models import Attempt, DagRun
from execplane.store.queries.literal import is_active, is_ended, run_is_active

_NEWEST = 100


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One executor's work in hand: attempts per state, and since when the oldest of those queued waits."""

    executor: str
    states: dict[str, int]
    oldest_queued_at: datetime | None


def queues(executors: Iterable[str]) -> tuple[Queue, ...]:
    """The executors' queues (index: attempt_active)."""
    found: dict[str, dict[str, int]] = {name: {} for name in executors}
    oldest: dict[str, datetime | None] = {}
    rows = (
        Attempt.objects.filter(is_active())
        .order_by()
        .values_list("executor", "state")
        .annotate(n=Count("id"), oldest=Min("queued_at"))
    )
    for executor, state, n, since in rows:
        found.setdefault(executor, {})[state] = n
        if state == "queued":
            oldest[executor] = since
    return tuple(
        Queue(executor=name, states=states, oldest_queued_at=oldest.get(name)) for name, states in found.items()
    )


def active_runs() -> dict[str, int]:
    """Runs that are queued or running, by state (index: dagrun_active)."""
    found = DagRun.objects.filter(run_is_active()).order_by().values_list("state")
    return dict(found.annotate(n=Count("id")))


def last_create() -> datetime | None:
    """When an attempt was last launched: among the active ones (index: attempt_active) and the newest that ended."""
    alive = Attempt.objects.filter(is_active()).aggregate(at=Max("launched_at"))["at"]
    newest = Attempt.objects.filter(is_ended()).order_by("-id").values_list("launched_at", flat=True)[:_NEWEST]
    return max((at for at in (alive, *newest) if at is not None), default=None)


def last_success() -> datetime | None:
    """When an attempt last ended well: among the newest successes (index: attempt_state)."""
    newest = (
        Attempt.objects.filter(is_ended(), state="success").order_by("-id").values_list("ended_at", flat=True)[:_NEWEST]
    )
    return max((at for at in newest if at is not None), default=None)


def missing_migrations() -> int:
    """How many of this version's migrations the database has not had."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
