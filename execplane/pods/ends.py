"""Why a pod's attempt ended: a status becomes one category and one sentence.

Order matters: what happened to the whole pod (evicted, preempted, node lost) explains an exit code 137 better than
the exit code does.
"""

from __future__ import annotations

import re
import signal
from datetime import timedelta
from typing import Any

import msgspec

from execplane.contract import categories
from execplane.contract.categories import MEANING, Category
from execplane.contract.observations import Diagnosis
from execplane.contract.process import ExitCode
from execplane.pods.fields import BASE
from execplane.pods.stamp import BASE_ENDED
from execplane.pods.status import Condition, Pod, Resources, Spec, Status, Terminated

_SIGNALLED = 128
_LAST_DELETE = 5
"""Seconds that the kubelet may take from a container's end to the pod's removal."""


def diagnose_end(pod: Pod, status: Status) -> Diagnosis:
    """The end of a pod whose `base` has terminated, or whose phase is final."""
    base = next((found for found in status.container_statuses if found.name == BASE), None)
    ended = base.state.terminated if base else None
    if ended is not None and ended.exit_code == 0 and ended.reason != "ContainerStatusUnknown":
        return diagnosis(Category.SUCCEEDED, "The container ended with exit code 0.", exit_code=0)
    own_end = ended is not None and BASE_ENDED in pod.metadata.annotations
    return (
        (None if own_end else _removed(pod, status))
        or _init_failure(pod, status)
        or (_terminated(pod, ended) if ended is not None else None)
        or _other_container(pod, status)
        or _said_by_pod(status)
    )


def diagnose_removal(status: dict[str, Any], node: str) -> Diagnosis | None:
    """What a status says that happened to the whole pod (drained, preempted, evicted …), while its container may still
    be ending."""
    pod = Pod(spec=Spec(node_name=node), status_json=msgspec.Raw(msgspec.json.encode(status)))
    return _removed(pod, pod.status())


def diagnose_deletion(pod: Pod, status: Status) -> Diagnosis:
    """The end of a pod that was deleted before its `base` was seen to end."""
    removed = _removed(pod, status)
    if removed is not None:
        return removed
    where = f" on node {pod.spec.node_name}" if pod.spec.node_name else ""
    seen = f"it was {status.phase or 'Pending'}{where}"
    return diagnosis(Category.DELETED, f"Pod {pod.metadata.name} was deleted while {seen}.")


def diagnosis(
    category: Category,
    sentence: str,
    *,
    hint: str = "",
    exit_code: int | None = None,
    infrastructure: bool | None = None,
    data: dict[str, Any] | None = None,
) -> Diagnosis:
    """A Diagnosis with the category's hint and blame, unless said otherwise."""
    return Diagnosis(
        category=category.value,
        sentence=sentence,
        hint=hint or MEANING[category].hint,
        exit_code=exit_code,
        infrastructure=categories.infrastructure(category) if infrastructure is None else infrastructure,
        data=data or {},
    )


def _removed(pod: Pod, status: Status) -> Diagnosis | None:
    """Something happened to the pod as a whole."""
    node = pod.spec.node_name or "its node"
    disruption = _condition(status, "DisruptionTarget")
    found = _said_of_pod(pod, node, status) or (_disrupted(node, disruption) if disruption else None)
    if found is None:
        return None
    reason = status.reason or (disruption.reason if disruption else "")
    return msgspec.structs.replace(found, data={"reason": reason, **found.data})


def _said_of_pod(pod: Pod, node: str, status: Status) -> Diagnosis | None:
    match status.reason:
        case "Evicted":
            return _evicted(pod, status.message)
        case "Preempting" | "Preempted":
            return diagnosis(Category.PREEMPTED, f"Preempted on {node}: {status.message}")
        case "DeadlineExceeded":
            return diagnosis(Category.DEADLINE, f"The pod ran longer than {_deadline(pod)}.")
        case "NodeLost":
            return diagnosis(Category.NODE_LOST, f"Node {node} stopped answering.")
        case "NodeShutdown" | "Shutdown" | "Terminated":
            return diagnosis(Category.DRAINED, f"Node {node} was shut down: {status.message}")
        case "NodeAffinity" | "UnexpectedAdmissionError":
            return _rejected_by_node(node, status)
        case reason if reason.startswith("OutOf"):
            return _rejected_by_node(node, status)
        case _:
            return None


def _rejected_by_node(node: str, status: Status) -> Diagnosis:
    return diagnosis(
        Category.LAUNCH_ERROR,
        f"Node {node} refused the pod ({status.reason}): {status.message}",
        infrastructure=True,
    )


