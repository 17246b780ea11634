"""Layers of a pod, merged: what Airflow's reconcile does, without its pains.

Kept: labels and annotations unite, volumes and the containers' lists are concatenated, other objects and lists are
replaced whole. Different on purpose: a falsy value (False, 0, "", an empty list or map) resets what an earlier layer
said, null deletes it, containers match by name, and items of the same key are not doubled: a volume of the same name
is replaced whole, because two sources in one volume make it invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from execplane.contract.workload import Layered
from execplane.pods.fields import BASE, POD, Merge, Rule
from execplane.pods.tree import Node, equal, plain, plain_object, plant, provenance, without_nulls


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One voice in the making of a pod. `name` stays with each field it sets: "template", "dag", "task" …"""

    name: str
    pod: dict[str, Any]
    source: str = ""
    """Where it came from, for errors: a file, "executor_config of task x"."""
    rule: bool = False
    """An operator's rule: the namespace it names needs no permission."""
    binding: bool = False
    """Laid over what authors say; what of theirs it changes is reported."""
    overruled: tuple[Layered, ...] = ()
    """What gave way to this layer before any merging: another template."""

    def __str__(self) -> str:
        return f"{self.name} ({self.source})" if self.source else self.name


@dataclass(frozen=True, kw_only=True)
class Merged:
    tree: Node

    @property
    def pod(self) -> dict[str, Any]:
        return plain_object(self.tree)

    @property
    def provenance(self) -> dict[str, str]:
        return provenance(self.tree)


def merge(layers: Sequence[Layer]) -> Merged:
    """The layers in their order, later ones winning. They must have passed `validate.check_layer`."""
    tree = Node({}, layers[0].name if layers else "")
    for layer in layers:
        tree = _object(tree, _named(plant(layer.pod, layer.name)), POD)
    return Merged(tree=without_nulls(tree))


def _named(pod: Node) -> Node:
    """An override's only container needs no name: the task's is meant."""
    spec = pod.get("spec")
    containers = pod.get("spec", "containers")
    if spec is None or containers is None or len(containers.items) != 1:
        return pod
    only = containers.items[0]
    if not isinstance(only.value, dict) or only.text("name"):
        return pod
    named = Node({**only.fields, "name": Node(BASE, only.layer)}, only.layer)
    new_spec = Node({**spec.fields, "containers": Node([named], containers.layer)}, spec.layer)
    return Node({**pod.fields, "spec": new_spec}, pod.layer)


def _combine(base: Node | None, over: Node, rule: Rule | None) -> Node:
    if rule is None:
        return over
    if over.value is None or base is None or base.value is None:
        # A first layer goes through the same rules, so that merging a layer with itself changes nothing.
        base = Node([] if isinstance(over.value, list) else {}, over.layer)
    if over.value is None or type(base.value) is not type(over.value):
        return over
    match rule.how:
        case Merge.OBJECT:
            return _object(base, over, rule)
        case Merge.UNION:
            return Node({**base.fields, **over.fields}, over.layer) if over.value else over
        case Merge.CONCAT | Merge.ITEMS:
            return _list(base, over, rule)


def _object(base: Node, over: Node, rule: Rule) -> Node:
    rules = rule.fields or {}
    fields = dict(base.fields)
    for name, child in over.fields.items():
        fields[name] = _combine(fields.get(name), child, rules.get(name))
    return Node(fields, over.layer)


def _list(base: Node, over: Node, rule: Rule) -> Node:
    if not over.items:
        return base if rule.keeps_when_empty and base.items else over
    items = list(base.items)
    places = {key: place for place, item in enumerate(items) if (key := item_key(item, rule)) is not None}
    for item in over.items:
        key = item_key(item, rule)
        if key is not None and key in places:
            place = places[key]
            items[place] = _object(items[place], item, rule) if rule.how is Merge.ITEMS else item
        elif key is None and any(equal(item, known) for known in items):
            continue
        else:
            if key is not None:
                places[key] = len(items)
            items.append(_object(Node({}, item.layer), item, rule) if rule.how is Merge.ITEMS else item)
    return Node(items, over.layer)


def item_key(item: Node, rule: Rule) -> tuple[Any, ...] | None:
    """What names a list's item; None when nothing does."""
    if not rule.keys or not isinstance(item.value, dict):
        return None
    defaults = rule.defaults or ("",) * len(rule.keys)
    pairs = zip(rule.keys, defaults, strict=True)
    found = tuple(plain(node) if (node := item.get(key)) is not None else default for key, default in pairs)
    return found if found[0] not in ("", None) else None
