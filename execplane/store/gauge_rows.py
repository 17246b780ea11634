"""What the gauges of the ledger are read from: a few grouped reads, as large as what is active and no larger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, Sum

from execplane.pods.reconcile import Kind
from execplane.store.launch_rows import pool_slots
from execplane.store.models import Attempt, Dag, DagRun, DriftFinding, DriftLook, ImportErrorRow
from execplane.store.queries.literal import is_active, run_is_active


@dataclass(frozen=True, kw_only=True)
class LedgerGauges:
    """How much of what there is, now."""

    attempts: Mapping[tuple[str, str], int]
    """Attempts by (executor, state), those that have not ended."""
    oldest_queued_at: Mapping[str, datetime]
    """By executor; absent: nothing is queued."""
    runs: Mapping[str, int]
    """Runs by state: queued, running."""
    pools: Mapping[str, int]
    """Slots by pool, -1: no limit."""
    pool_queued: Mapping[str, int]
    """Slots that queued attempts want, by pool."""
    pool_running: Mapping[str, int]
    """Slots that attempts in flight hold, by pool."""
    dags: int
    import_errors: int
    drift: Mapping[tuple[str, str], int]
    """Open drift findings by (executor, kind), zeros included where the executor was looked at."""


def ledger_gauges() -> LedgerGauges:
    """Read them all; see the parts for their indexes."""
    attempts: dict[tuple[str, str], int] = {}
    first_queued: dict[str, int] = {}
    queued: dict[str, int] = {}
    running: dict[str, int] = {}
    for executor, state, pool, n, slots, first in _active_attempts():
        attempts[executor, state] = attempts.get((executor, state), 0) + n
        by_pool = queued if state == "queued" else running
        by_pool[pool] = by_pool.get(pool, 0) + slots
        if state == "queued":
            first_queued[executor] = min(first, first_queued.get(executor, first))
    return LedgerGauges(
        attempts=attempts,
        oldest_queued_at=_queued_at(first_queued),
        runs=_active_runs(),
        pools=pool_slots(),
        pool_queued=queued,
        pool_running=running,
        dags=Dag.objects.filter(active=True).count(),
        import_errors=ImportErrorRow.objects.count(),
        drift=_drift(),
    )


def _drift() -> dict[tuple[str, str], int]:
    """Over the index drift_open, which has at most `drift_rows.MOST_OPEN` rows an executor."""
    looked_at = DriftLook.objects.values_list("executor", flat=True)[:100]
    found = {(executor, str(kind)): 0 for executor in looked_at for kind in Kind}
    groups = DriftFinding.objects.filter(resolved_at__isnull=True).order_by().values_list("executor", "kind")
    found.update({(executor, kind): n for executor, kind, n in groups.annotate(n=Count("pk"))})
    return found


def _active_attempts() -> list[tuple[str, str, str, int, int, int]]:
    """(executor, state, pool, attempts, slots, lowest id) over the index attempt_active."""
    groups = (
        Attempt.objects.filter(is_active())
        .order_by()
        .values_list("executor", "state", "pool")
        .annotate(n=Count("pk"), slots_sum=Sum("slots"), first=Min("pk"))
    )
    return list(groups)


def _queued_at(first: Mapping[str, int]) -> dict[str, datetime]:
    """Ids grow with time, so the lowest one was queued first; by primary key, one row an executor."""
    since = dict(Attempt.objects.filter(pk__in=first.values()).values_list("pk", "queued_at"))
    return {executor: since[pk] for executor, pk in first.items() if pk in since}


def _active_runs() -> dict[str, int]:
    """Over the index dagrun_by_state or dagrun_active: both hold all that is asked for."""
    groups = DagRun.objects.filter(run_is_active()).order_by().values_list("state")
    return dict(groups.annotate(n=Count("pk")))
