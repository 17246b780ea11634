"""What an audit row is about: words and an address for the names under which verbs are recorded. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import NoReverseMatch, reverse

from execplane.store.queries.audit import AuditRow

_TASK = re.compile(r"^([^/]+)/([^/]+)/(.+)\[(-?\d+)\]$")
_PAGES = {
    "variable": "variables",
    "connection": "connections",
    "pool": "pools",
    "drift": "drift",
    "executor": "drift",
    "deadlines": "loops",
    "hold": "holds",
    "waves": "holds",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    row: AuditRow
    kind: str
    name: str
    url: str
    """"" where there is no page."""
    details: Mapping[str, Any]
    """What else was recorded, without what is empty or said already."""


def change(row: AuditRow) -> Change:
    kind, _, name = row.object.partition(":")
    try:
        url = _address(kind, name, row)
    except NoReverseMatch:
        url = ""
    details = {key: value for key, value in (row.after or {}).items() if value}
    if row.before:
        details["before"] = row.before
    if row.action == "trigger":
        kind, name = "run", f"{name}/{details.pop('run_id', '')}"
    return Change(row=row, kind=kind, name=name.removesuffix("[-1]"), url=url, details=details)


def _address(kind: str, name: str, row: AuditRow) -> str:
    if kind == "dag":
        run_id = (row.after or {}).get("run_id") if row.action == "trigger" else None
        return reverse("run", args=[name, run_id]) if run_id else reverse("dag", args=[name])
    if kind == "run":
        return reverse("run", args=name.split("/", 1))
    if kind == "attempt":
        return reverse("attempt", args=[name])
    if kind == "task" and (found := _TASK.match(name)):
        dag_id, run_id, task_id, map_index = found.groups()
        if int(map_index) < 0:
            return reverse("task", args=[dag_id, run_id, task_id])
        return reverse("mapped-task", args=[dag_id, run_id, task_id, int(map_index)])
    return reverse(_PAGES[kind]) if kind in _PAGES else ""
