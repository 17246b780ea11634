"""Whether a pod could fit any node at all, were they empty: what it asks for against what the nodes offer.

Only what a node has in all is compared; what other pods leave of it would take a list of all pods of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from execplane.pods.quantities import amount, shown
from execplane.pods.surroundings import Node, PodContainer, PodSpec, Taint

_KEEPS_OUT = ("NoSchedule", "NoExecute")


def asked(spec: PodSpec) -> dict[str, Decimal]:
    """What the scheduler counts for the pod: its containers together, or its largest init container if that is more;
    sidecars (init containers that restart) count on both sides. `spec.resources` overrules, `overhead` comes on top."""
    steady: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    sidecars: dict[str, Decimal] = {}
    for one in spec.init_containers:
        own = _requests(one)
        if one.restart_policy == "Always":
            sidecars = _sum(sidecars, own)
            own = {}
        peak = _most(peak, _sum(sidecars, own))
    for one in spec.containers:
        steady = _sum(steady, _requests(one))
    found = _most(_sum(steady, sidecars), peak)
    if spec.resources is not None:
        found.update(_amounts(spec.resources.requests))
    return {name: number for name, number in _sum(found, _amounts(spec.overhead)).items() if number > 0}


def _requests(container: PodContainer) -> dict[str, Decimal]:
    return _amounts(container.resources.requests)


def _amounts(given: Mapping[str, Any] | None) -> dict[str, Decimal]:
    found = {name: amount(value) for name, value in (given or {}).items()}
    return {name: number for name, number in found.items() if number is not None}


def _sum(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: one.get(name, Decimal()) + other.get(name, Decimal()) for name in {**one, **other}}


def _most(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal()), other.get(name, Decimal())) for name in {**one, **other}}


@dataclass(frozen=True, kw_only=True, slots=True)
class TooLarge:
    """No node that the pod may use has `asked` of the resource. resource "": each is there somewhere, all at once
    nowhere."""

    resource: str
    asked: Decimal
    largest: Decimal
    node: str

    @property
    def sentence(self) -> str:
        if not self.resource:
            return "No node has all that the pod asks for at once, even when empty."
        most = f"the largest, {self.node}, has {shown(self.resource, self.largest)}" if self.largest else "none has any"
        return f"The pod asks for {shown(self.resource, self.asked)}, and no node it may use is that large: {most}."


def too_large(spec: PodSpec, nodes: Sequence[Node]) -> TooLarge | None:
    """What rules out every node that the pod may use, however empty; None when one would do, or when there is none
    that it may use (then its size is not the matter)."""
    usable = [node for node in nodes if may_use(spec, node)]
    wanted = asked(spec)
    if not usable or any(_has(node, wanted) for node in usable):
        return None
    for name, number in sorted(wanted.items()):
        best = max(usable, key=lambda node: _offers(node, name))
        if _offers(best, name) < number:
            return TooLarge(resource=name, asked=number, largest=_offers(best, name), node=best.metadata.name)
    return TooLarge(resource="", asked=Decimal(), largest=Decimal(), node="")


def _has(node: Node, wanted: Mapping[str, Decimal]) -> bool:
    return all(_offers(node, name) >= number for name, number in wanted.items())


def _offers(node: Node, resource: str) -> Decimal:
    return amount(node.status.allocatable.get(resource, 0)) or Decimal()


def may_use(spec: PodSpec, node: Node) -> bool:
    """Whether taints, nodeName, nodeSelector and required node affinity let the pod onto the node. A cordon does not
    count: it says nothing about size."""
    return not untolerated(spec, node) and is_wanted(spec, node)


def is_wanted(spec: PodSpec, node: Node) -> bool:
    """Whether nodeName, nodeSelector and required node affinity name the node, whatever its taints."""
    if spec.node_name and spec.node_name != node.metadata.name:
        return False
    return spec.node_selector.items() <= node.metadata.labels.items() and _affinity_allows(spec, node)


def untolerated(spec: PodSpec, node: Node) -> list[Taint]:
    """The node's taints that keep the pod out, the cordon's left out."""
    return [
        taint
        for taint in node.spec.taints
        if taint.effect in _KEEPS_OUT
        and taint.key != "node.kubernetes.io/unschedulable"
        and not any(
            (not one.key or one.key == taint.key)
            and (not one.effect or one.effect == taint.effect)
            and (one.operator == "Exists" or (one.key == taint.key and one.value == taint.value))
            for one in spec.tolerations
        )
    ]


def _affinity_allows(spec: PodSpec, node: Node) -> bool:
    rules = (spec.affinity or {}).get("nodeAffinity") or {}
    required = rules.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    fields = {"metadata.name": node.metadata.name}
    return any(
        _all_match(term.get("matchExpressions") or (), node.metadata.labels)
        and _all_match(term.get("matchFields") or (), fields)
        for term in required.get("nodeSelectorTerms") or ()
    )


def _all_match(expressions: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    return all(
        _matches(str(one.get("operator")), labels.get(str(one.get("key"))), one.get("values") or ())
        for one in expressions
    )


def _matches(operator: str, value: str | None, values: Sequence[str]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            mine, bound = amount(value), amount(values[0] if values else None)
            return mine is not None and bound is not None and (mine > bound if operator == "Gt" else mine < bound)
    return True
