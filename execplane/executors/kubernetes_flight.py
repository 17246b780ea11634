"""The flight recorder: what is kept of a pod is read once its end is seen, beside everything else.

It delays nobody: the end was reported before, the queue is bounded, each call and each record has a time limit, and
only our own delete of the pod waits a moment for it. Nothing in the cluster waits for it either: there is no finalizer.
A pod that somebody else deleted, or whose node died, is recorded as the watch saw it last.

External calls and lost answers: it only reads. A record that is lost with its process is made again by the next one
while the pod is there, because an attempt that is not cleaned up is adopted; the ledger keeps the first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.contract.flight import MOST_LINES, Flight, LastLines, NodeSeen, PodEvent, pack
from execplane.contract.observations import Recorded
from execplane.executors.kubernetes_entries import LastSight
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.client import Client, pod_path
from execplane.kube.errors import AccessDenied, BadRequest, KubeError, NotFound
from execplane.kube.log import read_log
from execplane.kube.surroundings import read_events, read_node
from execplane.pods import flight as flights
from execplane.pods.status import decode_pod

logger = logging.getLogger(__name__)

T = TypeVar("T")
_MOST_WAITING = 1000
_CALL_SECONDS = 5.0
_RECORD_SECONDS = 10.0
"""After this no further call is begun for a record."""
_MOST_LOG_BYTES = 4 << 20
"""The kubelet counts from the first of the lines, so it must be more than is kept."""
_MOST_EVENTS = 500
_NODE_SECONDS = 10.0
_MOST_NODES = 200


class FlightRecorder:
    """Makes flight records in a few threads of its own. Thread-safe."""

    def __init__(
        self,
        client: Client,
        options: KubernetesOptions,
        clock: Clock,
        *,
        report: Callable[[Recorded], None],
        done: Callable[[int], None],
    ) -> None:
        """`done` is told each attempt whose record is made, or cannot be."""
        self._client = client
        self._options = options
        self._clock = clock
        self._report = report
        self._done = done
        self._lock = threading.Lock()
        self._waiting: set[int] = set()
        self._nodes: dict[str, tuple[float, NodeSeen | KubeError]] = {}
        self._threads = ThreadPoolExecutor(options.flight_record_threads, thread_name_prefix="kube-flight")

    def capture(self, sight: LastSight) -> None:
        """Queue it. Never blocks and calls nobody: it is called under the tracker's lock."""
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                metrics.current().count("execplane_flight_records_total", result="dropped")
                return
            if sight.attempt_id in self._waiting:
                return
            self._waiting.add(sight.attempt_id)
        try:
            self._threads.submit(self._run, sight)
        except RuntimeError:
            # Closed: the next process makes it.
            with self._lock:
                self._waiting.discard(sight.attempt_id)

    def under_way(self, attempt_id: int) -> bool:
        """Whether the pod is still wanted for its record."""
        with self._lock:
            return attempt_id in self._waiting

    def close(self) -> None:
        """Begin no more; one under way ends by itself within its time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, sight: LastSight) -> None:
        try:
            self._report(self.make(sight))
            result = "made"
        except Exception:
            logger.exception("flight record of %s/%s", sight.namespace, sight.name)
            result = "failed"
        finally:
            with self._lock:
                self._waiting.discard(sight.attempt_id)
            self._done(sight.attempt_id)
        metrics.current().count("execplane_flight_records_total", result=result)

    def make(self, sight: LastSight) -> Recorded:
        """Read what there is; what cannot be read is named in the record."""
        reading = _Reading(self._clock)
        whole = sight.whole or reading.get("the pod itself", lambda: self._pod(sight)) or b""
        pod = decode_pod(whole) if whole else sight.pod
        if whole:
            kept, left_out = flights.keepable(whole)
        else:
            kept, left_out = {"status": sight.pod.status_dict()} if sight.pod is not None else {}, ""
        events = reading.get("its events", lambda: self._events(sight)) or ()
        lines = tuple(self._lines(sight, name, reading) for name in flights.containers_of(pod)) if pod else ()
        node_name = pod.spec.node_name if pod is not None else ""
        node = reading.get(f"node {node_name}", lambda: self._node(node_name)) if node_name else None
        flight = Flight(
            attempt_id=sight.attempt_id,
            captured_at=self._clock.now(),
            namespace=sight.namespace,
            pod_name=sight.name,
            uid=sight.uid,
            pod=kept,
            lines=lines,
            events=events,
            node=node,
            unread=tuple(sentence for sentence in (left_out, *reading.unread) if sentence),
        )
        return flights.recorded(flight, pack(flight), whole, events)

    def _pod(self, sight: LastSight) -> bytes:
        """The pod, when it is still this one."""
        path = pod_path(sight.namespace, sight.name)
        found = self._client.request("GET", path, timeout_seconds=_CALL_SECONDS)
        if decode_pod(found).metadata.uid != sight.uid:
            raise NotFound(f"Pod {sight.namespace}/{sight.name} is gone, another one has its name.", status=404)
        return found

    def _events(self, sight: LastSight) -> tuple[PodEvent, ...]:
        answer = read_events(
            self._client, sight.namespace, sight.uid, limit=_MOST_EVENTS, timeout_seconds=_CALL_SECONDS
        )
        return flights.events_of(answer)

    def _lines(self, sight: LastSight, container: str, reading: _Reading) -> LastLines:
        """`base`'s own lines are in the attempt's log as well; those of the others are nowhere else."""
        try:
            output = reading.ask(
                lambda: read_log(
                    self._client,
                    sight.namespace,
                    sight.name,
                    container=container,
                    tail_lines=MOST_LINES,
                    limit_bytes=_MOST_LOG_BYTES,
                    timeout_seconds=_CALL_SECONDS,
                )
            )
        except KubeError as error:
            return LastLines(container=container, unread=_why(error))
        return flights.last_lines(container, output)

    def _node(self, name: str) -> NodeSeen:
        """Of the many pods that a dying node takes along, only the first one asks."""
        with self._lock:
            known = self._nodes.get(name)
        if known is not None and self._clock.monotonic() < known[0]:
            if isinstance(known[1], KubeError):
                raise known[1]
            return known[1]
        found: NodeSeen | KubeError
        try:
            found = flights.node_of(name, read_node(self._client, name, timeout_seconds=_CALL_SECONDS))
        except KubeError as error:
            found = error
        with self._lock:
            if len(self._nodes) >= _MOST_NODES:
                self._nodes.clear()
            self._nodes[name] = (self._clock.monotonic() + _NODE_SECONDS, found)
        if isinstance(found, KubeError):
            raise found
        return found


class _TimeIsUp(KubeError):
    """Not asked any more: the record has had its time."""


class _Reading:
    """The calls of one record: none is begun after its time, and what fails becomes a sentence."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + _RECORD_SECONDS
        self.unread: list[str] = []

    def ask(self, call: Callable[[], T]) -> T:
        if self._clock.monotonic() >= self._until:
            raise _TimeIsUp(f"the API server took longer than {_RECORD_SECONDS:g} s over the rest")
        return call()

    def get(self, what: str, call: Callable[[], T]) -> T | None:
        try:
            return self.ask(call)
        except KubeError as error:
            self.unread.append(f"Could not read {what}: {_why(error)}.")
        except msgspec.MsgspecError as error:
            self.unread.append(f"Could not understand {what}: {error}.")
        return None


def _why(error: KubeError) -> str:
    match error:
        case AccessDenied():
            return "execplane's role does not allow it"
        case NotFound():
            return "it is gone"
        case BadRequest():
            return error.message.rpartition(": ")[2].rstrip(".")
    return error.message.rstrip(".")
