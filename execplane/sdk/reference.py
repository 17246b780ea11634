"""Writes docs/sdk-parameters.md from the tables: `python -m execplane.sdk.reference > docs/sdk-parameters.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from execplane.sdk.accepting import Parameter, Refused
from execplane.sdk.airflow import paths
from execplane.sdk.operator_parameters import CLASSES, SECTIONS

_INTRODUCTION = """\
# What DAG files can say

Generated from the tables in `execplane/sdk/parameters.py` and `execplane/sdk/operator_parameters.py`; do not edit.
A parameter that stands in neither kind of table, or under "refused" with a value that asks for something, fails the
import of the DAG file with its file, line and name. `@task`, `@task.branch`, `@task.short_circuit`, `@task.sensor` and
`@task.bash` take the parameters of the operator they stand for.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return f"`{value!r}`"


def _accepted(rows: Iterable[Parameter]) -> Iterable[str]:
    yield "| parameter | takes | default | effect |"
    yield "|---|---|---|---|"
    for row in rows:
        names = f"`{row.name}`" + "".join(f" (or `{alias}`)" for alias in row.aliases)
        yield f"| {names} | {_cell(row.takes)} | {_default(row.default)} | {_cell(row.effect)} |"


def _refused(rows: Iterable[Refused]) -> Iterable[str]:
    yield "| refused | instead |"
    yield "|---|---|"
    for row in rows:
        yield f"| `{row.name}` | {_cell(row.advice)} |"


def lines() -> Iterable[str]:
    """The document, line by line."""
    yield _INTRODUCTION
    for title, accepted, refused in SECTIONS:
        yield f"## {title}\n"
        yield from _accepted(accepted)
        yield ""
        yield from _refused(refused)
        yield ""
    for name, rows in CLASSES.items():
        yield f"## {name}\n"
        if rows:
            yield from _accepted(rows)
        else:
            yield "Only the parameters of every operator."
        yield ""
    yield "## Airflow's import paths\n"
    yield "Served where Apache Airflow itself is not installed."
    yield "Any other import of `airflow` fails, and says what to use.\n"
    yield "| module | names |"
    yield "|---|---|"
    for module, names in sorted(paths.MODULES.items()):
        yield f"| `{module}` | {', '.join(f'`{name}`' for name in sorted(names))} |"


def render() -> str:
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
