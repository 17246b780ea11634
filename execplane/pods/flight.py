"""Flight records from what the API server said: pure, bounded, and with the environment's secrets masked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from execplane.contract.flight import Flight, LastLines, NodeCondition, NodeSeen, PodEvent
from execplane.contract.logs import LogRecord
from execplane.contract.observations import Recorded
from execplane.contract.secret_names import is_sensitive
from execplane.pods.fields import BASE
from execplane.pods.observe import observe
from execplane.pods.status import Pod, decode_pod

MOST_CONTAINERS = 20
_MOST_TEXT = 64 * 1024
_MOST_EVENTS = 100
_MOST_MESSAGE = 1000
_MOST_POD_BYTES = 256 * 1024
_MASK = "***"
_PASSWORD_IN_ADDRESS = re.compile(r"(://[^:/@\s]*:)[^@\s]+(@)")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def containers_of(pod: Pod) -> tuple[str, ...]:
    """Those that have something to say: begun at least once. `base` first, the init containers last."""
    status = pod.status()
    begun = [
        one.name
        for one in (*status.container_statuses, *status.init_container_statuses)
        if one.state.running or one.state.terminated or one.restart_count
    ]
    return tuple(sorted(begun, key=lambda name: name != BASE))[:MOST_CONTAINERS]


def last_lines(container: str, output: bytes) -> LastLines:
    """What the kubelet kept, as text; the worker's JSON lines as people read them."""
    text = "\n".join(_readable(line) for line in output.decode("utf-8", errors="replace").split("\n"))
    return LastLines(container=container, text=text[-_MOST_TEXT:], cut=len(text) > _MOST_TEXT)


_record = msgspec.json.Decoder(LogRecord)


def _readable(line: str) -> str:
    if not line.startswith('{"offset":'):
        return line
    try:
        record = _record.decode(line)
    except msgspec.MsgspecError:
        return line
    return f"[{record.at.isoformat(timespec='milliseconds')}] {record.level} - {record.message}"


class _Source(msgspec.Struct):
    component: str = ""


class _Involved(msgspec.Struct, rename="camel"):
    field_path: str = ""


class _Event(msgspec.Struct, rename="camel"):
    involved_object: _Involved = msgspec.field(default_factory=_Involved)
    type: str | None = ""
    reason: str | None = ""
    message: str | None = ""
    count: int | None = 1
    source: _Source = msgspec.field(default_factory=_Source)
    reporting_component: str | None = ""
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None

    @property
    def at(self) -> datetime | None:
        return self.last_timestamp or self.event_time or self.first_timestamp


class _Events(msgspec.Struct):
    items: list[_Event] = []


_events = msgspec.json.Decoder(_Events)


def events_of(answer: bytes) -> tuple[PodEvent, ...]:
    """The newest events of a list, oldest first; those without a time come first."""
    found = sorted(_events.decode(answer).items, key=lambda one: one.at.timestamp() if one.at else 0.0)
    return tuple(
        PodEvent(
            at=one.at,
            type=one.type or "",
            reason=one.reason or "",
            message=(one.message or "")[:_MOST_MESSAGE],
            source=one.source.component or one.reporting_component or "",
            container=_container(one.involved_object.field_path),
            count=one.count or 1,
        )
        for one in found[-_MOST_EVENTS:]
    )


def _container(field_path: str) -> str:
    """ "spec.containers{base}" -> "base"."""
    return field_path.partition("{")[2].rstrip("}")


