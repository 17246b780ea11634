"""A mutation hook's work, applied: only what the hook changed, to the raw pod.

The hook gets a model (V1Pod) that knows fewer fields than the API server may; what the model dropped must survive.
So the difference between the model before and after the hook is applied to the raw pod, and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from execplane.pods.tree import Node, plant

HOOK = "mutation hook"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """What a hook made of a pod: the model's JSON before and after it ran."""

    before: dict[str, Any]
    after: dict[str, Any]


Mutate = Callable[[dict[str, Any]], Mutation]
"""Runs the hooks on a raw pod. Raises InvalidInput when one raises, NotYet while none can be run."""

_NAMES = ("name", "mountPath", "devicePath", "topologyKey", "uid")
"""Fields that tell a list's items apart, the first that all items have with different values."""


def apply(pod: Node, mutation: Mutation, layer: str = HOOK) -> Node:
    """The pod with the hook's changes, each marked with `layer`."""
    return _apply(pod, mutation.before, mutation.after, layer)


def _apply(raw: Node, before: Any, after: Any, layer: str) -> Node:
    if before == after:
        return raw
    if isinstance(raw.value, dict) and isinstance(before, dict) and isinstance(after, dict):
        return _apply_object(raw, before, after, layer)
    if isinstance(raw.value, list) and isinstance(before, list) and isinstance(after, list):
        return _apply_list(raw, before, after, layer)
    return plant(after, layer)


def _apply_object(raw: Node, before: dict[str, Any], after: dict[str, Any], layer: str) -> Node:
    fields = {name: child for name, child in raw.fields.items() if name not in before or name in after}
    for name, value in after.items():
        if name in before and name in fields:
            fields[name] = _apply(fields[name], before[name], value, layer)
        elif name not in before or before[name] != value:
            fields[name] = plant(value, layer)
    return Node(fields, layer)


def _apply_list(raw: Node, before: list[Any], after: list[Any], layer: str) -> Node:
    """Items keep their raw form when they can be found again: by name, else when equal, else by place."""
    if len(raw.items) != len(before):
        return plant(after, layer)
    name = next((field for field in _NAMES if _tells_apart(field, before) and _tells_apart(field, after)), None)
    items: list[Node] = []
    for place, value in enumerate(after):
        found = _find(before, value, name)
        if found is None and name is None and len(before) == len(after):
            found = place
        known = found is not None
        items.append(_apply(raw.items[found], before[found], value, layer) if known else plant(value, layer))  # type: ignore[index]
    return Node(items, layer)


def _find(before: list[Any], value: Any, name: str | None) -> int | None:
    if name is not None:
        return next((place for place, item in enumerate(before) if item[name] == value[name]), None)
    return next((place for place, item in enumerate(before) if item == value), None)


def _tells_apart(field: str, items: list[Any]) -> bool:
    values = [item.get(field) if isinstance(item, dict) else None for item in items]
    return None not in values and len(set(map(str, values))) == len(values)
