"""One look at a waiting pod and what stands around it, for whoever asks why it waits.

Only on demand (a page, the command, the API), never in the driver's loop; bounded in requests, time, memory and in how
many look at once, and kept for some seconds, because a page is reloaded and ten people look at the same incident.
What may not be read (403) or does not answer is told, and the rest is read all the same. Reading changes nothing, so a
lost answer costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

import msgspec

from execplane.contract.clock import Clock
from execplane.contract.errors import ConfigError
from execplane.contract.pending import Code, Unread
from execplane.kube.client import Client
from execplane.kube.errors import AccessDenied, KubeError, NotFound
from execplane.kube.surroundings import read_events, read_node
from execplane.pods import predicates
from execplane.pods.pending import CLAIMS, EVENTS, NODES, POD, unread
from execplane.pods.status import Pod, decode_pod
from execplane.pods.surroundings import Around, Claim, Event, Node, PodSpec, Wanted, claims_of, pod_spec

_READ_SECONDS = 3.0
"""Of one request; a look asks at most for the pod, two lists of events, five claims and four pages of nodes."""
_LOOK_SECONDS = 6.0
_KEPT_SECONDS = 3.0
_NODES_KEPT_SECONDS = 15.0
_MOST_KEPT = 200
_MOST_LOOKS = 3
"""At once: an API server that hangs must not take all threads that make pages."""
_MOST_EVENTS = 100
_MOST_CLAIMS = 5
_NODE_PAGE = 500
_MOST_NODE_PAGES = 4

_ASK_NODES = frozenset({Code.INSUFFICIENT_RESOURCES, Code.TOO_MANY_PODS, Code.UNTOLERATED_TAINTS, Code.NODES_CORDONED})
_ASK_CLAIMS = frozenset({Code.PVC_UNBOUND, Code.PVC_MISSING, Code.PVC_DELETING, Code.VOLUME_BINDING})

T = TypeVar("T")


class _Events(msgspec.Struct):
    items: list[Event] = []


class _NodeMeta(msgspec.Struct, rename="camel"):
    continue_: str = msgspec.field(default="", name="continue")


class _Nodes(msgspec.Struct):
    metadata: _NodeMeta = msgspec.field(default_factory=_NodeMeta)
    items: list[Node] = []


_events = msgspec.json.Decoder(_Events)
_nodes = msgspec.json.Decoder(_Nodes)
_node = msgspec.json.Decoder(Node)
_claim = msgspec.json.Decoder(Claim)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    until: float
    around: Around


@dataclass
class Looker:
    """Looks at one cluster's pods. Thread-safe; the client is made at the first look, so that a web server starts
    while the API server is down."""

    make_client: Callable[[], Client]
    clock: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looking: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_MOST_LOOKS))
    _client: Client | None = None
    _kept: dict[tuple[str, str, str], _Kept] = field(default_factory=dict)
    _all_nodes: tuple[float, tuple[Node, ...]] = (float("-inf"), ())

    def look(self, wanted: Wanted) -> Around:
        """The pod as it stands, or as the ledger knows it, with what could not be read."""
        key = (wanted.namespace, wanted.name, wanted.uid)
        now = self.clock.monotonic()
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.until > now:
                return kept.around
        if not self._looking.acquire(blocking=False):
            return _as_known(wanted, unread(POD, "others are asking the API server right now", denied=False))
        try:
            around = self._look(wanted)
        finally:
            self._looking.release()
        with self._lock:
            self._kept = {one: old for one, old in self._kept.items() if old.until > now}
            while len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = _Kept(until=self.clock.monotonic() + _KEPT_SECONDS, around=around)
        return around

    def _look(self, wanted: Wanted) -> Around:
        try:
            client = self._client = self._client or self.make_client()
        except ConfigError as error:
            return _as_known(wanted, unread(POD, error.message.rstrip("."), denied=False))
        return _Look(client, self, wanted).around()

    def nodes(self, client: Client) -> tuple[Node, ...]:
        """All nodes (the first two thousand), read again after some seconds; no lock is held meanwhile."""
        kept_until, found = self._all_nodes
        if self.clock.monotonic() < kept_until:
            return found
        found = tuple(_read_nodes(client))
        self._all_nodes = self.clock.monotonic() + _NODES_KEPT_SECONDS, found
        return found


class _Look:
    """One look: what is asked next depends on what was answered before."""

    def __init__(self, client: Client, looker: Looker, wanted: Wanted) -> None:
        self.client = client
        self.looker = looker
        self.wanted = wanted
        self.unread: list[Unread] = []
        self.until = looker.clock.monotonic() + _LOOK_SECONDS

    def around(self) -> Around:
        try:
            body = self.client.request("GET", self._path("pods", self.wanted.name), timeout_seconds=_READ_SECONDS)
        except NotFound:
            return Around(pod=None, spec=PodSpec(), live=True)
        except KubeError as error:
            return _as_known(self.wanted, _told(POD, error))
        pod, spec = decode_pod(body), pod_spec(body)
        if self.wanted.uid and pod.metadata.uid != self.wanted.uid:
            # Another pod of this name: ours is gone.
            return Around(pod=None, spec=PodSpec(), live=True)
        events = self._try(EVENTS, lambda: self._events_of(pod.metadata.uid))
        claims, claim_events = self._claims(pod, spec)
        nodes = self._nodes(pod)
        return Around(
            pod=pod,
            spec=spec,
            live=True,
            events=events,
            claims=claims,
            claim_events=claim_events,
            nodes=nodes,
            unread=tuple(self.unread),
        )

    def _path(self, kind: str, name: str) -> str:
        namespace = quote(self.wanted.namespace, safe="")
        return f"/api/v1/namespaces/{namespace}/{kind}/{quote(name, safe='')}"

    def _try(self, what: str, read: Callable[[], T]) -> T | None:
        """Read it, or remember why not."""
        if self.looker.clock.monotonic() > self.until:
            self.unread.append(unread(what, "the API server is too slow", denied=False))
            return None
        try:
            return read()
        except KubeError as error:
            self.unread.append(_told(what, error))
        except msgspec.MsgspecError as error:
            self.unread.append(unread(what, f"the answer is not understood: {error}", denied=False))
        return None

    def _events_of(self, uid: str) -> tuple[Event, ...]:
        wanted = {"limit": _MOST_EVENTS, "timeout_seconds": _READ_SECONDS}
        return tuple(_events.decode(read_events(self.client, self.wanted.namespace, uid, **wanted)).items)  # type: ignore[arg-type]

    def _claims(self, pod: Pod, spec: PodSpec) -> tuple[dict[str, Claim | None] | None, tuple[Event, ...] | None]:
        names = claims_of(pod.metadata.name, spec)[:_MOST_CLAIMS]
        if not names or not _said_by_scheduler(pod) & _ASK_CLAIMS:
            return None, None
        found: dict[str, Claim | None] = {}
        for name in names:
            claim = self._try(CLAIMS, lambda name=name: self._read_claim(name))  # type: ignore[misc]
            if claim is None:
                return None, None
            found[name] = claim[0]
        unbound = [name for name, one in found.items() if one is not None and one.status.phase != "Bound"]
        events = self._try(EVENTS, lambda: self._events_of_claim(unbound[0])) if unbound else None
        return found, events

    def _read_claim(self, name: str) -> tuple[Claim | None]:
        """In a tuple, so that a claim that does not exist is told from one that could not be read."""
        try:
            body = self.client.request("GET", self._path("persistentvolumeclaims", name), timeout_seconds=_READ_SECONDS)
        except NotFound:
            return (None,)
        return (_claim.decode(body),)

    def _events_of_claim(self, name: str) -> tuple[Event, ...]:
        selector = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name}"
        query = [("fieldSelector", selector), ("limit", str(_MOST_EVENTS))]
        path = f"/api/v1/namespaces/{quote(self.wanted.namespace, safe='')}/events"
        return tuple(_events.decode(self.client.request("GET", path, query=query, timeout_seconds=_READ_SECONDS)).items)

    def _nodes(self, pod: Pod) -> tuple[Node, ...] | None:
        if name := pod.spec.node_name:
            return self._try(
                NODES, lambda: (_node.decode(read_node(self.client, name, timeout_seconds=_READ_SECONDS)),)
            )
        if _said_by_scheduler(pod) & _ASK_NODES:
            return self._try(NODES, lambda: self.looker.nodes(self.client))
        return None


def _said_by_scheduler(pod: Pod) -> set[Code]:
    for one in pod.status().conditions:
        if one.type == "PodScheduled" and one.reason == "Unschedulable":
            return {count.code for count in predicates.parse(one.message).counts}
    return set()


def _read_nodes(client: Client) -> list[Node]:
    found: list[Node] = []
    token = ""
    for _ in range(_MOST_NODE_PAGES):
        query = [("limit", str(_NODE_PAGE)), *([("continue", token)] if token else [])]
        page = _nodes.decode(client.request("GET", "/api/v1/nodes", query=query, timeout_seconds=_READ_SECONDS))
        found += page.items
        token = page.metadata.continue_
        if not token:
            break
    return found


def _told(what: str, error: KubeError) -> Unread:
    denied = isinstance(error, AccessDenied)
    return unread(what, "403 Forbidden" if denied else error.message.rstrip(". "), denied=denied)


def _as_known(wanted: Wanted, missing: Unread) -> Around:
    """From the ledger: the last status that the watch brought."""
    return Around(pod=decode_pod(wanted.known), spec=pod_spec(wanted.known), live=False, unread=(missing,))
