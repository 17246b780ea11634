"""The few fields of a pod that decide what we say about it, decoded straight from the API server's JSON.

Slim on purpose: decoding into these costs a hundredth of the client library's models. Unknown fields are skipped.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Terminated(msgspec.Struct, rename="camel"):
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Running(msgspec.Struct, rename="camel"):
    started_at: datetime | None = None


class Waiting(msgspec.Struct, rename="camel"):
    reason: str = ""
    message: str = ""


class State(msgspec.Struct, rename="camel"):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, rename="camel"):
    name: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    restart_count: int = 0
    state: State = msgspec.field(default_factory=State)


class Condition(msgspec.Struct, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Status(msgspec.Struct, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    nominated_node_name: str = ""
    """Where others are being evicted to make room for it."""
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []


class Resources(msgspec.Struct, rename="camel"):
    limits: dict[str, Any] | None = None
    requests: dict[str, Any] | None = None


class Container(msgspec.Struct, rename="camel"):
    name: str = ""
    image: str = ""
    restart_policy: str = ""
    resources: Resources = msgspec.field(default_factory=Resources)


class Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    active_deadline_seconds: int | None = None
    termination_grace_period_seconds: int = 30
    containers: list[Container] = []
    init_containers: list[Container] = []


class Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    annotations: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    """When the grace period is over, not when the deletion was asked for."""
    deletion_grace_period_seconds: int = 0


class Pod(msgspec.Struct, rename="camel"):
    """A pod as far as we look at it; `status_json` is its status as the API server wrote it."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)
    status_json: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="status")

    def status(self) -> Status:
        """The status, decoded."""
        return _status.decode(self.status_json)

    def status_dict(self) -> dict[str, Any]:
        """The status, whole, but for NUL characters: a termination message may hold them, no database takes them."""
        status = _plain.decode(self.status_json)
        return _without_nul(status) if b"\\u0000" in bytes(self.status_json) else status


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\x00", "")
        case dict():
            return {name: _without_nul(inner) for name, inner in value.items()}
        case list():
            return [_without_nul(inner) for inner in value]
    return value


_pod = msgspec.json.Decoder(Pod)
_status = msgspec.json.Decoder(Status)
_plain = msgspec.json.Decoder(dict[str, Any])


def decode_pod(data: bytes | msgspec.Raw) -> Pod:
    """A pod from the API server's JSON. The status is copied, so that `data` can be let go."""
    try:
        pod = _pod.decode(data)
        pod.status()
    except msgspec.ValidationError:
        # Go leaves empty fields out; other makers of JSON write null.
        pod = _pod.decode(msgspec.json.encode(_without_nulls(msgspec.json.decode(data))))
    pod.status_json = pod.status_json.copy()
    return pod


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    return [_without_nulls(child) for child in value] if isinstance(value, list) else value
