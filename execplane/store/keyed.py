"""Rows of one attempt by name, with its key in one piece: what a column means is said once, beside its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.states import AttemptState
from execplane.store.models import Attempt
from execplane.store.prepared import Named, Parameter

_KEY = ("dag_id", "run_id", "task_id", "map_index", "attempt_no")


def _one() -> QuerySet[Attempt]:
    return Attempt.objects.filter(pk=Parameter("attempt_id"))


def attempt_columns(**columns: str) -> Callable[[int], dict[str, Any] | None]:
    """A read of one attempt: its id, key and state, and `columns` as name="where Django finds it"; None: no such row.

    The names are those of the dataclass that the row becomes, so its constructor finds what is missing or too much.
    """
    named = Named(_one, attempt_id="pk", state="state", **{name: name for name in _KEY}, **columns)

    def read(attempt_id: int) -> dict[str, Any] | None:
        row = named.first(attempt_id=attempt_id)
        if row is None:
            return None
        dag_id, run_id, task_id, map_index, attempt_no = (row.pop(name) for name in _KEY)
        task = TaskKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
        row["key"] = AttemptKey(task=task, attempt_no=attempt_no)
        row["state"] = AttemptState(row["state"])
        return row

    return read
