"""A DAG's graph, a run's bars and an attempt's phases as plain shapes for the templates. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.phases import TOLERANCE, Step, Timeline
from execplane.store.queries.tasks import Cell, summary_state
from execplane.web import layout, words

NODE_HEIGHT = 44.0
_LETTER, _SMALL_LETTER = 7.9, 6.8
_MIN_WIDTH, _MAX_LETTERS, _MAX_SMALL_LETTERS = 116.0, 30, 48


@dataclass(frozen=True, kw_only=True)
class Node:
    box: layout.Box
    label: str
    state: str
    sub: str = ""
    task: TaskSpec | None = None
    title: str = ""
    upstream: str = ""
    """Ids, space-separated, for highlighting."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    source: str
    target: str
    path: str
    """SVG path data."""


@dataclass(frozen=True, kw_only=True)
class GraphDrawing:
    width: int
    height: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    run_id: str = ""


def graph(spec: DagSpec, cells: Mapping[str, Cell], run_id: str = "") -> GraphDrawing:
    """Tasks as boxes, coloured by their cells' states; groups as boxes around them."""
    tasks = {task.task_id: task for task in spec.tasks}
    groups = {group.group_id: group for group in spec.groups}
    parents: dict[str, str | None] = {name: group.parent_id for name, group in groups.items()}
    parents |= {name: task.group_id if task.group_id in groups else None for name, task in tasks.items()}
    labels = {name: _label(task.label or name, task.group_id) for name, task in tasks.items()}
    sizes = {name: (_width(labels[name], task, cells.get(name)), NODE_HEIGHT) for name, task in tasks.items()}
    edges = [(above, task.task_id) for task in spec.tasks for above in task.upstream if above in tasks]
    drawn = layout.draw(sizes, edges, parents, list(groups))
    inside = _members(spec, parents)
    nodes = []
    for box in drawn.boxes:
        if box.is_group:
            group = groups[box.id]
            states = [cells[name].state for name in inside[box.id] if name in cells]
            label = _cut(group.label or _label(box.id, group.parent_id))
            nodes.append(Node(box=box, label=label, state=summary_state(states), title=group.tooltip))
        else:
            nodes.append(_task_node(box, tasks[box.id], labels[box.id], cells.get(box.id)))
    lines = tuple(Edge(source=r.source, target=r.target, path=_path(r.points)) for r in drawn.routes)
    return GraphDrawing(
        width=round(drawn.width), height=round(drawn.height), nodes=tuple(nodes), edges=lines, run_id=run_id
    )


def _task_node(box: layout.Box, task: TaskSpec, label: str, cell: Cell | None) -> Node:
    state = cell.state if cell else "none"
    return Node(
        box=box,
        label=_cut(label),
        sub=_cut(_sub(task, cell), _MAX_SMALL_LETTERS),
        state=state,
        task=task,
        title=f"{task.task_id}: {words.state_label(state)}",
        upstream=" ".join(task.upstream),
    )


def _sub(task: TaskSpec, cell: Cell | None) -> str:
    """The state comes first: colour is never alone, and a long operator is shortened."""
    if cell is not None and cell.states:
        return f"{words.state_label(cell.state)} [{cell.total}] · {task.operator}"
    if cell is not None:
        return f"{words.state_label(cell.state)} · {task.operator}"
    return f"{task.operator} [ ]" if task.mapped else task.operator


def _members(spec: DagSpec, parents: Mapping[str, str | None]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {group.group_id: [] for group in spec.groups}
    for task in spec.tasks:
        above = parents.get(task.task_id)
        while above is not None:
            found[above].append(task.task_id)
            above = parents.get(above)
    return found


def _label(name: str, group: str | None) -> str:
    return name.removeprefix(f"{group}.") if group else name


def _cut(text: str, most: int = _MAX_LETTERS) -> str:
    """Shortened in the middle: ids of one family begin alike and differ at their ends."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def _width(label: str, task: TaskSpec, cell: Cell | None) -> float:
    letters = max(len(_cut(label)) * _LETTER, len(_cut(_sub(task, cell), _MAX_SMALL_LETTERS)) * _SMALL_LETTER)
    return max(_MIN_WIDTH, letters + 46)


def _path(points: tuple[tuple[float, float], ...]) -> str:
    """Smooth from point to point, leaving and arriving horizontally."""
    (x, y), *rest = points
    parts = [f"M{x:.0f} {y:.1f}"]
    for nx, ny in rest:
        middle = (x + nx) / 2
        parts.append(f"C{middle:.0f} {y:.1f} {middle:.0f} {ny:.1f} {nx:.0f} {ny:.1f}")
        x, y = nx, ny
    return "".join(parts)


def code_lines(source: str | None) -> list[str]:
    return source.splitlines() if source else []


@dataclass(frozen=True, kw_only=True)
class Span:
    """A bar in percent of the whole."""

    x: float
    width: float


def span(start: datetime | None, end: datetime | None, first: datetime, last: datetime) -> Span | None:
    """Where start to end lies between first and last; never thinner than can be seen."""
    whole = (last - first).total_seconds()
    if start is None or whole <= 0:
        return None
    x = min(100.0, max(0.0, (start - first).total_seconds() / whole * 100))
    width = ((end or last) - start).total_seconds() / whole * 100
    width = min(max(width, 0.6), 100.0)
    return Span(x=min(x, 100.0 - width), width=width)


@dataclass(frozen=True, kw_only=True)
class PhaseBar:
    """From one moment of an attempt to the next one known."""

    step: Step
    seconds: float | None
    """Until the next phase; None for the last one of an ended attempt."""
    span: Span | None
    moved: bool
    """Its clock said something else, by more than clocks that are kept in step differ."""

    @property
    def css(self) -> str:
        return self.step.phase.name.replace("_", "-")


def phases(found: Timeline, now: datetime | None) -> tuple[PhaseBar, ...]:
    """The waterfall: what it waited for, in the order in which it happened. `now`: it has not ended."""
    if not found.steps:
        return ()
    first = found.steps[0].at
    last = max(found.steps[-1].at, now or first)
    bars = []
    for step in found.steps:
        until = step.at + timedelta(seconds=step.seconds) if step.seconds is not None else now
        seconds = step.seconds if until is None or step.seconds is not None else (until - step.at).total_seconds()
        bars.append(
            PhaseBar(
                step=step,
                seconds=None if seconds is None else max(seconds, 0.0),
                span=span(step.at, until, first, last) if until else None,
                moved=abs(step.said - step.at) > TOLERANCE,
            )
        )
    return tuple(bars)
