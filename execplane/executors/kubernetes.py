"""The kubernetes executor: one pod per attempt.

Creates, deletes, watches and lists run in threads of their own, so that none waits for another. It knows no database:
it takes intents and handles and reports facts; what it remembers can be rebuilt from the cluster by `adopt`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

import msgspec

from execplane.contract.clock import Clock, SystemClock
from execplane.contract.executor import Report
from execplane.contract.states import AttemptState
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.kubernetes_creates import Creates
from execplane.executors.kubernetes_entries import Cleaning, Entry, Phase
from execplane.executors.kubernetes_flight import FlightRecorder
from execplane.executors.kubernetes_launch import LaunchAnswer
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_outbox import Outbox
from execplane.executors.kubernetes_pace import Paces
from execplane.executors.kubernetes_pods import PodMaker
from execplane.executors.kubernetes_reconcile import Looks, Mender
from execplane.executors.kubernetes_remove import Removal, Remover
from execplane.executors.kubernetes_tracker import Tracker
from execplane.kube.client import Client, list_all, pods_path
from execplane.kube.errors import KubeError
from execplane.kube.review import access
from execplane.kube.watch import Changed, Interrupted, Listed, Watch, WatchEvent, WatchHealth
from execplane.pods.identity import deployment_selector
from execplane.pods.reconcile import Look, Patience, Repair
from execplane.pods.status import decode_pod

logger = logging.getLogger(__name__)

_TROUBLED = 3
"""Failures in a row after which a watch counts as broken: a single cut is resumed before anybody needs to know."""
_PROBE_TROUBLED_SECONDS = 5.0


class KubernetesExecutor:
    """Fulfils `contract.executor.Executor` on one cluster."""

    def __init__(
        self,
        options: KubernetesOptions,
        *,
        client: Client | None = None,
        clock: Clock | None = None,
        paces: Paces | None = None,
    ) -> None:
        """`paces`: shared with whoever else creates pods through the same API servers."""
        self.name = options.name
        self.options = options
        self._clock = clock or SystemClock()
        self.client = client or Client(options.kube, self._clock)
        self._pods = PodMaker(options, self._clock)
        self._selector = deployment_selector(options.deployment_id, options.cluster)
        self.tracker = Tracker(self._clock)
        self._outbox = Outbox()
        self._looks = Looks()
        self._mender = Mender(self.client, self._clock, self._outbox.put)
        self._pace = (paces or Paces(self._clock)).of(self.client.host, options.creation_concurrency)
        self._creates = Creates(self.client, options, self._clock, self._pace, self._created)
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._wake = threading.Event()
        under_way = self._creates.under_way
        self._remover = Remover(self.client, self.tracker, options, self._clock, under_way, self._wake.set)
        self._recorder = FlightRecorder(
            self.client,
            options,
            self._clock,
            report=lambda fact: self._outbox.put([fact]),
            done=self._remover.recorded,
        )
        self._list_wanted: set[str] = set()
        self._no_access = ""

    # The protocol

    def start(self, report: Report) -> None:
        """Begin to watch the namespaces, each in a thread of its own."""
        self._outbox.start(report)
        record = self._recorder.capture if self.options.flight_records else lambda sight: None
        self.tracker.connect(self._outbox.put, self._ready, record)
        for namespace in self.options.all_namespaces:
            self._watch(namespace)
        self._thread(self._housekeeping, "kube-housekeeping")

    def slots(self) -> int | None:
        return self.options.slots

    def build(self, workload: Workload) -> Intent:
        """The pod that would be created, as bytes. Raises InvalidInput naming field and layer, or NotYet."""
        return self._pods.intent(workload)

    def launch(self, intents: Sequence[Intent]) -> None:
        """Queue the creates, by priority, then in the order given; each is answered by one fact."""
        for intent in intents:
            if not self._closed.is_set() and self.tracker.expect(intent):
                self._creates.order(intent)

    def stop(self, handles: Sequence[Handle], *, grace_seconds: float) -> None:
        """Delete the pods; SIGTERM, the grace period and SIGKILL are the kubelet's. Gone comes from the watch."""
        for handle in handles:
            entry = self.tracker.stop(handle)
            if entry.phase is Phase.GONE:
                continue
            withdrawn = self._creates.withdraw(handle.attempt_id)
            if withdrawn is not None and not withdrawn.again and entry.phase is Phase.LAUNCHING and not entry.uid:
                self.tracker.never_created(entry)
                continue
            # 0 would take the object away while the container may still run.
            grace = max(1, math.ceil(grace_seconds))
            self._remover.remove(Removal(entry=entry, grace_seconds=grace))

    def adopt(self, handles: Sequence[Handle]) -> None:
        """Answer from what the watch has seen; what it has not, from one list per namespace."""
        waiting = self.tracker.adopt(handles)
        for namespace in waiting:
            self._watch(namespace)
        if waiting:
            with self._lock:
                self._list_wanted |= waiting
            self._wake.set()

    def clean(self, handles: Sequence[Handle], *, outcome: AttemptState) -> None:
        """Delete the pods, or keep them and end what still runs in them, as the deletion policy says. What is kept for
        a time only, reconciliation deletes when that is over, also after a restart."""
        delete = not self.patience.kept_for_seconds(outcome)
        for handle in handles:
            ready = self.tracker.clean(handle, Cleaning.DELETE if delete else Cleaning.KEEP)
            entry = self.tracker.entry(handle.attempt_id)
            if not ready and entry is not None:
                # A container that does not end although its end was reported is ended all the same.
                due = self._clock.monotonic() + self.options.settle_seconds
                grace = self.options.delete_grace_seconds
                self._remover.remove(
                    Removal(entry=entry, grace_seconds=grace, not_before=due, sidecars_only=not delete)
                )

    def _ready(self, entry: Entry) -> None:
        """An attempt that is to be cleaned has ended."""
        if entry.cleaning is Cleaning.DELETE:
            recorded = not self._recorder.under_way(entry.attempt_id)
            wait_seconds = 0.0 if recorded else self.options.flight_record_wait_seconds
            due = self._clock.monotonic() + wait_seconds
            grace = self.options.delete_grace_seconds
            self._remover.remove(Removal(entry=entry, grace_seconds=grace, not_before=due, after_record=not recorded))
        elif self.tracker.sidecars_of(entry):
            # A kept pod must not keep a CPU: the deadline ends its containers and leaves the object.
            self._remover.remove(Removal(entry=entry, sidecars_only=True))
        else:
            self._remover.call_off(entry.attempt_id)
            self.tracker.kept(entry)

    def check(self) -> str:
        """ "" when pods can be created and watched; else why not. Costs nothing: housekeeping asks beforehand.

        One namespace that cannot be watched does not stop the others; its own launches are refused with the reason.
        """
        if self._no_access:
            return self._no_access
        if trouble := self._pods.check():
            return trouble
        watches = self.watches()
        if watches and all(health.failures >= _TROUBLED for health in watches.values()):
            return next(health.last_error for health in watches.values())
        return self._pace.check()

    def lead(self, may_send: Callable[[], bool]) -> None:
        """Asked right before each create: whether it is still ours to make."""
        self._creates.may_send = may_send

    def unsent(self) -> frozenset[int]:
        """Attempts whose create waits for its turn, or for a pause to pass."""
        return self._creates.unsent()

    def withdraw(self, attempt_ids: Collection[int]) -> list[int]:
        """Forget those of these creates that were not sent yet, and give them; `launch` may order them again."""
        gone = [attempt_id for attempt_id in attempt_ids if self._creates.withdraw(attempt_id) is not None]
        for attempt_id in gone:
            self.tracker.withdrawn(attempt_id)
        return gone

    def slowed(self) -> str:
        """Why fewer creates are sent at once than could be; "": they are not fewer."""
        return self._pace.slowed()

    def close(self) -> None:
        """Stop observing and creating; pods keep running."""
        self._closed.set()
        self._wake.set()
        for watch in list(self._watches.values()):
            watch.close()
        self._creates.close()
        self._remover.close()
        self._mender.close()
        self._recorder.close()
        self._pods.close()
        for thread in self._threads:
            thread.join()
        self._outbox.close()
        self.client.close()

    def probe(self) -> str:
        """Ask the API server whether we may create pods; "" when we may in one of our namespaces: a launch into another
        one is refused by itself. Mostly one call."""
        denied = ""
        for namespace in self.options.all_namespaces:
            try:
                answer = access(self.client, "create", "pods", namespace)
            except KubeError as error:
                return str(error)
            except Exception as error:
                logger.exception("access review of %s", namespace)
                return f"Whether execplane may create pods in {namespace} cannot be told ({type(error).__name__})."
            if answer.allowed:
                return ""
            reason = f": {answer.reason}" if answer.reason else ""
            said = f"execplane may not create pods in namespace {namespace}{reason}. Check its roles."
            denied = denied or said
        return denied

    # For pages and reconciliation

    def watches(self) -> dict[str, WatchHealth]:
        """Each namespace's watch, and how it is."""
        with self._lock:
            return {namespace: watch.health for namespace, watch in self._watches.items()}

    @property
    def cluster(self) -> str:
        return self.options.cluster

    @property
    def patience(self) -> Patience:
        return self.options.patience

    def looks(self) -> Mapping[str, Look]:
        """Each namespace's newest whole list: the watch's own, or the periodic one. Costs no call."""
        return self._looks.newest()

    def unseen(self) -> dict[str, str]:
        """Namespaces of which there is no list yet, with why; "": it is on its way."""
        looks = self._looks.newest()
        return {namespace: health.last_error for namespace, health in self.watches().items() if namespace not in looks}

    def look_again(self) -> None:
        """List every namespace soon, page by page."""
        with self._lock:
            self._list_wanted |= set(self._watches)
        self._wake.set()

    def repair(self, repairs: Sequence[Repair]) -> None:
        """Do this to exactly these pods; each is answered by a Mended."""
        if not self._closed.is_set():
            self._mender.order(repairs)

    def _created(self, fact: LaunchAnswer) -> None:
        """What came of a create; who was told to stop meanwhile is removed."""
        if self.tracker.answered(fact):
            self._remover.tick()

    # Observing

    def _watch(self, namespace: str) -> None:
        with self._lock:
            if namespace in self._watches or self._closed.is_set():
                return
            watch = Watch(self.client, pods_path(namespace), label_selector=self._selector)
            self._watches[namespace] = watch
        self._thread(lambda: self._observe(namespace, watch), f"kube-watch-{namespace}")

    def _thread(self, target: object, name: str) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _observe(self, namespace: str, watch: Watch) -> None:
        """Feed one namespace's watch to the tracker, for ever."""
        while not self._closed.is_set():
            try:
                for event in watch.events():
                    self._apply(namespace, event)
            except Exception:
                # One event that we cannot read must not blind us: a fresh list follows.
                logger.exception("watch of %s", namespace)
                self._closed.wait(self.options.repair_seconds)

    def _apply(self, namespace: str, event: WatchEvent) -> None:
        match event:
            case Listed(items=items, started=started):
                self._listed(namespace, items, started)
            case Changed(type=kind, object=item):
                self.tracker.changed(kind, decode_pod(item), bytes(item))
            case Interrupted(error=error, wait_seconds=seconds):
                logger.warning("watch of %s, again in %.1f s: %s", namespace, seconds, error)

    def _housekeeping(self) -> None:
        """The periodic list, and deletes that wait for their next try. A round that fails is told; the next follows."""
        next_list = self._clock.monotonic() + self.options.list_interval_seconds
        next_probe = 0.0
        while not self._closed.is_set():
            try:
                if self._clock.monotonic() >= next_probe:
                    self._no_access = self.probe()
                    again = _PROBE_TROUBLED_SECONDS if self._no_access else self.options.list_interval_seconds
                    next_probe = self._clock.monotonic() + again
                next_removal = self._remover.tick()
                now = self._clock.monotonic()
                with self._lock:
                    wanted, self._list_wanted = self._list_wanted, set()
                    if now >= next_list:
                        wanted = set(self._watches)
                        next_list = now + self.options.list_interval_seconds
                for namespace in wanted:
                    try:
                        self._list(namespace)
                    except Exception:
                        logger.exception("list of %s", namespace)
                pause = min(next_list, next_probe, next_removal or next_list) - self._clock.monotonic()
            except Exception:
                # Without this thread nothing would be deleted, listed or asked any more, and nobody would know.
                logger.exception("housekeeping")
                pause = self.options.repair_seconds
            self._wake.wait(max(pause, 0.0))
            self._wake.clear()

    def _list(self, namespace: str) -> None:
        started = self._clock.monotonic()
        try:
            items, _ = list_all(self.client, pods_path(namespace), label_selector=self._selector)
        except KubeError as error:
            logger.warning("list of %s: %s", namespace, error)
            return
        self._listed(namespace, items, started)

    def _listed(self, namespace: str, items: Sequence[msgspec.Raw], started: float) -> None:
        pods = [decode_pod(item) for item in items]
        self.tracker.listed(namespace, pods, started)
        ago = timedelta(seconds=self._clock.monotonic() - started)
        self._looks.took(namespace, self._clock.now() - ago, started, pods)
