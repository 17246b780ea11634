"""Flight records: what was kept of an attempt's pod."""

from __future__ import annotations

from execplane.contract.errors import NotFound
from execplane.contract.flight import Flight, unpack
from execplane.store import blob_rows
from execplane.store.models import FlightRecord


def flight_of(attempt_id: int) -> Flight | None:
    """The attempt's flight record (index: the primary key). None: there is none, or it is past its time."""
    digest = FlightRecord.objects.filter(attempt_id=attempt_id).values_list("blob_sha256", flat=True).first()
    if digest is None:
        return None
    try:
        return unpack(blob_rows.get(digest))
    except (NotFound, ValueError):
        # Removed in this moment, or written by a later version.
        return None
