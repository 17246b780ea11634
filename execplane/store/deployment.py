"""Who this deployment is: made once with its database."""

from __future__ import annotations

import uuid
from datetime import datetime

from execplane.store.database import write
from execplane.store.models import Deployment, Pool

DEFAULT_POOL = "default_pool"
DEFAULT_POOL_SLOTS = 128


def identity(now: datetime) -> tuple[str, int]:
    """(deployment id, incarnation); the row and the default pool are made at the first call."""
    row = Deployment.objects.filter(pk=1).values_list("uuid", "incarnation").first()
    if row is None:
        with write():
            Deployment.objects.bulk_create(
                [Deployment(pk=1, uuid=uuid.uuid4(), incarnation=1, created_at=now)], ignore_conflicts=True
            )
            Pool.objects.bulk_create([Pool(name=DEFAULT_POOL, slots=DEFAULT_POOL_SLOTS)], ignore_conflicts=True)
        row = Deployment.objects.filter(pk=1).values_list("uuid", "incarnation").get()
    return str(row[0]), row[1]
