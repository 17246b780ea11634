"""The graph's layout: every box has its place, for every graph there can be."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from execplane.web.layout import GAP_Y, Box, draw, ranks, spread


@st.composite
def graphs(draw_: st.DrawFn) -> tuple[list[str], list[tuple[str, str]], dict[str, str | None], list[str]]:
    names = [f"t{number}" for number in range(draw_(st.integers(1, 14)))]
    pairs = draw_(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=30, unique=True))
    edges = [(a, b) for a, b in pairs if int(a[1:]) < int(b[1:])]
    groups = [f"g{number}" for number in range(draw_(st.integers(0, 3)))]
    # A group lies in an earlier one or in none, so that groups form a tree.
    parents: dict[str, str | None] = {
        group: draw_(st.sampled_from([None, *groups[:position]])) for position, group in enumerate(groups)
    }
    parents |= {name: draw_(st.sampled_from([None, *groups])) for name in names}
    return names, edges, parents, groups


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


@given(graphs())
def test_boxes_never_overlap_and_lie_inside_their_group(
    graph: tuple[list[str], list[tuple[str, str]], dict[str, str | None], list[str]],
) -> None:
    names, edges, parents, groups = graph

    drawing = draw(dict.fromkeys(names, (100.0, 40.0)), edges, parents, groups)

    boxes = {box.id: box for box in drawing.boxes}
    assert set(boxes) == {*names, *groups}
    for one in drawing.boxes:
        assert 0 <= one.x <= one.x + one.width <= drawing.width + 0.01
        assert 0 <= one.y <= one.y + one.height <= drawing.height + 0.01
        above = parents[one.id]
        if above is not None:
            around = boxes[above]
            assert around.x < one.x
            assert one.x + one.width < around.x + around.width
            assert around.y < one.y
            assert one.y + one.height < around.y + around.height
    for a in drawing.boxes:
        for b in drawing.boxes:
            if a.id < b.id and parents[a.id] == parents[b.id]:
                assert not overlap(a, b), (a, b)


@given(graphs())
def test_every_edge_is_drawn_once_at_most_and_from_side_to_side(
    graph: tuple[list[str], list[tuple[str, str]], dict[str, str | None], list[str]],
) -> None:
    names, edges, parents, groups = graph

    drawing = draw(dict.fromkeys(names, (100.0, 40.0)), edges, parents, groups)

    boxes = {box.id: box for box in drawing.boxes}
    assert len(drawing.routes) <= len(edges)
    assert bool(drawing.routes) == bool(edges)
    for route in drawing.routes:
        source = boxes[route.source]
        assert route.points[0] == (source.x + source.width, source.y + source.height / 2)
        assert route.points[-1][0] == boxes[route.target].x


def test_layers_follow_the_longest_path_and_survive_a_cycle() -> None:
    assert ranks("abc", [("a", "b"), ("b", "c"), ("a", "c")]) == {"a": 0, "b": 1, "c": 2}
    assert set(ranks("ab", [("a", "b"), ("b", "a")])) == {"a", "b"}


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=12))
def test_spreading_keeps_order_and_gaps_and_leaves_alone_what_has_room(wish: list[float]) -> None:
    gaps = [GAP_Y] * (len(wish) - 1)

    places = spread(wish, gaps)

    assert all(b - a >= GAP_Y - 1e-6 for a, b in itertools.pairwise(places))
    if all(b - a >= GAP_Y for a, b in itertools.pairwise(wish)):
        assert all(abs(a - b) < 1e-6 for a, b in zip(places, wish, strict=True))
