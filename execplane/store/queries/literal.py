"""Conditions that partial indexes can be used for.

SQLite matches a partial index against the statement's text: `state IN (?, ?)` proves nothing to it, whatever is
bound, and the table is scanned. So these states stand in the statement itself, in the index's own order.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import BooleanField, F, Func

from execplane.store.models.attempts import ACTIVE, ENDED


def state_in(states: Iterable[str]) -> Func:
    """`state IN ('…', …)`, of one state `state = '…'`, for `filter()`. Only for states of ours: they become SQL."""
    return _one_of("state", list(states))


def run_type_in(types: Iterable[str]) -> Func:
    """The same for the types of runs."""
    return _one_of("run_type", list(types))


def _one_of(column: str, names: list[str]) -> Func:
    if not all(name.isidentifier() for name in names):
        raise ValueError(f"not words of ours: {names}")
    listed = ", ".join(f"'{name}'" for name in names)
    condition = f"IN ({listed})" if len(names) > 1 else f"= {listed}"
    return Func(F(column), template=f"%(expressions)s {condition}", output_field=BooleanField())


def is_active() -> Func:
    """The condition of the index attempt_active."""
    return state_in(ACTIVE)


def is_ended() -> Func:
    """The condition of the indexes over ended attempts."""
    return state_in(ENDED)
