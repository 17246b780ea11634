"""Claims: which queued attempts an executor takes now, and the reason for each that waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from execplane.contract.executor import Executor
from execplane.contract.pending import Code
from execplane.executors.driver.gates import Admission, Limits, admit, free_slots, full_dags, full_pools, stopped
from execplane.executors.driver.workloads import build_all as build
from execplane.store import launch_rows
from execplane.store.database import write
from execplane.store.launch_rows import Candidate, Occupied
from execplane.store.transitions import launching

__all__ = ["build", "claim", "hold_all"]

_LOOK_AT = 1000
"""Candidates looked at beyond those that fit, so that their reasons are known, too."""
_MOST_PAGES = 10
"""Pages of candidates that do not fit, before those behind them have to wait for the next claim."""


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
        paused = launch_rows.paused_dags(executor.name)
        waiting, admission = _look(executor.name, limits, occupied, paused, most)
        claimed = launching.claim(admission.admitted[:most], owner=owner, now=now)
        changed = {
            one.attempt_id: reason
            for one in waiting
            if (reason := admission.reasons.get(one.attempt_id, "")) and reason != one.not_claimed_reason
        }
        launching.not_claimed(changed)
        launching.explain_blocked(
            executor.name,
            full_pools=full_pools(limits, occupied),
            full_dags=full_dags(limits, occupied),
            paused_dags=paused,
        )
    return claimed


def _look(
    executor: str, limits: Limits, occupied: Occupied, paused: Sequence[str], most: int
) -> tuple[list[Candidate], Admission]:
    """Candidates page by page until enough of them fit: however many do not, they block nobody behind them."""
    free = free_slots(limits, occupied)
    wanted = most if free is None else min(most, free)
    size = _LOOK_AT if free is None else max(most, 100)
    waiting: list[Candidate] = []
    admission = Admission(admitted=(), reasons={})
    for _ in range(_MOST_PAGES):
        page = launch_rows.candidates(
            executor,
            limit=size,
            full_pools=full_pools(limits, occupied),
            full_dags=[*full_dags(limits, occupied), *paused],
            after=waiting[-1] if waiting else None,
        )
        waiting += page
        admission = admit(waiting, limits, occupied)
        if len(page) < size or len(admission.admitted) >= wanted:
            break
    return waiting, admission


def hold_all(executor: str, reason: str, *, code: Code = Code.EXECUTOR_CANNOT_LAUNCH) -> None:
    """Nothing is launched now: everything waits, for this reason."""
    waiting = launch_rows.candidates(executor, limit=_LOOK_AT)
    words = stopped(code, executor, reason)[:300]
    launching.not_claimed({one.attempt_id: words for one in waiting if one.not_claimed_reason != words})
