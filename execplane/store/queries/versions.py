"""Serialised DAGs and their sources, read back: versions are immutable, so what was decoded is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from execplane.contract.dag import DagSpec, decode_dag
from execplane.contract.errors import NotFound
from execplane.store import blob_rows
from execplane.store.models import DagVersion


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    id: int
    number: int
    hash: str
    created_at: datetime


@lru_cache(maxsize=512)
def spec(version_id: int) -> DagSpec:
    """A version's DAG, decoded once per process. Raises NotFound."""
    sha256 = DagVersion.objects.filter(id=version_id).values_list("blob_id", flat=True).first()
    if sha256 is None:
        raise NotFound(f"DagVersion {version_id} does not exist.")
    return decode_dag(blob_rows.get(sha256))


def source(version_id: int) -> str | None:
    """The DAG file's text when the version was first seen; None where it was not kept."""
    sha256 = DagVersion.objects.filter(id=version_id).values_list("source_blob_id", flat=True).first()
    return blob_rows.get(sha256).decode("utf-8", errors="replace") if sha256 else None


def versions(dag_id: str, limit: int = 50) -> tuple[VersionRow, ...]:
    """A DAG's newest versions (index: dag_version_number)."""
    found = DagVersion.objects.filter(dag=dag_id).order_by("-number")[:limit]
    return tuple(VersionRow(id=row.id, number=row.number, hash=row.hash, created_at=row.created_at) for row in found)
