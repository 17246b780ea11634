"""The identity stamp: what execplane itself says about a pod, last, whatever the layers wished.

Each field that a layer had set otherwise is reported with that layer's name: nothing is undone silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from execplane.contract.workload import Layered
from execplane.pods.fields import BASE
from execplane.pods.tree import Node, below, plain, plant

IDENTITY = "identity"

BASE_ENDED = "execplane.io/base-ended"
"""Annotation: `base` had ended before we ended the sidecars, so what the pod says of itself afterwards is our doing."""

_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
"""What `kubectl get -o yaml` shows and a create must not carry."""


class Stamper:
    """Sets fields of one pod's tree as layer "identity" and collects what that overruled."""

    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self.overruled: list[Layered] = []

    def top(self, name: str, value: Any) -> None:
        self.tree = self._with(self.tree, name, value, name)

    def remove_server_fields(self) -> None:
        """Status and server-made metadata have no business in a create."""
        self.tree = self._without(self.tree, "status", "status")
        metadata = self._part("metadata")
        for name in _SERVER_METADATA:
            metadata = self._without(metadata, name, f"metadata.{name}")
        self._put("metadata", metadata)

    def metadata(self, name: str, value: Any) -> None:
        self._put("metadata", self._with(self._part("metadata"), name, value, f"metadata.{name}"))

    def entries(self, name: str, values: Mapping[str, str]) -> None:
        """Entries of metadata.labels or metadata.annotations."""
        metadata = self._part("metadata")
        entries = metadata.get(name) or Node({}, IDENTITY)
        for key, value in values.items():
            entries = self._with(entries, key, value, below(f"metadata.{name}", key))
        self._put("metadata", Node({**metadata.fields, name: entries}, metadata.layer))

    def without_entry(self, name: str, key: str) -> None:
        """No such entry in metadata.labels or metadata.annotations."""
        metadata = self._part("metadata")
        entries = metadata.get(name)
        if entries is not None:
            kept = self._without(entries, key, below(f"metadata.{name}", key))
            self._put("metadata", Node({**metadata.fields, name: kept}, metadata.layer))

    def spec(self, name: str, value: Any) -> None:
        self._put("spec", self._with(self._part("spec"), name, value, f"spec.{name}"))

    def spec_item(self, name: str, key: str, value: dict[str, Any]) -> None:
        """An item of a list in spec, in place of those with the same `key`."""
        self._put("spec", self._with_item(self._part("spec"), name, key, value, f"spec.{name}"))

    def base(self, name: str, value: Any) -> None:
        """A field of container `base`."""
        self._change_base(lambda base, path: self._with(base, name, value, f"{path}.{name}"))

    def base_item(self, name: str, key: str, value: dict[str, Any]) -> None:
        """An item of a list of container `base`, in place of those with the same `key`."""
        self._change_base(lambda base, path: self._with_item(base, name, key, value, f"{path}.{name}"))

    def base_without(self, name: str) -> None:
        self._change_base(lambda base, path: self._without(base, name, f"{path}.{name}"))

    def _change_base(self, change: Any) -> None:
        spec = self._part("spec")
        containers = spec.get("containers") or Node([], IDENTITY)
        items = list(containers.items)
        place = next((index for index, item in enumerate(items) if item.text("name") == BASE), None)
        if place is None:
            place = len(items)
            items.append(plant({"name": BASE}, IDENTITY))
        items[place] = change(items[place], f"spec.containers[{place}]")
        self._put("spec", Node({**spec.fields, "containers": Node(items, containers.layer)}, spec.layer))

    def _part(self, name: str) -> Node:
        return self.tree.get(name) or Node({}, IDENTITY)

    def _put(self, name: str, node: Node) -> None:
        self.tree = Node({**self.tree.fields, name: node}, self.tree.layer)

    def _with(self, owner: Node, name: str, value: Any, path: str) -> Node:
        known = owner.get(name)
        if known is not None:
            if plain(known) == value:
                return Node({**owner.fields, name: plant(value, known.layer)}, owner.layer)
            self._report(path, known)
        return Node({**owner.fields, name: plant(value, IDENTITY)}, owner.layer)

    def _without(self, owner: Node, name: str, path: str) -> Node:
        known = owner.get(name)
        if known is None:
            return owner
        self._report(path, known)
        return Node({key: child for key, child in owner.fields.items() if key != name}, owner.layer)

    def _with_item(self, owner: Node, name: str, key: str, value: dict[str, Any], path: str) -> Node:
        known = owner.get(name) or Node([], IDENTITY)
        same = [index for index, item in enumerate(known.items) if item.text(key) == value[key]]
        if len(same) == 1 and plain(known.items[same[0]]) == value:
            return owner
        for index in same:
            self._report(f"{path}[{index}]", known.items[index])
        kept = [item for index, item in enumerate(known.items) if index not in same]
        return Node({**owner.fields, name: Node([*kept, plant(value, IDENTITY)], known.layer)}, owner.layer)

    def _report(self, path: str, known: Node) -> None:
        if known.layer != IDENTITY and known.value not in (None, {}, []):
            self.overruled.append(Layered(path=path, layer=known.layer, wanted=plain(known)))
