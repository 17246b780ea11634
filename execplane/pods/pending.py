"""Why a pod does not run yet, from one look at it and around it. Pure.

Three witnesses, each knowing what the others do not: the scheduler (before there is a node), the kubelet's container
states, and events (the autoscaler's, the volumes', a pull that is under way). What could not be read is said with the
sentence that it would have made more exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from execplane.contract.categories import Category
from execplane.contract.pending import Code, Reason, Unread
from execplane.pods import predicates
from execplane.pods.fields import BASE
from execplane.pods.node_fit import is_wanted, too_large, untolerated
from execplane.pods.predicates import SchedulerMessage
from execplane.pods.status import Condition, Pod, Status
from execplane.pods.surroundings import Around, Event, Node, claims_of
from execplane.pods.waits import diagnose_wait

READ_NODES = "a ClusterRole with get and list on nodes"
READ_EVENTS = "a Role with list on events in the pod's namespace"
READ_CLAIMS = "a Role with get on persistentvolumeclaims in the pod's namespace"
READ_PODS = "a Role with get on pods in the pod's namespace"
POD, NODES, EVENTS, CLAIMS = "The pod", "Nodes", "Events", "PersistentVolumeClaims"
_RULES = {POD: READ_PODS, NODES: READ_NODES, EVENTS: READ_EVENTS, CLAIMS: READ_CLAIMS}

_OF_CATEGORY = {
    Category.IMAGE_MISSING: Code.IMAGE_MISSING,
    Category.IMAGE_UNAUTHORISED: Code.IMAGE_UNAUTHORISED,
    Category.IMAGE_INVALID: Code.IMAGE_INVALID,
    Category.IMAGE_RATE_LIMITED: Code.IMAGE_RATE_LIMITED,
    Category.IMAGE_PULL: Code.IMAGE_PULL,
    Category.CONFIG: Code.CONFIG,
    Category.SIDECAR: Code.CRASH_LOOP,
    Category.LAUNCH_ERROR: Code.CONTAINER_ERROR,
}
"""A container's wait, as the driver's diagnosis calls it."""

_MISSING_OBJECT = re.compile(r'(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found', re.IGNORECASE)
_IMAGE = re.compile(r'image "(?P<name>[^"]+)"')
_MOST_NAMED = 3


def reasons(around: Around) -> tuple[Reason, ...]:
    """All that holds the pod, unordered; nothing for one whose task's container runs or has run."""
    pod = around.pod
    if pod is None:
        return (Reason(code=Code.POD_GONE, sentence="The API server says that the pod does not exist (any more)."),)
    status = pod.status()
    found: list[Reason] = []
    if pod.metadata.deletion_timestamp is not None:
        found.append(Reason(code=Code.POD_DELETING, sentence=f"Pod {pod.metadata.name} is being deleted."))
    base = next((one for one in status.container_statuses if one.name == BASE), None)
    if base is not None and base.state.running is not None:
        sentence = f"The task's container runs on node {pod.spec.node_name}; its worker has not reported yet."
        return (*found, Reason(code=Code.WORKER_STARTING, sentence=sentence, since=base.state.running.started_at))
    if base is not None and base.state.terminated is not None:
        return tuple(found)
    found += _unscheduled(around, status) if not pod.spec.node_name else _on_a_node(around, pod, status)
    return tuple(found)


# Before there is a node


def _unscheduled(around: Around, status: Status) -> Iterator[Reason]:
    scheduled = next((one for one in status.conditions if one.type == "PodScheduled"), None)
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        yield _gated(around, scheduled)
    elif scheduled is not None and scheduled.reason == "Unschedulable":
        yield from _unschedulable(around, status, scheduled)
    elif scheduled is not None and scheduled.reason:
        sentence = f"The scheduler could not place the pod: {scheduled.reason}."
        yield _reason(Code.UNSCHEDULABLE, sentence, scheduled)
    else:
        who = around.spec.scheduler_name or "default-scheduler"
        yield Reason(code=Code.SCHEDULER_SILENT, sentence=f"The scheduler {who} has not looked at the pod yet.")
    yield from _autoscaler(around)


def _reason(code: Code, sentence: str, condition: Condition, **more: object) -> Reason:
    since, said = condition.last_transition_time, condition.message
    return Reason(code=code, sentence=sentence, since=since, said=said, **more)  # type: ignore[arg-type]


def _gated(around: Around, condition: Condition) -> Reason:
    names = ", ".join(gate.name for gate in around.spec.scheduling_gates)
    sentence = f"The pod may not be scheduled until its scheduling gates are removed{f': {names}' if names else ''}."
    return _reason(Code.SCHEDULING_GATED, sentence, condition)