def _disrupted(node: str, condition: Condition) -> Diagnosis:
    said = f": {condition.message}" if condition.message else "."
    match condition.reason:
        case "PreemptionByScheduler":
            return diagnosis(Category.PREEMPTED, f"Preempted on {node}{said}")
        case "DeletionByPodGC":
            return diagnosis(Category.NODE_LOST, f"Node {node} is gone{said}")
        case "DeletionByTaintManager":
            return diagnosis(Category.NODE_LOST, f"Removed from {node} by a NoExecute taint{said}")
        case "EvictionByEvictionAPI":
            return diagnosis(Category.DRAINED, f"Evicted from {node} through the eviction API (a drain){said}")
        case "TerminationByKubelet":
            return diagnosis(Category.EVICTED, f"The kubelet of {node} ended the pod{said}")
        case reason:
            return diagnosis(Category.UNKNOWN, f"Disrupted on {node} ({reason}){said}", infrastructure=True)


def _deadline(pod: Pod) -> str:
    seconds = pod.spec.active_deadline_seconds
    return "its activeDeadlineSeconds" + (f" of {seconds}" if seconds is not None else "")


_PRESSURE = re.compile(r"low on resource: ([a-z.-]+)")
_OWN_LIMIT = re.compile(r"exceeded its local ephemeral storage limit|exceeds the (total )?limit", re.IGNORECASE)
_ABOVE = re.compile(r"Container (\S+) was using (\S+), request is ([^,. ]+)(, has larger consumption)?")


def _evicted(pod: Pod, message: str) -> Diagnosis:
    """An eviction is the author's only where a container used more than it had asked for, or than its own limit."""
    if _OWN_LIMIT.search(message):
        return diagnosis(
            Category.EVICTED,
            f"The kubelet of {pod.spec.node_name or '?'} evicted the pod for using more than it may: {message.strip()}",
            hint="Raise the limit that the sentence names, or let the task write less.",
            infrastructure=False,
            data={"resource": "ephemeral-storage", "node": pod.spec.node_name, "above_limit": True},
        )
    pressure = _PRESSURE.search(message)
    resource = pressure.group(1).strip(".") if pressure else ""
    above = _ABOVE.search(message)
    data: dict[str, Any] = {"resource": resource, "node": pod.spec.node_name}
    own = False
    if above:
        data |= {"container": above.group(1), "used": above.group(2), "request": above.group(3)}
        own = above.group(4) is not None
        data["above_request"] = own
    what = f"ran short of {resource}" if resource else "ran short of a resource"
    sentence = f"Node {pod.spec.node_name or '?'} {what} and evicted the pod: {message}"
    hint = f"Request as much {resource or 'of it'} as the task uses." if own else ""
    return diagnosis(Category.EVICTED, sentence, hint=hint, infrastructure=not own, data=data)


def _init_failure(pod: Pod, status: Status) -> Diagnosis | None:
    for found in status.init_container_statuses:
        ended = found.state.terminated
        if ended is None or ended.exit_code == 0 or _is_sidecar(pod, found.name):
            continue
        if ended.reason == "OOMKilled":
            return _oom(pod, found.name, ended)
        said = f": {_last_line(ended.message)}" if ended.message else "."
        return diagnosis(
            Category.INIT_CONTAINER,
            f"Init container {found.name} failed with exit code {ended.exit_code}{said}",
            hint=f"kubectl logs {pod.metadata.name} -c {found.name}",
            exit_code=ended.exit_code,
            data={"container": found.name, "reason": ended.reason},
        )
    return None


def _terminated(pod: Pod, ended: Terminated) -> Diagnosis | None:
    """`base` ended by itself, with something else than 0."""
    code = ended.exit_code
    if ended.reason == "OOMKilled":
        return _oom(pod, BASE, ended)
    if ended.reason == "ContainerStatusUnknown":
        return diagnosis(
            Category.NODE_LOST, f"Node {pod.spec.node_name or '?'} lost track of the container.", exit_code=code
        )
    if ended.reason in ("StartError", "ContainerCannotRun", "RunContainerError"):
        return diagnosis(
            Category.LAUNCH_ERROR,
            f"The container could not be started: {_last_line(ended.message) or ended.reason}",
            hint="Check command and args of the container, and that the image has them.",
            exit_code=code,
            data={"reason": ended.reason},
        )
    if _ended_by_deletion(pod, ended):
        return diagnosis(
            Category.DELETED,
            f"Pod {pod.metadata.name} was deleted; its container ended with exit code {code}.",
            exit_code=code,
        )
    if ended.signal or code > _SIGNALLED:
        return _signalled(ended)
    return _exit_code(code, ended)


