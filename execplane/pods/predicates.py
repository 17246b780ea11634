"""The cluster scheduler's message, taken apart: how many nodes were left out by which rule.

"0/5 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 4 Insufficient cpu. preemption: …" is the only
place where the scheduler says why. The texts are those of kube-scheduler 1.19 to 1.35; what is unknown is kept whole.

The scheduler filters a node rule by rule and stops at the first that fails. So a node that is counted under a later
rule has passed all earlier ones: the rule that comes last is the nearest to a fit, and is named first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from execplane.contract.pending import Code

_RULES: tuple[tuple[str, Code, str], ...] = (
    (r"node\(s\) were unschedulable", Code.NODES_CORDONED, "{are} cordoned"),
    (r"node\(s\) had unknown conditions", Code.NODES_CORDONED, "{have} unknown conditions"),
    (r"node\(s\) didn't match the requested node name", Code.NODE_NAME, "{have} another name than nodeName demands"),
    ((r"node\(s\) had untolerated taints? (?P<detail>\{.*\})|node\(s\) had taints? (?P<older>\{.*\}), that the pod "
     r"didn't tolerate|node\(s\) had untolerated taint\(s\)|node\(s\) had taints that the pod didn't tolerate"),
     Code.UNTOLERATED_TAINTS, "{have} {taint} that the pod does not tolerate"),
    ((r"node\(s\) didn't match (?:Pod's )?(?:node affinity/selector|node affinity|node selector)|"
     r"node\(s\) didn't match scheduler-enforced node affinity|pod affinity terms conflict"),
     Code.NODE_SELECTOR, "{do} not match the pod's node affinity/selector"),
    (r"node\(s\) didn't have free ports for the requested pod ports", Code.HOST_PORTS, "{have} its hostPorts taken"),
    (r"Too many pods", Code.TOO_MANY_PODS, "{have} no room for another pod"),
    (r"Insufficient (?P<detail>[\w./-]+)", Code.INSUFFICIENT_RESOURCES, "{have} too little free {detail}"),
    ((r"node\(s\) had no available disk|node\(s\) unavailable due to PersistentVolumeClaim with ReadWriteOncePod .*|"
     r"node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"),
     Code.VOLUME_IN_USE, "would do, but the volume is in use by another pod"),
    (r"node\(s\) exceed max volume count", Code.VOLUME_LIMIT, "{have} as many volumes attached as {they} can"),
    (r"node\(s\) didn't find available persistent volumes to bind|node\(s\) did not have enough free storage",
     Code.VOLUME_BINDING, "{have} no PersistentVolume that fits the claim"),
    (r"node\(s\) unavailable due to one or more pvc\(s\) bound to non-existent pv\(s\)", Code.VOLUME_BINDING,
     "{have} no such volume: the claim is bound to a PersistentVolume that does not exist"),
    ((r"node\(s\) had volume node affinity conflict|node\(s\) didn't match PersistentVolume's node affinity|"
     r"node\(s\) had no available volume zone"), Code.VOLUME_NODE, "cannot reach the pod's volume"),
    ((r"cannot allocate all claims|resourceclaim not available on the node|resourceclaim in use|cannot fit resource|"
     r"cannot schedule extended resource claim|resource ?claim .*"), Code.DEVICES,
     "cannot allocate the pod's resource claims"),
    (r"node\(s\) didn't match pod topology spread constraints(?P<detail> \(missing required label\))?",
     Code.TOPOLOGY_SPREAD, "{do} not satisfy topologySpreadConstraints{detail}"),
    (r"node\(s\) didn't match pod affinity rules", Code.POD_AFFINITY, "{have} no pod that podAffinity asks for"),
    (r"node\(s\) didn't match pod anti-affinity rules|node\(s\) didn't match pod affinity/anti-affinity(?: rules)?",
     Code.POD_ANTI_AFFINITY, "{have} a pod that its podAntiAffinity avoids"),
    (r"node\(s\) didn't satisfy existing pods anti-affinity rules", Code.POD_ANTI_AFFINITY,
     "{have} a pod whose anti-affinity avoids this one"),
)  # fmt: skip
"""What is counted by node, in the order of the scheduler's filters; `{are}` and the like follow the number."""