def _unschedulable(around: Around, status: Status, condition: Condition) -> Iterator[Reason]:
    said = predicates.parse(condition.message)
    wanted = [node for node in around.nodes or () if is_wanted(around.spec, node)]
    if wanted:
        said = predicates.said_last(said, _not_the_matter(around, wanted))
    code = said.first.code
    if code in (Code.PVC_UNBOUND, Code.PVC_MISSING, Code.PVC_DELETING):
        yield _claim(around, said, condition)
        return
    if status.nominated_node_name:
        sentence = f"Pods of lower priority are being evicted from node {status.nominated_node_name} to make room."
        yield _reason(Code.PREEMPTING, sentence, condition)
    size_matters = bool(said.of(Code.INSUFFICIENT_RESOURCES))
    if size_matters and around.nodes is not None and (large := too_large(around.spec, around.nodes)):
        yield _reason(Code.LARGER_THAN_ANY_NODE, large.sentence, condition)
    names_matter = any(not one.detail for one in said.of(Code.UNTOLERATED_TAINTS))
    missing = tuple(one for one in around.unread if one.what == NODES) if size_matters or names_matter else ()
    sentence = predicates.sentence(said, taints=_taints(around, wanted or around.nodes or ()) if names_matter else "")
    yield _reason(code, sentence, condition, unblocks=_unblocks(said, around), unread=missing)


def _not_the_matter(around: Around, wanted: Sequence[Node]) -> set[Code]:
    """Rules that left out none of the nodes which the pod asks for: the scheduler stops at a node's first failing
    rule, so it counts a tainted node that the pod never wanted under its taint."""
    found = {Code.NODE_SELECTOR}
    if not any(untolerated(around.spec, node) for node in wanted):
        found.add(Code.UNTOLERATED_TAINTS)
    if not any(node.spec.unschedulable for node in wanted):
        found.add(Code.NODES_CORDONED)
    return found


def _taints(around: Around, nodes: Sequence[Node]) -> str:
    """The commonest taints that keep the pod out, the scheduler having left their names away."""
    counts = Counter(str(taint) for node in nodes for taint in untolerated(around.spec, node))
    return " or ".join(name for name, _ in counts.most_common(_MOST_NAMED))


def _unblocks(said: SchedulerMessage, around: Around) -> str:
    """What is known better than the catalogue's words."""
    if said.first.code is Code.NODE_SELECTOR and around.spec.node_selector:
        wanted = ", ".join(f"{name}={value}" for name, value in sorted(around.spec.node_selector.items()))
        return f"Label a node with {wanted}, or mend the nodeSelector in template or override."
    if said.first.code is Code.NODES_CORDONED and around.nodes:
        cordoned = [node for node in around.nodes if node.spec.unschedulable]
        named = [node for node in cordoned if is_wanted(around.spec, node)] or cordoned
        return f"Uncordon one: `kubectl uncordon {named[0].metadata.name}`." if named else ""
    return ""


def _claim(around: Around, said: SchedulerMessage, condition: Condition) -> Reason:
    """The claim that the pod waits for, by its name, with what its own events say."""
    code, pod = said.first.code, around.pod
    names = claims_of(pod.metadata.name if pod else "", around.spec)
    missing = tuple(one for one in around.unread if one.what == CLAIMS)
    sentence = predicates.sentence(said)
    if code is not Code.PVC_UNBOUND or around.claims is None:
        if not said.first.detail and names:
            sentence = f"{sentence[:-1]} (it uses {', '.join(names[:_MOST_NAMED])})."
        return _reason(code, sentence, condition, unread=missing)
    for name, claim in around.claims.items():
        if claim is not None and claim.status.phase != "Bound":
            why = _last(one for one in around.claim_events or () if one.involved_object.name == name)
            kind = claim.spec.storage_class_name
            cause = f"its StorageClass is {kind}" if kind else "it has no StorageClass"
            sentence = f"The PersistentVolumeClaim {name} is {claim.status.phase or 'not bound'}: "
            sentence += f"{(why.message if why else cause).rstrip('. ')}."
            return _reason(code, sentence, condition, unread=missing)
    return _reason(code, sentence, condition, unread=missing)


def _autoscaler(around: Around) -> Iterator[Reason]:
    """What the cluster autoscaler (or Karpenter) last said of the pod."""
    found = _last(one for one in around.events or () if one.reason in _AUTOSCALER)
    if found is not None:
        code, words = _AUTOSCALER[found.reason]
        yield Reason(code=code, sentence=f"{words}: {found.message}", since=found.first_at, said=found.message)


_AUTOSCALER = {
    "TriggeredScaleUp": (Code.AUTOSCALER_ADDS_NODES, "The autoscaler is adding nodes"),
    "Nominated": (Code.AUTOSCALER_ADDS_NODES, "A node is being made for the pod"),
    "NotTriggerScaleUp": (Code.AUTOSCALER_CANNOT_HELP, "The autoscaler adds no node"),
    "ScaleDownFailed": (Code.AUTOSCALER_CANNOT_HELP, "The autoscaler is in trouble"),
    "FailedToScaleUpGroup": (Code.AUTOSCALER_CANNOT_HELP, "The autoscaler could not add a node"),
}


