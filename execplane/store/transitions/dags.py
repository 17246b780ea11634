"""The DAG's own switches."""

from __future__ import annotations

from datetime import datetime

from execplane.store.database import nudge
from execplane.store.models import Dag
from execplane.store.transitions.runs import recheck_dag


def set_paused(dag_id: str, paused: bool, *, now: datetime) -> bool:
    """False: there is no such DAG. Inside the caller's `write()`."""
    # Runs are locked before their DAG, as the scheduler does when it starts one.
    recheck_dag(dag_id, now)
    moved = Dag.objects.filter(pk=dag_id).update(paused=paused, replan=True)
    if moved:
        nudge("dags", f"dag:{dag_id}", "scheduler", "driver")
    return bool(moved)
