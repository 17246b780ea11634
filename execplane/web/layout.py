"""Where the boxes of a DAG's graph go: layers from left to right, groups as boxes around their tasks. Pure.

Sugiyama's way: longest-path layers, dummy nodes on long edges, barycentre sweeps against crossings; heights by
isotonic regression, which moves each node as near to its neighbours as order and gaps allow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

GAP_X = 56.0
GAP_Y = 16.0
GROUP_PAD = 14.0
GROUP_HEAD = 22.0
_SWEEPS = 6


@dataclass(frozen=True, kw_only=True)
class Box:
    """A task (`members` empty) or a group, in absolute coordinates."""

    id: str
    x: float
    y: float
    width: float
    height: float
    is_group: bool = False
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Route:
    """One drawn edge; `points` run from the source's right side to the target's left side."""

    source: str
    target: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    width: float
    height: float
    boxes: tuple[Box, ...]
    """Groups before their members, so that drawing in order stacks rightly."""
    routes: tuple[Route, ...]


@dataclass
class _Level:
    """One group's inside: positions relative to its own top left corner."""

    width: float = 0.0
    height: float = 0.0
    at: dict[str, tuple[float, float]] = field(default_factory=dict)
    bends: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)


def draw(
    sizes: Mapping[str, tuple[float, float]],
    edges: Iterable[tuple[str, str]],
    parents: Mapping[str, str | None],
    groups: Sequence[str] = (),
) -> Drawing:
    """Lay out tasks with these sizes. `parents` maps a task or group to its group; cycles among groups are cut."""
    members: dict[str | None, list[str]] = {}
    for name in [*groups, *sizes]:
        members.setdefault(parents.get(name), []).append(name)
    lifted: dict[str | None, dict[tuple[str, str], list[tuple[str, str]]]] = {}
    for source, target in edges:
        group, ends = _lift(source, target, parents)
        lifted.setdefault(group, {}).setdefault(ends, []).append((source, target))
    levels: dict[str | None, _Level] = {}
    _lay(None, members, sizes, lifted, levels)
    boxes: list[Box] = []
    routes: list[Route] = []
    _place(None, 0.0, 0.0, 0, members, sizes, levels, boxes)
    where = {box.id: box for box in boxes}
    for group, pairs in lifted.items():
        origin = (where[group].x, where[group].y) if group is not None else (0.0, 0.0)
        for ends, real in pairs.items():
            # Several edges between two groups are drawn as one between the boxes: 10 x 10 lines tell less.
            source, target = real[0] if len(real) == 1 else ends
            bends = [(origin[0] + x, origin[1] + y) for x, y in levels[group].bends.get(ends, [])]
            # Inside a group the line runs level with its end, so that it does not cut through other members.
            if source != ends[0]:
                box = where[ends[0]]
                bends.insert(0, (box.x + box.width, where[source].y + where[source].height / 2))
            if target != ends[1]:
                bends.append((where[ends[1]].x, where[target].y + where[target].height / 2))
            routes.append(_route(where[source], where[target], bends))
    top = levels[None]
    return Drawing(width=top.width, height=top.height, boxes=tuple(boxes), routes=tuple(routes))


def _route(source: Box, target: Box, bends: list[tuple[float, float]]) -> Route:
    start = (source.x + source.width, source.y + source.height / 2)
    end = (target.x, target.y + target.height / 2)
    return Route(source=source.id, target=target.id, points=(start, *bends, end))


def _lift(source: str, target: str, parents: Mapping[str, str | None]) -> tuple[str | None, tuple[str, str]]:
    """The innermost group that holds both ends, and its direct members on either side."""
    up, down = _ancestry(source, parents), _ancestry(target, parents)
    while len(up) > 1 and len(down) > 1 and up[-1] == down[-1]:
        up.pop()
        down.pop()
    return parents.get(up[-1]), (up[-1], down[-1])


def _ancestry(name: str, parents: Mapping[str, str | None]) -> list[str]:
    path = [name]
    while (above := parents.get(path[-1])) is not None and above not in path:
        path.append(above)
    return path


def _lay(
    group: str | None,
    members: Mapping[str | None, list[str]],
    sizes: Mapping[str, tuple[float, float]],
    lifted: Mapping[str | None, Mapping[tuple[str, str], object]],
    levels: dict[str | None, _Level],
) -> tuple[float, float]:
    inner: dict[str, tuple[float, float]] = {}
    for name in members.get(group, []):
        inner[name] = sizes[name] if name in sizes else _lay(name, members, sizes, lifted, levels)
    head = GROUP_HEAD if group is not None else 0.0
    levels[group] = _layered(inner, list(lifted.get(group, {})), top=head)
    return levels[group].width, levels[group].height


def _place(
    group: str | None,
    x: float,
    y: float,
    depth: int,
    members: Mapping[str | None, list[str]],
    sizes: Mapping[str, tuple[float, float]],
    levels: Mapping[str | None, _Level],
    boxes: list[Box],
) -> None:
    for name in members.get(group, []):
        left, top = levels[group].at[name]
        is_group = name not in sizes
        width, height = (levels[name].width, levels[name].height) if is_group else sizes[name]
        boxes.append(Box(id=name, x=x + left, y=y + top, width=width, height=height, is_group=is_group, depth=depth))
        if is_group:
            _place(name, x + left, y + top, depth + 1, members, sizes, levels, boxes)


