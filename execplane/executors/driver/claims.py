"""Claims: which queued attempts an executor takes now, and the reason for each that waits."""

from __future__ import annotations

from datetime import datetime

from execplane.contract.executor import Executor
from execplane.executors.driver.gates import Limits, admit, free_slots, full_dags, full_pools
from execplane.executors.driver.workloads import build_all as build
from execplane.store import launch_rows
from execplane.store.database import write
from execplane.store.transitions import launching

__all__ = ["build", "claim", "hold_all"]

_LOOK_AT = 1000
"""Candidates looked at beyond those that fit, so that their reasons are known, too."""


def claim(executor: Executor, *, parallelism: int | None, most: int, owner: str, now: datetime) -> list[int]:
    """queued -> claimed within every limit, in order of priority; gives the ids.

    In one transaction that holds the pools' rows, so that drivers of other executors cannot overfill a pool.
    """
    with write():
        limits = Limits(
            executor=executor.name,
            executor_slots=executor.slots(),
            parallelism=parallelism,
            pools=launch_rows.pool_slots(lock=True),
            dags=launch_rows.max_active_tasks(),
        )
        occupied = launch_rows.occupied()
        waiting = launch_rows.candidates(
            executor.name,
            limit=_LOOK_AT if free_slots(limits, occupied) is None else max(most, 100),
            full_pools=full_pools(limits, occupied),
            full_dags=full_dags(limits, occupied),
        )
        admission = admit(waiting, limits, occupied)
        claimed = launching.claim(admission.admitted[:most], owner=owner, now=now)
        changed = {
            one.attempt_id: reason
            for one in waiting
            if (reason := admission.reasons.get(one.attempt_id, "")) and reason != one.not_claimed_reason
        }
        launching.not_claimed(changed)
        launching.explain_blocked(
            executor.name, full_pools=full_pools(limits, occupied), full_dags=full_dags(limits, occupied)
        )
    return claimed


def hold_all(executor: str, reason: str) -> None:
    """The executor cannot launch now: everything waits, for this reason."""
    waiting = launch_rows.candidates(executor, limit=_LOOK_AT)
    launching.not_claimed({one.attempt_id: reason for one in waiting if one.not_claimed_reason != reason})
