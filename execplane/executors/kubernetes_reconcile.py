"""What the kubernetes executor adds for reconciliation: whole lists as a comparison wants them, and repairs.

A repair is one call that names its pod's uid, is not repeated here, and is answered by one fact. Succeeds, and the
answer is lost: the fact says that it is not known; the next look no longer finds the pod, or the repair is ordered
again and meets nothing (404, or another uid), which counts as done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from execplane.contract.clock import Clock
from execplane.contract.observations import Mended, Missed
from execplane.executors.kubernetes_entries import Entry, Phase
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.client import Client, list_all, pods_path
from execplane.kube.errors import KubeError, NotFound, PreconditionFailed
from execplane.pods.identity import deployment_selector
from execplane.pods.reconcile import Look, Mend, Repair, seen_pod
from execplane.pods.status import Pod, decode_pod

logger = logging.getLogger(__name__)

_WATCH_LATE_SECONDS = 10.0
_THREADS = 2
"""Repairs are few and urgent to nobody: they leave the API server to creates and deletes."""


class Looks:
    """Each namespace's newest whole list, without what a comparison does not read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Look] = {}

    def took(self, namespace: str, at: datetime, started: float, pods: Iterable[Pod]) -> None:
        """A list begun at `started` (monotonic); one that is older than what we have is let go."""
        look = Look(namespace=namespace, at=at, started=started, pods=tuple(seen_pod(pod) for pod in pods))
        with self._lock:
            before = self._newest.get(namespace)
            if before is None or before.started <= started:
                self._newest[namespace] = look

    def newest(self) -> Mapping[str, Look]:
        with self._lock:
            return dict(self._newest)


class ListFirst:
    """Launches that a list found gone before the watch had told so. Mostly the watch is a moment behind; what it has
    not told after a while it has missed. Not thread-safe: under its owner's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[str, tuple[float, Missed]] = {}

    def found(self, entry: Entry | None) -> None:
        """The list does not have its pod. What we deleted ourselves is no loss."""
        if entry is None or entry.stopping or not entry.uid or entry.phase not in (Phase.ALIVE, Phase.ADOPTING):
            return
        missed = Missed(
            attempt_id=entry.attempt_id,
            key=entry.key,
            namespace=entry.namespace,
            name=entry.name,
            uid=entry.uid,
            at=self._clock.now(),
        )
        self._found[entry.uid] = (self._clock.monotonic() + _WATCH_LATE_SECONDS, missed)

    def told(self, uid: str) -> None:
        """The watch has caught up."""
        self._found.pop(uid, None)

    def overdue(self) -> list[Missed]:
        """What the watch has had time enough for; each is given once."""
        if not self._found:
            return []
        now = self._clock.monotonic()
        late = [uid for uid, (until, _) in self._found.items() if until <= now]
        return [self._found.pop(uid)[1] for uid in late]


def look_at(client: Client, options: KubernetesOptions, clock: Clock) -> tuple[dict[str, Look], str]:
    """List every namespace once, page by page, without an executor; and what could not be read."""
    looks = Looks()
    unseen: list[str] = []
    selector = deployment_selector(options.deployment_id, options.cluster)
    for namespace in options.all_namespaces:
        at, started = clock.now(), clock.monotonic()
        try:
            items, _ = list_all(client, pods_path(namespace), label_selector=selector)
        except KubeError as error:
            unseen.append(f"{namespace}: {error.message}")
            continue
        looks.took(namespace, at, started, [decode_pod(item) for item in items])
    return dict(looks.newest()), "; ".join(unseen)


class Mender:
    """Carries repairs out in threads of its own."""

    def __init__(self, client: Client, clock: Clock, report: Callable[[Sequence[Mended]], None]) -> None:
        self._client = client
        self._clock = clock
        self._report = report
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kube-repair")

    def order(self, repairs: Sequence[Repair]) -> None:
        """As many as the driver's cap on a pass lets through."""
        for repair in repairs:
            self._threads.submit(self._answer, repair)

    def close(self) -> None:
        """Begin no more; what is not begun is ordered again by whoever drives next."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, repair: Repair) -> None:
        try:
            done, sentence = True, self._carry_out(repair)
        except KubeError as error:
            done, sentence = False, f"That failed: {error.message}"
        except Exception as error:
            logger.exception("repair of %s/%s", repair.namespace, repair.name)
            done, sentence = False, f"That failed: {type(error).__name__}: {error}"
        fact = Mended(
            attempt_id=repair.attempt_id,
            finding_id=repair.finding_id,
            at=self._clock.now(),
            done=done,
            sentence=sentence,
        )
        self._report([fact])

    def _carry_out(self, repair: Repair) -> str:
        """What was done. Raises KubeError when it was not, or when nobody knows."""
        place = (repair.namespace, repair.name)
        try:
            match repair.mend:
                case Mend.END:
                    patch = {"metadata": {"uid": repair.uid}, "spec": {"activeDeadlineSeconds": 1}}
                    self._client.patch_pod(*place, patch)
                    return "Its containers were ended; the pod stays, as the deletion policy says."
                case Mend.FORCE:
                    # 0 takes the object away while the containers may still run: that is what was ordered.
                    self._client.delete_pod(*place, uid=repair.uid, grace_seconds=0)
                    return "It was deleted by force."
                case Mend.DELETE:
                    self._client.delete_pod(*place, uid=repair.uid)
                    return "It was deleted."
        except (NotFound, PreconditionFailed):
            return "It was gone already."
        raise ValueError(f"{repair.mend} is nothing that is done to a pod")
