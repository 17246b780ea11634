"""Conditions that partial indexes can be used for.

SQLite matches a partial index against the statement's text: `state IN (?, ?)` proves nothing to it, whatever is
bound, and the table is scanned. So these states stand in the statement itself, in the index's own order.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import BooleanField, F, Func

from execplane.store.models.attempts import ACTIVE, ENDED


def state_in(states: Iterable[str]) -> Func:
    """`state IN ('…', …)` for `filter()`. Only for states of ours: they become part of the SQL."""
    names = list(states)
    if not all(name.isidentifier() for name in names):
        raise ValueError(f"not states: {names}")
    listed = ", ".join(f"'{name}'" for name in names)
    return Func(F("state"), template=f"%(expressions)s IN ({listed})", output_field=BooleanField())


def is_active() -> Func:
    """The condition of the index attempt_active."""
    return state_in(ACTIVE)


def is_ended() -> Func:
    """The condition of the indexes over ended attempts."""
    return state_in(ENDED)
