"""Deletes that get through in the end: with the pod's uid, and again until the API server has answered.

A delete without the uid could hit a later pod of the same name; a delete that is tried once is lost with the first
restart of the API server. What cannot be done now waits here, and its back-off is nobody else's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from execplane.contract.clock import Clock
from execplane.executors.kubernetes_entries import Entry
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_tracker import Tracker
from execplane.kube.client import Client
from execplane.kube.errors import BadRequest, KubeError, NotFound, PreconditionFailed
from execplane.pods.identity import identity_of
from execplane.pods.stamp import BASE_ENDED
from execplane.pods.status import decode_pod

logger = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 30.0


@dataclass(kw_only=True)
class Removal:
    """One pod that is to go, or whose sidecars are."""

    entry: Entry
    grace_seconds: int | None = None
    sidecars_only: bool = False
    not_before: float = 0.0
    failures: int = 0
    running: bool = False
    after_record: bool = False
    """`not_before` is only how long the pod's flight record is waited for."""


class Remover:
    """Deletes pods in a few threads; `tick` starts again what had failed."""

    def __init__(
        self,
        client: Client,
        tracker: Tracker,
        options: KubernetesOptions,
        clock: Clock,
        under_way: Callable[[int], bool],
        wake: Callable[[], None],
    ) -> None:
        self._client = client
        self._tracker = tracker
        self._options = options
        self._clock = clock
        self._under_way = under_way
        """Whether a create of the attempt has begun and not been answered."""
        self._wake = wake
        """Asks for a `tick` soon, to learn anew when the next one is due."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._removals: dict[tuple[int, bool], Removal] = {}
        self._threads = ThreadPoolExecutor(options.deletion_concurrency, thread_name_prefix="kube-delete")

    def remove(self, removal: Removal) -> None:
        """Queue it, and start at once when it is due."""
        with self._lock:
            self._removals[(removal.entry.attempt_id, removal.sidecars_only)] = removal
        if self.tick() is not None:
            self._wake()

    def tick(self) -> float | None:
        """Start what is due; returns the monotonic time of the next one, None when nothing waits."""
        now = self._clock.monotonic()
        if self._closed.is_set():
            return None
        with self._lock:
            waiting = [removal for removal in self._removals.values() if not removal.running]
            due = [removal for removal in waiting if removal.not_before <= now]
            for removal in due:
                removal.running = True
            later = [removal.not_before for removal in waiting if removal.not_before > now]
        for removal in due:
            self._threads.submit(self._run, removal)
        return min(later, default=None)

    def call_off(self, attempt_id: int) -> None:
        """The pod's containers have ended by themselves: what was to end them is not needed."""
        with self._lock:
            waiting = self._removals.get((attempt_id, True))
            if waiting is not None and not waiting.running:
                del self._removals[(attempt_id, True)]

    def recorded(self, attempt_id: int) -> None:
        """The pod's flight record is made: what waited for that waits no more."""
        with self._lock:
            removal = self._removals.get((attempt_id, False))
            if removal is None or not removal.after_record:
                return
            removal.not_before, removal.after_record = 0.0, False
        self.tick()

    def close(self) -> None:
        """Begin no more; one under way is not waited for, and does no harm: it names its pod's uid."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, removal: Removal) -> None:
        try:
            done = self._attempt(removal)
        except KubeError as error:
            logger.warning("%s/%s: %s", removal.entry.namespace, removal.entry.name, error)
            done = isinstance(error, BadRequest)
            removal.failures += 1
        except Exception:
            logger.exception("delete of %s/%s", removal.entry.namespace, removal.entry.name)
            done = True
        key = (removal.entry.attempt_id, removal.sidecars_only)
        with self._lock:
            removal.running = False
            if done:
                if self._removals.get(key) is removal:
                    del self._removals[key]
                return
            wait = self._options.repair_seconds * 2 ** min(max(removal.failures - 1, 0), 8)
            removal.not_before = self._clock.monotonic() + min(wait, _LONGEST_WAIT_SECONDS)
        self._wake()

    def _attempt(self, removal: Removal) -> bool:
        """Whether there is nothing left to do. Raises KubeError when the API server has to be asked again."""
        entry = removal.entry
        uid = entry.uid
        # Asked before the look-up as well: a create that ends between the two would be missed otherwise.
        under_way = self._under_way(entry.attempt_id)
        try:
            uid = uid or self._find(entry)
            if uid and removal.sidecars_only:
                patch = {
                    "metadata": {"uid": uid, "annotations": {BASE_ENDED: "true"}},
                    "spec": {"activeDeadlineSeconds": 1},
                }
                self._client.patch_pod(entry.namespace, entry.name, patch)
                self._tracker.kept(entry)
                return True
            if uid:
                self._client.delete_pod(entry.namespace, entry.name, uid=uid, grace_seconds=removal.grace_seconds)
                # The watch brings its end.
                return True
        except (NotFound, PreconditionFailed):
            pass
        if under_way or self._under_way(entry.attempt_id):
            return False
        if not removal.sidecars_only:
            self._tracker.missing(entry)
        return True

    def _find(self, entry: Entry) -> str:
        """The uid of the attempt's pod, when the driver did not know it; "" when there is none of ours."""
        pod = decode_pod(self._client.get_pod(entry.namespace, entry.name))
        identity = identity_of(pod.metadata.annotations)
        ours = identity is not None and (identity.attempt_id, identity.key) == (entry.attempt_id, entry.key)
        return pod.metadata.uid if ours else ""