_WHOLE: tuple[tuple[str, Code, str], ...] = (
    (r'persistentvolumeclaim "(?P<detail>[^"]+)" not found', Code.PVC_MISSING,
     "The PersistentVolumeClaim {detail} does not exist"),
    (r'waiting for ephemeral volume controller to create the persistentvolumeclaim "(?P<detail>[^"]+)"',
     Code.PVC_MISSING, "The ephemeral PersistentVolumeClaim {detail} is not made yet"),
    (r'persistentvolumeclaim "(?P<detail>[^"]+)" is being deleted', Code.PVC_DELETING,
     "The PersistentVolumeClaim {detail} is being deleted"),
    (r'persistentvolumeclaim "(?P<detail>[^"]+)" bound to non-existent persistentvolume "[^"]*"', Code.PVC_UNBOUND,
     "The PersistentVolumeClaim {detail} is bound to a volume that does not exist"),
    (r"pod has unbound immediate PersistentVolumeClaims", Code.PVC_UNBOUND,
     "A PersistentVolumeClaim of the pod is not bound to a volume"),
    (r"waiting for the preemption for this pod to be finished", Code.PREEMPTING,
     "Pods of lower priority are being evicted to make room"),
    (r"node\(s\) unavailable due to PersistentVolumeClaim with ReadWriteOncePod .*", Code.VOLUME_IN_USE,
     "A ReadWriteOncePod volume of the pod is in use by another pod"),
    (r"(?:waiting for|Scheduling is blocked due to non-empty) scheduling gates.*", Code.SCHEDULING_GATED,
     "The pod carries scheduling gates"),
    ((r"(?:waiting for resource claim controller|resource ?claim|could not find ResourceClaim|"
     r"pod .* resource ?claim|request .* device class).*"), Code.DEVICES,
     "The pod's resource claims cannot be allocated"),
    (r"no nodes available to schedule pods", Code.NO_NODES, "The cluster has no nodes"),
)  # fmt: skip
"""What is said of the pod as a whole, before any node is looked at."""

