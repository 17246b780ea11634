"""What a pod learns from its task's earlier attempts: to avoid nodes that failed it, and to ask for more memory.

Both are preferences with bounds. The nodes are avoided softly, because a task must not starve while the only node that
fits it is one that once failed; memory grows up to a cap, because a leak would ask for any amount.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from execplane.contract.workload import Workload
from execplane.pods.fields import BASE
from execplane.pods.quantities import mebibytes, memory_bytes
from execplane.pods.tree import Node, plain, plant

AVOIDED_NODES = "avoided nodes"
RAISED_MEMORY = "memory after OOM"
"""The layers' names, for provenance."""
HOSTNAME = "kubernetes.io/hostname"

_PREFERRED = ("spec", "affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution")
_HEAVIEST = 100


@dataclass(frozen=True, kw_only=True)
class LessonOptions:
    """How far earlier attempts are listened to."""

    avoid_nodes: int = 3
    """Most nodes to stay away from; 0: none."""
    oom_memory_factor: float = 1.0
    """For each OOM kill; 1: memory stays as it is."""
    oom_memory_cap_bytes: int = 32 << 30


def with_lessons(tree: Node, workload: Workload, options: LessonOptions) -> Node:
    """The merged pod, with what its task's earlier attempts teach. Whatever a layer said of affinity stays."""
    nodes = workload.avoid_nodes[: options.avoid_nodes]
    if nodes:
        tree = _changed(tree, _PREFERRED, lambda known: _and_avoid(known, nodes), AVOIDED_NODES)
    if workload.oom_kills and options.oom_memory_factor > 1:
        factor = options.oom_memory_factor**workload.oom_kills
        tree = _with_memory(tree, factor, options.oom_memory_cap_bytes)
    return tree


def _and_avoid(known: Node | None, nodes: Sequence[str]) -> Node:
    away = {"key": HOSTNAME, "operator": "NotIn", "values": list(nodes)}
    term = {"weight": _HEAVIEST, "preference": {"matchExpressions": [away]}}
    return Node([*(known.items if known is not None else []), plant(term, AVOIDED_NODES)], AVOIDED_NODES)


def _with_memory(tree: Node, factor: float, cap_bytes: int) -> Node:
    def raised(container: Node) -> Node:
        if container.text("name") != BASE:
            return container
        for kind in ("limits", "requests"):
            known = container.get("resources", kind, "memory")
            before = memory_bytes(plain(known)) if known is not None else None
            if before is None:
                continue
            after = min(int(before * factor), cap_bytes)
            if after > before:
                container = _put(container, ("resources", kind, "memory"), Node(mebibytes(after), RAISED_MEMORY))
        return container

    containers = tree.get("spec", "containers")
    if containers is None:
        return tree
    return _put(tree, ("spec", "containers"), Node([raised(each) for each in containers.items], containers.layer))


def _put(node: Node, path: Sequence[str], new: Node) -> Node:
    return _changed(node, path, lambda _: new, new.layer)


def _changed(node: Node | None, path: Sequence[str], change: Callable[[Node | None], Node], layer: str) -> Node:
    """The tree with the node at `path` changed; objects on the way that are missing are `layer`'s."""
    if not path:
        return change(node)
    node = node if node is not None and isinstance(node.value, dict) else Node({}, layer)
    child = _changed(node.get(path[0]), path[1:], change, layer)
    return Node({**node.fields, path[0]: child}, node.layer)
