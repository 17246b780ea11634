"""Who changed what: one row a verb, in the verb's own transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from execplane.store.models import Audit


def audit(
    actor: str,
    action: str,
    subject: str,
    *,
    now: datetime,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Append; inside the caller's `write()`."""
    Audit.objects.create(
        at=now, actor=actor[:200], action=action[:60], object=subject[:600], before=before, after=after
    )