def ranks(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Longest-path layers; an edge that would close a cycle is left out."""
    upstream: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        upstream[target].append(source)
    rank: dict[str, int] = {}
    for start in upstream:
        stack, open_now = [start], set[str]()
        while stack:
            name = stack[-1]
            todo = [above for above in upstream[name] if above not in rank and above not in open_now]
            if name in rank:
                stack.pop()
            elif todo and name not in open_now:
                open_now.add(name)
                stack.extend(todo)
            else:
                rank[name] = max((rank[above] + 1 for above in upstream[name] if above in rank), default=0)
                open_now.discard(name)
                stack.pop()
    return rank


def _layered(sizes: Mapping[str, tuple[float, float]], edges: list[tuple[str, str]], top: float) -> _Level:
    rank = ranks(sizes, edges)
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for name in sizes:
        layers[rank[name]].append(name)
    heights = {name: size[1] for name, size in sizes.items()}
    chains: dict[tuple[str, str], list[str]] = {}
    links: list[tuple[str, str]] = []
    for source, target in edges:
        if rank[source] >= rank[target]:
            continue
        chain = [f"\0{source}\0{target}\0{step}" for step in range(rank[source] + 1, rank[target])]
        for step, dummy in enumerate(chain, start=rank[source] + 1):
            layers[step].append(dummy)
            heights[dummy] = 4.0
        chains[(source, target)] = chain
        links += zip([source, *chain], [*chain, target], strict=True)
    before: dict[str, list[str]] = {name: [] for name in heights}
    after: dict[str, list[str]] = {name: [] for name in heights}
    for source, target in links:
        before[target].append(source)
        after[source].append(target)
    _sweep(layers, before, after)
    middle = _heights(layers, heights, before, after)
    return _measure(sizes, layers, heights, middle, chains, top)


def _measure(
    sizes: Mapping[str, tuple[float, float]],
    layers: list[list[str]],
    heights: Mapping[str, float],
    middle: Mapping[str, float],
    chains: Mapping[tuple[str, str], list[str]],
    top: float,
) -> _Level:
    level = _Level()
    highest = min((middle[name] - heights[name] / 2 for name in heights), default=0.0)
    shift = GROUP_PAD + top - highest
    x = GROUP_PAD
    bends: dict[str, list[tuple[float, float]]] = {}
    for layer in layers:
        width = max((sizes[name][0] for name in layer if name in sizes), default=0.0)
        for name in layer:
            y = middle[name] + shift
            if name in sizes:
                level.at[name] = (x, y - heights[name] / 2)
            else:
                bends[name] = [(x, y), (x + width, y)]
        x += width + GAP_X
    for ends, chain in chains.items():
        level.bends[ends] = [point for dummy in chain for point in bends[dummy]]
    lowest = max((middle[name] + heights[name] / 2 for name in heights), default=0.0)
    level.width = max(x - GAP_X + GROUP_PAD, 2 * GROUP_PAD)
    level.height = lowest + shift + GROUP_PAD
    return level


def _sweep(layers: list[list[str]], before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> None:
    """Sort each layer by the mean place of its neighbours, forwards and backwards in turn."""
    for turn in range(_SWEEPS):
        neighbours, order = (before, layers) if turn % 2 == 0 else (after, layers[::-1])
        place: dict[str, float] = {}
        for layer in order:
            own = {name: float(index) for index, name in enumerate(layer)}
            wish = {
                name: sum(place[other] for other in near) / len(near)
                if (near := [other for other in neighbours[name] if other in place])
                else own[name]
                for name in layer
            }
            layer.sort(key=lambda name: (wish[name], own[name]))
            place.update((name, float(index)) for index, name in enumerate(layer))


def _heights(
    layers: list[list[str]],
    heights: Mapping[str, float],
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
) -> dict[str, float]:
    middle: dict[str, float] = {}
    for layer in layers:
        y = 0.0
        for name in layer:
            middle[name] = y + heights[name] / 2
            y += heights[name] + GAP_Y
    for turn in range(_SWEEPS * 2):
        neighbours, order = (before, layers) if turn % 2 == 0 else (after, layers[::-1])
        for layer in order:
            wish = [
                sum(middle[other] for other in near) / len(near) if (near := neighbours[name]) else middle[name]
                for name in layer
            ]
            gaps = [(heights[upper] + heights[lower]) / 2 + GAP_Y for upper, lower in itertools.pairwise(layer)]
            middle.update(zip(layer, spread(wish, gaps), strict=True))
    return middle


def spread(wish: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The positions nearest to `wish` (least squares) that keep order and at least `gaps` between neighbours."""
    offset = [0.0]
    for gap in gaps:
        offset.append(offset[-1] + gap)
    pools: list[tuple[float, int]] = []
    for value, shift in zip(wish, offset, strict=False):
        mean, size = value - shift, 1
        while pools and pools[-1][0] > mean:
            above, count = pools.pop()
            mean = (mean * size + above * count) / (size + count)
            size += count
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [value + shift for value, shift in zip(flat, offset, strict=False)]
