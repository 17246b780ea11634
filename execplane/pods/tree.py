"""A JSON value in which every part remembers which layer set it.

Merging, the mutation hook and the identity stamp all work on this tree, so that "who set this field" is a property
of the data and never has to be worked out afterwards. Paths are written as the API server writes them in its own
errors: `spec.containers[0].image`, `metadata.labels[app.kubernetes.io/name]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, an object or a list, and the layer that set it (for objects and lists: that last added to it)."""

    value: Scalar | dict[str, Node] | list[Node]
    layer: str

    @property
    def fields(self) -> dict[str, Node]:
        """The object's fields; empty when it is not an object."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The list's items; empty when it is not a list."""
        return self.value if isinstance(self.value, list) else []

    def get(self, *names: str) -> Node | None:
        """The node below, by field names; None where there is none."""
        node: Node | None = self
        for name in names:
            node = node.fields.get(name) if node is not None else None
        return node

    def text(self, *names: str) -> str:
        """The string below, by field names; "" where there is none."""
        node = self.get(*names)
        return node.value if node is not None and isinstance(node.value, str) else ""


def plant(value: Any, layer: str) -> Node:
    """The tree of a plain JSON value, all of one layer."""
    if isinstance(value, dict):
        return Node({str(name): plant(child, layer) for name, child in value.items()}, layer)
    if isinstance(value, list | tuple):
        return Node([plant(child, layer) for child in value], layer)
    return Node(value, layer)


def plain(node: Node) -> Any:
    """The JSON value, without the memory."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def plain_object(node: Node) -> dict[str, Any]:
    """`plain` of an object."""
    return cast("dict[str, Any]", plain(node))


def equal(left: Node, right: Node) -> bool:
    """The same JSON value, whoever set it."""
    return bool(plain(left) == plain(right))


def without_nulls(node: Node) -> Node:
    """The tree without fields that are null: null says "not set", in every layer."""
    if isinstance(node.value, dict):
        kept = {name: without_nulls(child) for name, child in node.value.items() if child.value is not None}
        return Node(kept, node.layer)
    if isinstance(node.value, list):
        return Node([without_nulls(child) for child in node.value], node.layer)
    return node


def replaced(node: Node, change: Callable[[dict[str, Node]], None], layer: str) -> Node:
    """The object after `change` worked on a copy of its fields."""
    fields = dict(node.fields)
    change(fields)
    return Node(fields, layer)


def below(path: str, name: str) -> str:
    """The path of an object's field."""
    if name.isidentifier() or (name.isascii() and name.replace("-", "_").isidentifier()):
        return f"{path}.{name}" if path else name
    return f"{path}[{name}]"


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every leaf with its path: scalars, and objects and lists that are empty."""
    if isinstance(node.value, dict) and node.value:
        for name, child in node.value.items():
            yield from walk(child, below(path, name))
    elif isinstance(node.value, list) and node.value:
        for index, child in enumerate(node.value):
            yield from walk(child, f"{path}[{index}]")
    else:
        yield path, node


def provenance(node: Node) -> dict[str, str]:
    """Path of every leaf -> the layer that set it."""
    return {path: leaf.layer for path, leaf in walk(node)}
