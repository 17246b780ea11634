"""Failed containers that are kept alive for a while, because their author asked for it, so that somebody looks into
them. The attempt has ended and its retries go on; only the clean-up waits.

External calls and lost answers: the hold is committed with the end, and a repeated report is told what is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from execplane.contract.errors import NotFound
from execplane.contract.executor_config import HOLD_ON_FAILURE
from execplane.executors.driver.workloads import task_of
from execplane.store import hold_rows
from execplane.store.queries.versions import spec as dag_spec
from execplane.store.transitions import ending, holding


@dataclass(frozen=True, kw_only=True)
class HoldLimits:
    """What a deployment allows. A mass failure must not keep a whole cluster's worth of containers."""

    most_seconds: float = 0.0
    most_containers: int = 20
    """Held at once, of an executor."""


def hold(attempt_id: int, limits: HoldLimits, *, actor: str, now: datetime) -> None:
    """Keep the attempt's container, when its task or DAG says so and it has one. Inside the caller's `write()`."""
    row = hold_rows.holdable(attempt_id)
    if row is None:
        return
    spec = dag_spec(row.dag_version_id)
    try:
        task = task_of(spec, row.task_id)
    except NotFound:
        return
    wanted = hold_seconds(spec.executor_config, task.executor_config)
    seconds = min(wanted, limits.most_seconds)
    if wanted <= 0:
        return
    if seconds <= 0:
        why = "kubernetes.hold_most_seconds is 0"
    elif hold_rows.held(row.executor, now=now, limit=limits.most_containers) >= limits.most_containers:
        why = f"{limits.most_containers} containers are held already (kubernetes.hold_most_containers)"
    else:
        holding.hold(attempt_id, until=now + timedelta(seconds=seconds))
        return
    ending.record_only(attempt_id, f"its container is not held, as its task asks: {why}", actor=actor, now=now)


def left(attempt_id: int, now: datetime) -> float:
    """Seconds until the attempt's container may end; 0: it is not held (any more)."""
    until = hold_rows.held_until(attempt_id)
    return max(0.0, (until - now).total_seconds()) if until is not None else 0.0


def hold_seconds(dag: Mapping[str, Any], task: Mapping[str, Any]) -> float:
    """What the task says, else its DAG; 0: nothing, or explicitly not."""
    return float(task.get(HOLD_ON_FAILURE, dag.get(HOLD_ON_FAILURE, 0.0)))
