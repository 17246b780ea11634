"""What transitions tell the metrics: after the commit, so that what was rolled back was never counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from django.db import transaction

from execplane import metrics
from execplane.store.models import Attempt

_SECOND = timedelta(seconds=1)


def began(row: Attempt, now: datetime) -> None:
    """The worker passed the fence. Inside the caller's `write()`."""
    transaction.on_commit(partial(_began, row, now))


def _began(row: Attempt, now: datetime) -> None:
    metrics.current().observe(
        "execplane_attempt_queued_seconds",
        (now - row.queued_at) / _SECOND,
        executor=row.executor,
        dag_id=row.dag_id,
        task_id=row.task_id,
    )


def ended(row: Attempt, state: str, category: str, now: datetime) -> None:
    """`row` as it was before its end. Inside the caller's `write()`."""
    transaction.on_commit(partial(_ended, row, str(state), category, now))


def _ended(row: Attempt, state: str, category: str, now: datetime) -> None:
    metrics.current().count(
        "execplane_attempts_ended_total",
        dag_id=row.dag_id,
        task_id=row.task_id,
        executor=row.executor,
        state=state,
        category=category,
    )
    if row.running_at is not None:
        metrics.current().observe(
            "execplane_attempt_duration_seconds",
            (now - row.running_at) / _SECOND,
            executor=row.executor,
            state=state,
            dag_id=row.dag_id,
            task_id=row.task_id,
        )
