"""What is kept for a time only, removed in batches."""

from __future__ import annotations

from datetime import datetime

from execplane.store.database import write
from execplane.store.models import Blob, FlightRecord


def forget_flight_records(*, before: datetime, limit: int) -> int:
    """Remove the oldest flight records, with their contents; gives how many. Reads flight_record_age.

    No other row refers to such a content: it names its attempt.
    """
    with write():
        old = FlightRecord.objects.filter(captured_at__lt=before).order_by("captured_at")
        found = list(old.values_list("attempt_id", "blob_sha256")[:limit])
        FlightRecord.objects.filter(attempt_id__in=[attempt_id for attempt_id, _ in found]).delete()
        Blob.objects.filter(sha256__in=[digest for _, digest in found]).delete()
    return len(found)
