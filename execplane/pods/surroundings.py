"""What stands around a waiting pod, in the few fields that say why it waits: its events, claims and the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from execplane.contract.pending import Unread
from execplane.pods.status import Pod


class _ObjectMeta(msgspec.Struct, rename="camel"):
    name: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class _Reference(msgspec.Struct, rename="camel"):
    kind: str = ""
    name: str = ""
    uid: str = ""


class _Series(msgspec.Struct, rename="camel"):
    count: int = 0
    last_observed_time: datetime | None = None


class _Reporter(msgspec.Struct, rename="camel"):
    component: str = ""


class Event(msgspec.Struct, rename="camel"):
    """A core/v1 Event; old and new reporters fill different times."""

    metadata: _ObjectMeta = msgspec.field(default_factory=_ObjectMeta)
    involved_object: _Reference = msgspec.field(default_factory=_Reference)
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: _Series | None = None
    source: _Reporter = msgspec.field(default_factory=_Reporter)
    reporting_component: str = ""

    @property
    def first_at(self) -> datetime | None:
        return self.first_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def at(self) -> datetime | None:
        """When it was last seen."""
        series = self.series.last_observed_time if self.series else None
        return series or self.last_timestamp or self.first_at


class _ClaimSpec(msgspec.Struct, rename="camel"):
    storage_class_name: str | None = None
    volume_name: str = ""
    access_modes: list[str] = []


class _ClaimStatus(msgspec.Struct, rename="camel"):
    phase: str = ""


class Claim(msgspec.Struct, rename="camel"):
    """A PersistentVolumeClaim."""

    metadata: _ObjectMeta = msgspec.field(default_factory=_ObjectMeta)
    spec: _ClaimSpec = msgspec.field(default_factory=_ClaimSpec)
    status: _ClaimStatus = msgspec.field(default_factory=_ClaimStatus)


class Taint(msgspec.Struct, rename="camel"):
    key: str = ""
    value: str = ""
    effect: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


class _NodeSpec(msgspec.Struct, rename="camel"):
    taints: list[Taint] = []
    unschedulable: bool = False


class _NodeCondition(msgspec.Struct, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class _NodeStatus(msgspec.Struct, rename="camel"):
    allocatable: dict[str, Any] = {}
    conditions: list[_NodeCondition] = []


class Node(msgspec.Struct, rename="camel"):
    metadata: _ObjectMeta = msgspec.field(default_factory=_ObjectMeta)
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)

    @property
    def ready(self) -> _NodeCondition | None:
        return next((one for one in self.status.conditions if one.type == "Ready"), None)


class Toleration(msgspec.Struct, rename="camel"):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class _Source(msgspec.Struct, rename="camel"):
    claim_name: str = ""


class _Volume(msgspec.Struct, rename="camel"):
    name: str = ""
    persistent_volume_claim: _Source | None = None
    ephemeral: dict[str, Any] | None = None


class _Asked(msgspec.Struct, rename="camel"):
    requests: dict[str, Any] | None = None


class PodContainer(msgspec.Struct, rename="camel"):
    name: str = ""
    image: str = ""
    restart_policy: str = ""
    resources: _Asked = msgspec.field(default_factory=_Asked)


class PodSpec(msgspec.Struct, rename="camel"):
    """What the scheduler looks at."""

    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] | None = None
    tolerations: list[Toleration] = []
    scheduler_name: str = ""
    scheduling_gates: list[_ObjectMeta] = []
    volumes: list[_Volume] = []
    containers: list[PodContainer] = []
    init_containers: list[PodContainer] = []
    overhead: dict[str, Any] = {}
    resources: _Asked | None = None


class _Whole(msgspec.Struct, rename="camel"):
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


_whole = msgspec.json.Decoder(_Whole)


def pod_spec(data: bytes | msgspec.Raw) -> PodSpec:
    """A pod's spec from its JSON; an empty one where it cannot be read that way."""
    try:
        return _whole.decode(data).spec
    except (msgspec.ValidationError, msgspec.DecodeError):
        return PodSpec()


def claims_of(pod_name: str, spec: PodSpec) -> tuple[str, ...]:
    """The names of the PersistentVolumeClaims that the pod uses, generic ephemeral volumes included."""
    named = [volume.persistent_volume_claim.claim_name for volume in spec.volumes if volume.persistent_volume_claim]
    made = [f"{pod_name}-{volume.name}" for volume in spec.volumes if volume.ephemeral is not None]
    return tuple(dict.fromkeys(named + made))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pod to look at. `uid` "": not known yet. `known`: its JSON as the ledger has it, shown where the API
    server does not answer."""

    namespace: str
    name: str
    uid: str
    known: bytes


@dataclass(frozen=True, kw_only=True)
class Around:
    """One look. None where it was not read; `unread` says why, where it was wanted.

    pod None: the API server says that there is no such pod. claims: None for a claim that does not exist.
    """

    pod: Pod | None
    spec: PodSpec
    live: bool
    """False: the pod as the ledger knows it, not as it stands now."""
    events: tuple[Event, ...] | None = None
    claims: Mapping[str, Claim | None] | None = None
    claim_events: tuple[Event, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    """All of them; the pod's own alone once it has one."""
    unread: tuple[Unread, ...] = ()
