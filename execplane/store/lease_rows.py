"""The lease rows: take, renew, give back, by compare-and-set on the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from execplane.store.database import database_now, nudge, write
from execplane.store.models import Lease

LEASES = "leases"
"""The topic of leases that were given back."""


def take(name: str, holder: str, token: int, seconds: float) -> int:
    """Take a free or expired lease, or renew our own; gives its token, 0 when somebody else holds it."""
    with write():
        now = database_now()
        expires = now + timedelta(seconds=seconds)
        row = Lease.objects.select_for_update().filter(pk=name).first()
        if row is None:
            return _insert(name, holder, expires)
        if row.holder == holder and row.token == token and row.expires_at > now:
            Lease.objects.filter(pk=name).update(expires_at=expires)
            return token
        if row.expires_at <= now or row.holder == "":
            Lease.objects.filter(pk=name).update(holder=holder, token=row.token + 1, expires_at=expires)
            return row.token + 1
    return 0


def _insert(name: str, holder: str, expires: datetime) -> int:
    try:
        with transaction.atomic():
            Lease.objects.create(pk=name, holder=holder, token=1, expires_at=expires)
    except IntegrityError:
        return 0
    return 1


def is_held(name: str) -> bool:
    """Whether somebody holds it now."""
    return Lease.objects.filter(pk=name, expires_at__gt=database_now()).exclude(holder="").exists()


def free_of(holder: str) -> None:
    """Free whatever a holder that is known to be dead still holds; tokens go on growing from there."""
    with write():
        Lease.objects.filter(holder=holder).update(holder="", expires_at=database_now())


def give_back(name: str, holder: str, token: int) -> None:
    """Free it at once, if it is still ours, and wake those who wait for it."""
    with write():
        if Lease.objects.filter(pk=name, holder=holder, token=token).update(holder="", expires_at=database_now()):
            nudge(LEASES)