class _Condition(msgspec.Struct, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str | None = ""
    message: str | None = ""
    last_transition_time: datetime | None = None


class _Taint(msgspec.Struct):
    key: str = ""
    effect: str = ""
    value: str | None = ""


class _NodeSpec(msgspec.Struct):
    taints: list[_Taint] = []
    unschedulable: bool = False


class _NodeInfo(msgspec.Struct, rename="camel"):
    kubelet_version: str = ""


class _NodeStatus(msgspec.Struct, rename="camel"):
    conditions: list[_Condition] = []
    node_info: _NodeInfo = msgspec.field(default_factory=_NodeInfo)


class _Node(msgspec.Struct):
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


_node = msgspec.json.Decoder(_Node)


def node_of(name: str, answer: bytes) -> NodeSeen:
    found = _node.decode(answer)
    return NodeSeen(
        name=name,
        conditions=tuple(
            NodeCondition(
                type=one.type,
                status=one.status,
                reason=one.reason or "",
                message=(one.message or "")[:_MOST_MESSAGE],
                since=one.last_transition_time,
            )
            for one in found.status.conditions
        ),
        taints=tuple(f"{one.key}{f'={one.value}' if one.value else ''}:{one.effect}" for one in found.spec.taints),
        unschedulable=found.spec.unschedulable,
        kubelet=found.status.node_info.kubelet_version,
    )


def keepable(whole: bytes) -> tuple[dict[str, Any], str]:
    """The pod without what says nothing about it, secrets masked; and what was left out because it is too large."""
    pod: dict[str, Any] = msgspec.json.decode(whole)
    metadata = {name: value for name, value in (pod.get("metadata") or {}).items() if name != "managedFields"}
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if name != _LAST_APPLIED}
    spec = masked(pod.get("spec") or {})
    kept = {**pod, "metadata": {**metadata, "annotations": annotations}, "spec": spec}
    if len(msgspec.json.encode(kept)) <= _MOST_POD_BYTES:
        return kept, ""
    del kept["spec"]
    said = "The pod's spec is too large to be kept; what was sent is on the pod's page."
    if len(msgspec.json.encode(kept)) > _MOST_POD_BYTES:
        return {"status": {"phase": (pod.get("status") or {}).get("phase", "")}}, said
    return kept, said


def masked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with `***` for environment values that a name calls secret, and for passwords in addresses there and in
    commands."""
    found = dict(spec)
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        if isinstance(spec.get(kind), list):
            found[kind] = [_without_secrets(one) if isinstance(one, dict) else one for one in spec[kind]]
    return found


def _without_secrets(container: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(container)
    for part in ("command", "args"):
        if isinstance(words := container.get(part), list):
            found[part] = [_without_password(one) if isinstance(one, str) else one for one in words]
    if isinstance(env := container.get("env"), list):
        found["env"] = [_without_secret(one) if isinstance(one, dict) else one for one in env]
    return found


def _without_password(text: str) -> str:
    return _PASSWORD_IN_ADDRESS.sub(rf"\1{_MASK}\2", text)


def _without_secret(entry: Mapping[str, Any]) -> dict[str, Any]:
    value = entry.get("value")
    if not isinstance(value, str) or not value:
        return dict(entry)
    name = str(entry.get("name", ""))
    # A Connection as JSON has its password anywhere.
    secret = is_sensitive(name) or name.upper().startswith("AIRFLOW_CONN_")
    return {**entry, "value": _MASK if secret else _without_password(value)}


def pulled_at(events: Iterable[PodEvent]) -> datetime | None:
    """When the image of `base` was on the node; it may have been there before."""
    return next((one.at for one in events if one.reason == "Pulled" and one.container == BASE), None)


def recorded(flight: Flight, body: bytes, whole: bytes, events: Sequence[PodEvent]) -> Recorded:
    """The fact for the driver, with the times that became known on the way."""
    seen = observe(decode_pod(whole)) if whole else None
    return Recorded(
        attempt_id=flight.attempt_id,
        at=flight.captured_at,
        body=body,
        node=seen.node if seen else "",
        image_digest=seen.image_digest if seen else "",
        scheduled_at=seen.scheduled_at if seen else None,
        initialized_at=seen.initialized_at if seen else None,
        pulled_at=pulled_at(events),
        started_at=seen.started_at if seen else None,
    )