# On a node


def _on_a_node(around: Around, pod: Pod, status: Status) -> Iterator[Reason]:
    yield from _node_trouble(around, pod)
    said = diagnose_wait(pod, status)
    if (code := _OF_CATEGORY.get(Category(said.category))) is not None:
        yield Reason(code=code, sentence=said.sentence, unblocks=said.hint, since=_scheduled_at(status))
        return
    yield from _troubles_of_events(around.events or ())
    missing = tuple(one for one in around.unread if one.what == EVENTS)
    init = next((one for one in status.init_container_statuses if one.state.running), None)
    if init is not None and not _restarts(around, init.name):
        since = init.state.running.started_at if init.state.running else None
        sentence = f"Init container {init.name} is running on node {pod.spec.node_name}."
        yield Reason(code=Code.INIT_CONTAINER_RUNNING, sentence=sentence, since=since)
    elif (pull := _pulling(around.events or ())) is not None:
        yield pull
    else:
        sentence = f"Node {pod.spec.node_name} is preparing the pod."
        yield Reason(code=Code.NODE_PREPARING, sentence=sentence, since=_scheduled_at(status), unread=missing)


def _restarts(around: Around, container: str) -> bool:
    """A sidecar written as an init container: its running holds nothing up."""
    return any(one.name == container and one.restart_policy == "Always" for one in around.spec.init_containers)


def _scheduled_at(status: Status) -> datetime | None:
    return next(
        (one.last_transition_time for one in status.conditions if one.type == "PodScheduled" and one.status == "True"),
        None,
    )


def _node_trouble(around: Around, pod: Pod) -> Iterator[Reason]:
    for node in around.nodes or ():
        ready = node.ready
        if node.metadata.name == pod.spec.node_name and ready is not None and ready.status != "True":
            said = ready.message or ready.reason or "it does not answer"
            sentence = f"Node {node.metadata.name} is not ready: {said.rstrip('. ')}."
            yield Reason(code=Code.NODE_NOT_READY, sentence=sentence, since=ready.last_transition_time)


def _troubles_of_events(events: Sequence[Event]) -> Iterator[Reason]:
    """Volumes and the sandbox fail without a container's state saying so; what came since means that it passed."""
    started = _last(one for one in events if one.reason in ("Created", "Started"))
    for wanted, code, words in _TROUBLES:
        found = _last(one for one in events if one.reason in wanted)
        if found is None or (started is not None and _is_later(started, found)):
            continue
        if missing := _MISSING_OBJECT.search(found.message):
            kind = {"secret": "Secret", "configmap": "ConfigMap"}[missing["kind"].lower()]
            sentence = f"A volume of the pod needs the {kind} {missing['name']}, which does not exist."
            yield Reason(code=Code.CONFIG, sentence=sentence, since=found.first_at, said=found.message)
        else:
            sentence = f"{words}: {found.message}"
            yield Reason(code=code, sentence=sentence, since=found.first_at, said=found.message)


_TROUBLES: tuple[tuple[frozenset[str], Code, str], ...] = (
    (frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"}), Code.VOLUME_MOUNT,
     "A volume of the pod cannot be mounted"),
    (frozenset({"FailedCreatePodSandBox", "NetworkNotReady"}), Code.SANDBOX, "The node cannot set up the pod"),
)  # fmt: skip


def _pulling(events: Sequence[Event]) -> Reason | None:
    """The kubelet's states say only "ContainerCreating" while an image comes."""
    pulling = _last(one for one in events if one.reason == "Pulling")
    if pulling is None:
        return None
    done = _last(one for one in events if one.reason in ("Pulled", "Failed"))
    if done is not None and _is_later(done, pulling):
        return None
    image = _IMAGE.search(pulling.message)
    sentence = f"The node is pulling image {image['name'] if image else '(its name was not said)'}."
    return Reason(code=Code.IMAGE_PULLING, sentence=sentence, since=pulling.at)


def _last(events: Iterable[Event]) -> Event | None:
    """The latest one; of equal times the one that came last."""
    best: Event | None = None
    for one in events:
        if best is None or _is_later(one, best):
            best = one
    return best


def _is_later(one: Event, other: Event) -> bool:
    if one.at is None or other.at is None:
        return one.at is not None or other.at is None
    return one.at >= other.at


def unread(what: str, error: str, *, denied: bool) -> Unread:
    """The one place that names what was not read and the right that would allow it."""
    return Unread(what=what, why=error, rule=_RULES[what] if denied else "")
