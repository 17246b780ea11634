"""Claims: which queued attempts an executor takes now, and the reason for each that waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from execplane.contract.executor import Executor
from execplane.contract.pending import Code
from execplane.executors.driver.gates import Admission, Limits, admit, free_slots, full_dags, full_pools, stopped
from execplane.executors.driver.holds import Held
from execplane.executors.driver.workloads import build_all as build
from execplane.store import launch_rows
from execplane.store.database import write
from execplane.store.launch_rows import Candidate, Occupied
from execplane.store.transitions import launching

__all__ = ["build", "claim", "explain_all", "hold_all"]

_NOTHING_HELD = Held()
_LOOK_AT = 1000
"""Candidates looked at beyond those that fit, so that their reasons are known, too."""
_MOST_PAGES = 10
"""Pages of candidates that do not fit, before those behind them have to wait for the next claim."""


def claim(
    executor: Executor, *, parallelism: int | None, most: int, owner: str, now: datetime, held: Held = _NOTHING_HELD
) -> list[int]:
    """queued -> claimed within every limit, in order of priority, without what is `held`; gives the ids.

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
        waiting, admission = _look(executor.name, limits, occupied, paused, held, most)
        claimed = launching.claim(admission.admitted[:most], owner=owner, now=now)
        changed = {
            one.attempt_id: reason
            for one in waiting
            if (reason := admission.reasons.get(one.attempt_id, "")) and reason != one.not_claimed_reason
        }
        launching.not_claimed(changed)
        launching.explain_blocked(executor.name, _blocked(limits, occupied, paused, held))
    return claimed


def _blocked(
    limits: Limits, occupied: Occupied, paused: Sequence[str], held: Held
) -> Sequence[tuple[str, Mapping[str, str]]]:
    """What keeps attempts from being looked at, and in which words; what a person did stands first."""
    full = "The DAG {} has as many tasks in flight as its max_active_tasks allows."
    return (
        ("dag_id", {dag_id: f"The DAG {dag_id} is paused." for dag_id in paused}),
        ("dag_id", held.dags),
        ("cluster", held.clusters),
        ("namespace", held.namespaces),
        ("dag_id", {dag_id: full.format(dag_id) for dag_id in full_dags(limits, occupied)}),
        ("pool", {pool: f"The pool {pool} is full." for pool in full_pools(limits, occupied)}),
    )


def _look(
    executor: str, limits: Limits, occupied: Occupied, paused: Sequence[str], held: Held, most: int
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
            full_dags=[*full_dags(limits, occupied), *paused, *held.dags],
            held_clusters=list(held.clusters),
            held_namespaces=list(held.namespaces),
            after=waiting[-1] if waiting else None,
        )
        waiting += page
        admission = admit(waiting, limits, occupied)
        if len(page) < size or len(admission.admitted) >= wanted:
            break
    return waiting, admission


def hold_all(executor: str, reason: str, *, code: Code = Code.EXECUTOR_CANNOT_LAUNCH) -> None:
    """Nothing is launched now: everything waits, for this reason."""
    explain_all(executor, stopped(code, executor, reason))


def explain_all(executor: str, sentence: str) -> None:
    """Everything waits, and this is why."""
    waiting = launch_rows.candidates(executor, limit=_LOOK_AT)
    words = sentence[:300]
    launching.not_claimed({one.attempt_id: words for one in waiting if one.not_claimed_reason != words})
