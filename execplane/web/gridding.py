"""The grid's rows and squares, as markup: thousands of them, so plain strings instead of template loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from execplane.contract.dag import DagSpec
from execplane.store.queries.runs import RunMark, RunRow
from execplane.store.queries.tasks import Cell, summary_state
from execplane.web import words
from execplane.web.tree import Line, lines

BAR_HEIGHT = 56


@dataclass(frozen=True, kw_only=True)
class Row:
    line: Line
    cells: SafeString
    removed: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A run's head in the grid: its duration as a bar in its state's colour."""

    run: RunRow | RunMark
    height: int
    y: int
    seconds: float | None
    label: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    bars: tuple[Bar, ...]
    rows: tuple[Row, ...]
    longest: str
    half: str


def bars(runs: Sequence[RunRow | RunMark], now: datetime, full: int = BAR_HEIGHT) -> tuple[Bar, ...]:
    """Bars whose heights compare durations; every run is seen, however short it was."""
    taken = [words.between(run.started_at, run.ended_at, now) for run in runs]
    longest = max((value for value in taken if value), default=0.0)
    found = []
    for run, value in zip(runs, taken, strict=True):
        height = max(5, round(full * (value or 0) / longest)) if longest else 5
        label = f"{run.run_id}, {words.state_label(run.state)}"
        if value is not None and run.ended_at:
            label += f", {words.duration(value)}"
        found.append(Bar(run=run, height=height, y=full - height, seconds=value, label=label))
    return tuple(found)


def grid(
    dag_id: str,
    spec: DagSpec | None,
    runs: Sequence[RunRow],
    cells: Mapping[int, Mapping[str, Cell]],
    now: datetime,
) -> Grid:
    """Rows of the newest version, then those of tasks that only older runs had."""
    known = lines(spec) if spec else ()
    ids = {line.id for line in known if line.task}
    gone = sorted({task_id for found in cells.values() for task_id in found} - ids)
    bases = [reverse("run", args=[dag_id, run.run_id]) + "/tasks/" for run in runs]
    columns = [(escape(base), cells.get(run.id, {})) for base, run in zip(bases, runs, strict=True)]
    rows = [Row(line=line, cells=_cells(line, columns, now)) for line in known]
    for task_id in gone:
        line = Line(id=task_id, label=task_id, depth=0)
        rows.append(Row(line=line, cells=_cells(line, columns, now), removed=True))
    found = bars(runs, now)
    longest = max((bar.seconds for bar in found if bar.seconds), default=None)
    return Grid(
        bars=found,
        rows=tuple(rows),
        longest=words.duration(longest),
        half=words.duration(longest / 2 if longest else None),
    )


def _cells(line: Line, columns: Sequence[tuple[str, Mapping[str, Cell]]], now: datetime) -> SafeString:
    if line.members:
        parts = [_group_cell(line, found) for _, found in columns]
    else:
        name = escape(quote(line.id, safe=""))
        parts = [_cell(found.get(line.id), base, name, now) for base, found in columns]
    return mark_safe("".join(parts))  # noqa: S308 - every part is escaped where it is made


def _cell(cell: Cell | None, base: str, name: str, now: datetime) -> str:
    if cell is None:
        return "<td></td>"
    label = words.state_label(cell.state)
    if cell.states:
        counted = ", ".join(f"{n} {words.state_label(state)}" for state, n in cell.states.items())
        label = f"{cell.total} mapped: {counted}"
    taken = words.between(cell.started_at, cell.ended_at, now)
    if taken is not None and cell.ended_at:
        label += f", {words.duration(taken)}"
    if cell.try_number > 1:
        label += f", try {cell.try_number}"
    inner = _short(cell.total) if cell.states else ""
    return f'<td><a class="c s-{cell.state}" href="{base}{name}" tabindex="-1" aria-label="{label}">{inner}</a></td>'


def _group_cell(line: Line, found: Mapping[str, Cell]) -> str:
    states = [found[name].state for name in line.members if name in found]
    if not states:
        return "<td></td>"
    counted = ", ".join(f"{states.count(state)} {words.state_label(state)}" for state in dict.fromkeys(states))
    return f'<td><span class="c g s-{summary_state(states)}" role="img" aria-label="{counted}"></span></td>'


def _short(n: int) -> str:
    return str(n) if n < 100 else "99+"
