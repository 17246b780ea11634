"""The DAG's own switches."""

from __future__ import annotations

from datetime import datetime

from execplane.store.database import nudge
from execplane.store.models import Dag
from execplane.store.transitions.runs import recheck_dag


def set_paused(dag_id: str, paused: bool, *, now: datetime) -> bool:
    """False: there is no such DAG. Inside the caller's `write()`."""
    moved = Dag.objects.filter(pk=dag_id).update(paused=paused, replan=True)
    if moved:
        recheck_dag(dag_id, now)
        nudge("dags", f"dag:{dag_id}", "scheduler")
    return bool(moved)