def _exit_code(code: int, ended: Terminated) -> Diagnosis:
    match code:
        case ExitCode.NO_CLAIM:
            sentence = "The worker could not reach execplane's API to claim the attempt; nothing ran."
            return diagnosis(Category.NO_CLAIM, sentence, exit_code=code)
        case ExitCode.REFUSED:
            sentence = "The worker's claim was refused, or the attempt was taken away."
            return diagnosis(Category.REFUSED, sentence, exit_code=code)
        case ExitCode.UNREPORTED:
            sentence = "The task ran, and its end could not be reported; its last words in the pod are not readable."
            return diagnosis(Category.UNREPORTED, sentence, exit_code=code)
        case _:
            return diagnosis(
                Category.USER_CODE,
                f"The container ended with exit code {code}.",
                exit_code=code,
                data={"reason": ended.reason},
            )


def _ended_by_deletion(pod: Pod, ended: Terminated) -> bool:
    """The container ended after the deletion was asked for: by the signal, or orderly because of it."""
    deadline = pod.metadata.deletion_timestamp
    if deadline is None:
        return False
    # The kubelet's last delete, once all has ended, sets the grace to 0 and the time anew: then the pod's own grace is
    # what is known of when it was asked for.
    grace = pod.metadata.deletion_grace_period_seconds or pod.spec.termination_grace_period_seconds + _LAST_DELETE
    asked = deadline - timedelta(seconds=grace)
    return ended.finished_at is None or ended.finished_at >= asked


_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM})
"""The kernel lets nothing inside a container kill its first process, which is the worker; to SIGTERM it reports."""


def _signalled(ended: Terminated) -> Diagnosis:
    number = ended.signal or ended.exit_code - _SIGNALLED
    name = _signal_name(number)
    outside = number in _FROM_OUTSIDE
    hint = "It came from the node: look there for what kills, such as its own shortage of memory." if outside else ""
    return diagnosis(
        Category.SIGNAL,
        f"The container was ended by {name} (exit code {ended.exit_code}).",
        hint=hint,
        exit_code=ended.exit_code,
        infrastructure=outside,
        data={"signal": number, "reason": ended.reason},
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _oom(pod: Pod, name: str, ended: Terminated) -> Diagnosis:
    containers = [*pod.spec.init_containers, *pod.spec.containers]
    resources = next((found.resources for found in containers if found.name == name), Resources())
    limit = (resources.limits or {}).get("memory")
    bound = f"its memory limit of {limit}" if limit else "the memory that its node has (it has no limit)"
    return diagnosis(
        Category.OOM_KILLED,
        f"Container {name} needed more than {bound} and was OOM-killed.",
        hint="Raise resources.limits.memory, or make the task need less.",
        exit_code=ended.exit_code,
        data={"container": name, "limit": str(limit) if limit else None, "reason": ended.reason},
    )


def _other_container(pod: Pod, status: Status) -> Diagnosis | None:
    """`base` says nothing, and another container failed."""
    every = [*status.container_statuses, *status.init_container_statuses]
    for found in every:
        ended = found.state.terminated
        if found.name == BASE or ended is None or ended.exit_code == 0:
            continue
        if ended.reason == "OOMKilled":
            return _oom(pod, found.name, ended)
        return diagnosis(
            Category.SIDECAR,
            f"Container {found.name} failed with exit code {ended.exit_code}, and {BASE} never ran.",
            exit_code=ended.exit_code,
            data={"container": found.name, "reason": ended.reason},
        )
    return None


def _said_by_pod(status: Status) -> Diagnosis:
    said = ": ".join(part for part in (status.reason, status.message) if part)
    if status.phase == "Succeeded":
        return diagnosis(Category.UNKNOWN, f"The pod succeeded, and no status of {BASE} is left.")
    return diagnosis(
        Category.UNKNOWN,
        f"The pod failed: {said}" if said else "The pod failed, and its status does not say why.",
    )


def _is_sidecar(pod: Pod, name: str) -> bool:
    """An init container that is meant to go on running."""
    return any(found.name == name and found.restart_policy == "Always" for found in pod.spec.init_containers)


def _condition(status: Status, kind: str) -> Condition | None:
    return next((found for found in status.conditions if found.type == kind and found.status == "True"), None)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
