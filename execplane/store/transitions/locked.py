"""Rows held until the caller's `write()` ends, in the order that avoids deadlocks: runs, attempts, task instances."""

from __future__ import annotations

from execplane.store.models import Attempt, DagRun
from execplane.store.prepared import Parameter, Select

_COLUMNS = [field.attname for field in Attempt._meta.concrete_fields]
_ATTEMPT = Select(lambda: Attempt.objects.select_for_update().filter(pk=Parameter("attempt_id")).values_list(*_COLUMNS))
_RUN = Select(
    lambda: (
        DagRun.objects.filter(task_instances__attempts__pk=Parameter("attempt_id"))
        .select_for_update(of=("self",))
        .values_list("pk")
    )
)


def locked_attempt(attempt_id: int) -> Attempt | None:
    """The attempt, held; None: there is none."""
    row = _ATTEMPT.first(attempt_id=attempt_id)
    return None if row is None else Attempt.from_db("default", _COLUMNS, row)


def locked_run_of(attempt_id: int) -> int | None:
    """The key of the attempt's run, held; None: there is no such attempt."""
    row = _RUN.first(attempt_id=attempt_id)
    return None if row is None else int(row[0])