_RULE_ORDER = [code for _, code, _ in _RULES]
_WHOLE_ORDER = [code for _, code, _ in _WHOLE]
_RULE_PATTERNS = [(re.compile(pattern), code, words) for pattern, code, words in _RULES]
_WHOLE_PATTERNS = [(re.compile(pattern), code, words) for pattern, code, words in _WHOLE]
_HEAD = re.compile(r"0/(?P<nodes>\d+) nodes are available(?::\s*)?")
_AFTERWARDS = re.compile(r"\.\s+|(?:^|\s)(?=preemption: )")
_NEXT = re.compile(r",\s+(?=\d+ )")
_COUNT = re.compile(r"(?P<nodes>\d+) (?P<text>.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """So many nodes were left out by one rule; `nodes` None: it is said of the pod as a whole.

    `detail`: the resource, the taint, the claim. `text`: the scheduler's own words.
    """

    code: Code
    nodes: int | None
    text: str
    detail: str = ""
    words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerMessage:
    """`nodes`: how many there are; None where the message has another form. `afterwards`: what later steps said (that
    evicting others would not help, as a rule), as it came."""

    nodes: int | None
    counts: tuple[Count, ...]
    afterwards: str = ""
    is_sorted: bool = False
    """Somebody who knows more has put the counts in order."""

    @property
    def first(self) -> Count:
        """The rule nearest to a fit; what concerns the whole pod comes before all nodes."""
        return self.by_nearness()[0]

    def by_nearness(self) -> tuple[Count, ...]:
        return self.counts if self.is_sorted else tuple(sorted(self.counts, key=_nearness))

    def of(self, code: Code) -> tuple[Count, ...]:
        return tuple(one for one in self.counts if one.code is code)


def _nearness(one: Count) -> tuple[bool, int, int]:
    order = _WHOLE_ORDER if one.nodes is None else _RULE_ORDER
    return one.nodes is not None, -order.index(one.code) if one.code in order else 1, -(one.nodes or 0)


def parse(message: str) -> SchedulerMessage:
    """Take the message apart. Every word of it is in some count's `text` or in `afterwards`, but the head's."""
    body, afterwards = message.strip(), ""
    head = _HEAD.match(body)
    nodes = int(head["nodes"]) if head else None
    rest = body[head.end() :] if head else body
    if found := _AFTERWARDS.search(rest):
        rest, afterwards = rest[: found.start()], rest[found.end() :].strip()
    counts = tuple(_counts(rest.removesuffix(".").strip()))
    if nodes == 0 and not counts:
        counts = (Count(code=Code.NO_NODES, nodes=None, text=body, words="The cluster has no nodes"),)
    return SchedulerMessage(
        nodes=nodes,
        counts=counts or (Count(code=Code.UNSCHEDULABLE, nodes=None, text=body),),
        afterwards=afterwards,
    )


def _counts(body: str) -> Iterator[Count]:
    if not body:
        return
    if not _COUNT.match(body):
        yield _whole(body)
        return
    for part in _NEXT.split(body):
        found = _COUNT.fullmatch(part.strip())
        yield _counted(int(found["nodes"]), found["text"]) if found else _whole(part)


def _whole(text: str) -> Count:
    return _known(_WHOLE_PATTERNS, None, text)


def _counted(nodes: int, text: str) -> Count:
    found = _known(_RULE_PATTERNS, nodes, text)
    return found if found.code is not Code.UNSCHEDULABLE else _known(_WHOLE_PATTERNS, nodes, text)


def _known(patterns: list[tuple[re.Pattern[str], Code, str]], nodes: int | None, text: str) -> Count:
    for pattern, code, words in patterns:
        if found := pattern.fullmatch(text.strip().removesuffix(".")):
            details = [value for value in found.groupdict().values() if value]
            return Count(code=code, nodes=nodes, text=text, detail=details[0] if details else "", words=words)
    return Count(code=Code.UNSCHEDULABLE, nodes=nodes, text=text)


def said_last(said: SchedulerMessage, codes: Collection[Code]) -> SchedulerMessage:
    """With these rules at the end: they left out nodes that are not the matter."""
    last = tuple(one for one in said.by_nearness() if one.code in codes)
    first = tuple(one for one in said.by_nearness() if one.code not in codes)
    return replace(said, counts=first + last, is_sorted=True) if first and last else said


def sentence(said: SchedulerMessage, *, taints: str = "") -> str:
    """In one sentence, the nearest rule first. `taints`: their names, where the nodes could be read."""
    whole = [one for one in said.by_nearness() if one.nodes is None]
    if whole:
        one = whole[0]
        if one.words:
            return f"{one.words.format(detail=one.detail)}."
        return f"The scheduler says: {one.text}" if one.text else "The scheduler finds no node and does not say why."
    parts = [_part(one, said.nodes, taints) for one in said.by_nearness()]
    return f"No node fits: {', '.join(parts)}."


def _part(one: Count, of: int | None, taints: str) -> str:
    many = (one.nodes or 0) != 1
    number = f"{one.nodes} of {of}" if of is not None else str(one.nodes)
    if not one.words:
        return f"{number}: {one.text}"
    forms = {
        "are": "are" if many else "is",
        "have": "have" if many else "has",
        "do": "do" if many else "does",
        "they": "they" if many else "it",
        "taint": f"the taint {one.detail or taints}" if one.detail or taints else "taints",
        "detail": one.detail,
    }
    return f"{number} {one.words.format(**forms)}"
