"""What triggering a DAG needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from execplane.contract.errors import NotFound
from execplane.store.models import Dag


@dataclass(frozen=True, kw_only=True, slots=True)
class Triggerable:
    dag_id: str
    dag_version_id: int
    bundle: str
    active: bool
    paused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Triggered:
    """A run that was just made; while the DAG is paused it waits."""

    id: int
    dag_id: str
    run_id: str
    paused: bool


def triggerable(dag_id: str) -> Triggerable:
    """Raises NotFound, with the nearest id there is."""
    fields = ("latest_version_id", "latest_bundle_id", "active", "paused")
    row = Dag.objects.filter(pk=dag_id, latest_version__isnull=False).values_list(*fields).first()
    if row is None:
        raise NotFound(f"There is no DAG {dag_id}.", hint=_nearest(dag_id))
    return Triggerable(dag_id=dag_id, dag_version_id=row[0], bundle=row[1], active=row[2], paused=row[3])


def _nearest(dag_id: str) -> str:
    import difflib

    known = list(Dag.objects.filter(active=True).values_list("dag_id", flat=True)[:2000])
    close = difflib.get_close_matches(dag_id, known, n=1)
    return f"Did you mean {close[0]}?" if close else "`execplane dags list` shows what there is."
