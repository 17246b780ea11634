"""The conditions of partial indexes, for `filter()`: every query that wants such an index says its condition by these.

SQLite matches a partial index against the statement's text: `state IN (?, ?)` proves nothing to it, whatever is
bound, and the table is scanned. So the states stand in the statement itself, in the index's own order.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import BooleanField, F, Func

from execplane.store.models import attempts, runs


def is_active() -> Func:
    """Attempts: the condition of attempt_active."""
    return _one_of("state", attempts.ACTIVE)


def is_ended() -> Func:
    """Attempts: the condition of attempt_to_clean and of the lists of ended attempts."""
    return _one_of("state", attempts.ENDED)


def run_is_active() -> Func:
    """Runs: the condition of dagrun_active and dagrun_to_decide."""
    return _one_of("state", runs.ACTIVE)


def run_is_ended() -> Func:
    """Runs: the condition of dagrun_ended."""
    return _one_of("state", runs.ENDED)


def run_succeeded() -> Func:
    """Runs: the condition of dagrun_success."""
    return _one_of("state", ["success"])


def run_is_scheduled() -> Func:
    """Runs: the condition of dagrun_scheduled."""
    return _one_of("run_type", ["scheduled"])


def run_is_unscheduled() -> Func:
    """Runs: the condition of dagrun_unscheduled and dagrun_dag_unscheduled."""
    return _one_of("run_type", runs.UNSCHEDULED)


def _one_of(column: str, words: Sequence[str]) -> Func:
    """`column IN ('…', …)`, of one word `column = '…'`. Only for words of ours: they become SQL."""
    listed = ", ".join(f"'{word}'" for word in words)
    condition = f"IN ({listed})" if len(words) > 1 else f"= {listed}"
    return Func(F(column), template=f"%(expressions)s {condition}", output_field=BooleanField())
