"""What is kept of a pod once it is gone: its flight record, as it is captured, stored and shown."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

import msgspec

MOST_LINES = 200
"""The last lines kept of each container."""


class LastLines(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one container's output."""

    container: str
    text: str = ""
    cut: bool = False
    """There was more than is kept of these lines."""
    unread: str = ""
    """Why there is none: what the API server said."""


class PodEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One Kubernetes event of the pod."""

    at: datetime | None = None
    """When it was seen last, by the clock of whoever reported it."""
    type: str = ""
    """"Normal" | "Warning"."""
    reason: str = ""
    message: str = ""
    source: str = ""
    container: str = ""
    """Which of its containers it is about; "" for the pod."""
    count: int = 1


class NodeCondition(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: datetime | None = None


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The pod's node when the record was made."""

    name: str
    conditions: tuple[NodeCondition, ...] = ()
    taints: tuple[str, ...] = ()
    unschedulable: bool = False
    kubelet: str = ""


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """A flight record. What could not be read is named in `unread`: an empty list of events may mean either."""

    attempt_id: int
    captured_at: datetime
    namespace: str
    pod_name: str
    uid: str
    pod: dict[str, Any] = {}
    """The pod as last seen, secrets in its environment masked. Only its `status` where nothing more was seen."""
    lines: tuple[LastLines, ...] = ()
    events: tuple[PodEvent, ...] = ()
    node: NodeSeen | None = None
    unread: tuple[str, ...] = ()
    """Sentences."""


def pack(flight: Flight) -> bytes:
    """Compressed from the start: while the database is away, thousands may wait to be stored."""
    return zlib.compress(msgspec.json.encode(flight))


def unpack(data: bytes) -> Flight:
    """Raises ValueError for what is no record."""
    try:
        return msgspec.json.decode(zlib.decompress(data), type=Flight)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"not a flight record: {error}") from error


def plain(flight: Flight) -> dict[str, Any]:
    """Every field, as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(flight)
    return found
