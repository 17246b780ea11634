"""The loop that turns what stands in the ledger into gauges: one reader, however many processes are scraped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from execplane import metrics
from execplane.contract.loops import Next, at
from execplane.contract.states import ATTEMPT_ENDED, AttemptState
from execplane.store.gauge_rows import LedgerGauges, ledger_gauges

EVERY_SECONDS = 15.0
_ACTIVE = tuple(state for state in AttemptState if state not in ATTEMPT_ENDED)
_GAUGES = (
    "execplane_attempts",
    "execplane_oldest_queued_seconds",
    "execplane_dagruns",
    "execplane_pool_slots",
    "execplane_dags",
    "execplane_import_errors",
    "execplane_drift_open",
    "execplane_ledger_read_timestamp_seconds",
)


class GaugeLoop:
    """A `contract.loops.Loop`. Who loses the lease forgets the gauges: stale ones would be summed with fresh ones."""

    name = "gauges"
    topics: frozenset[str] = frozenset()
    leased = True

    def __init__(self, executors: Sequence[str], *, interval_seconds: float = EVERY_SECONDS) -> None:
        """`executors`: those that are configured; they have samples when nothing of theirs is active, too."""
        self.poll_seconds = interval_seconds
        self._executors = tuple(executors)
        self._due: datetime | None = None

    def tick(self, now: datetime) -> Next:
        """Read when it is time: a leased loop is also called for its lease's sake."""
        if self._due is None or now >= self._due:
            self._emit(ledger_gauges(), now)
            self._due = now + timedelta(seconds=self.poll_seconds)
        return at(self._due)

    def _emit(self, found: LedgerGauges, now: datetime) -> None:
        executors = sorted({*self._executors, *(executor for executor, _ in found.attempts)})
        metrics.current().replace(
            "execplane_attempts",
            [
                (
                    found.attempts.get((executor, state), 0),
                    {"executor": executor, "state": state, "executor_suffix": self._suffix(executor, executors)},
                )
                for executor in executors
                for state in _ACTIVE
            ],
        )
        metrics.current().replace(
            "execplane_oldest_queued_seconds",
            [(_age(found.oldest_queued_at.get(executor), now), {"executor": executor}) for executor in executors],
        )
        metrics.current().replace(
            "execplane_dagruns", [(found.runs.get(state, 0), {"state": state}) for state in ("queued", "running")]
        )
        metrics.current().replace("execplane_pool_slots", _pools(found))
        metrics.current().set("execplane_dags", found.dags)
        metrics.current().set("execplane_import_errors", found.import_errors)
        metrics.current().replace(
            "execplane_drift_open",
            [(n, {"executor": executor, "kind": kind}) for (executor, kind), n in sorted(found.drift.items())],
        )
        metrics.current().set("execplane_ledger_read_timestamp_seconds", now.timestamp())

    @staticmethod
    def _suffix(executor: str, executors: Sequence[str]) -> str:
        """As Airflow does: with more than one executor, its class's name is appended."""
        return f".{executor.title().replace('_', '')}Executor" if len(executors) > 1 else ""

    def close(self) -> None:
        for name in _GAUGES:
            metrics.current().forget(name)
        self._due = None


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since) / timedelta(seconds=1))


def _pools(found: LedgerGauges) -> list[tuple[float, dict[str, str]]]:
    samples: list[tuple[float, dict[str, str]]] = []
    for pool in sorted({*found.pools, *found.pool_queued, *found.pool_running}):
        size, running = found.pools.get(pool, 0), found.pool_running.get(pool, 0)
        slots = {
            "open": math.inf if size < 0 else max(0, size - running),
            "running": running,
            "queued": found.pool_queued.get(pool, 0),
        }
        samples += [(value, {"pool": pool, "state": state}) for state, value in slots.items()]
    return samples
