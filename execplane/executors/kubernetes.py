"""The kubernetes executor: one pod per attempt.

Creates, deletes, watches and lists run in threads of their own, so that none waits for another. It knows no database:
it takes intents and handles and reports facts; what it remembers can be rebuilt from the cluster by `adopt`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta

import msgspec

from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import InvalidInput
from execplane.contract.executor import Report
from execplane.contract.observations import LaunchRefused
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.kubernetes_entries import Cleaning, Entry, Phase
from execplane.executors.kubernetes_flight import FlightRecorder
from execplane.executors.kubernetes_launch import asked_to_wait, launch_one
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_outbox import Outbox
from execplane.executors.kubernetes_pace import Pace
from execplane.executors.kubernetes_reconcile import Looks, Mender, patience_of
from execplane.executors.kubernetes_remove import Removal, Remover
from execplane.executors.kubernetes_template import Templates
from execplane.executors.kubernetes_tracker import Tracker
from execplane.kube.client import Client, list_all, pods_path
from execplane.kube.errors import KubeError
from execplane.kube.mutation import Hook, find_hook, run_hook
from execplane.kube.review import access
from execplane.kube.watch import Changed, Interrupted, Listed, Watch, WatchEvent, WatchHealth
from execplane.pods.build import BuildOptions, build_intent
from execplane.pods.builder import PodBuilder
from execplane.pods.hook import Mutate, Mutation
from execplane.pods.identity import deployment_selector
from execplane.pods.layers import layers_of
from execplane.pods.reconcile import Look, Patience, Repair
from execplane.pods.status import decode_pod

logger = logging.getLogger(__name__)

_TROUBLED = 3
"""Failures in a row after which a watch counts as broken: a single cut is resumed before anybody needs to know."""
_PROBE_TROUBLED_SECONDS = 5.0
_LAST_CREATES_SECONDS = 3.0


class KubernetesExecutor:
    """Fulfils `contract.executor.Executor` on one cluster."""

    def __init__(
        self,
        options: KubernetesOptions,
        *,
        client: Client | None = None,
        clock: Clock | None = None,
        hook: Hook | None = None,
    ) -> None:
        self.name = options.name
        self.options = options
        self._clock = clock or SystemClock()
        self.client = client or Client(options.kube, self._clock)
        self._templates = Templates(options.pod_template_file)
        found = hook or find_hook()
        build_options = BuildOptions(
            namespace=options.namespace,
            namespaces=options.namespaces,
            image=options.image,
            version=options.version,
            worker_args=options.worker_args,
            allow_command=options.allow_command,
            attempt_url=options.attempt_url,
            lessons=options.lessons,
        )
        self._builder = PodBuilder(build_options, in_process(found) if found is not None else None)
        self._selector = deployment_selector(options.deployment_id)
        self.tracker = Tracker(self._clock)
        self._outbox = Outbox()
        self._looks = Looks()
        self._mender = Mender(self.client, self._clock, self._outbox.put)
        self._creates = ThreadPoolExecutor(options.creation_concurrency, thread_name_prefix="kube-create")
        self._lock = threading.Lock()
        self._queued: dict[int, Future[None]] = {}
        """Creates that were handed to a thread, until they are answered."""
        self._unsent: set[int] = set()
        """Those of them that the API server was not asked for yet."""
        self._pace = Pace(self._clock)
        self._watches: dict[str, Watch] = {}
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._remover = Remover(self.client, self.tracker, options, self._clock, self._under_way, self._wake.set)
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
        """The pod that would be created, as bytes. Raises InvalidInput naming field and layer."""
        layers = layers_of(workload, self._templates.default(), self._templates.load)
        return build_intent(self._builder.build(workload, layers), workload, self.options.cluster)

    def launch(self, intents: Sequence[Intent]) -> None:
        """Queue the creates in the order given; each is answered by one fact."""
        for intent in intents:
            if self._closed.is_set() or not self.tracker.expect(intent):
                continue
            with self._lock:
                self._unsent.add(intent.attempt_id)
                self._queued[intent.attempt_id] = self._creates.submit(self._create, intent)

    def stop(self, handles: Sequence[Handle], *, grace_seconds: float) -> None:
        """Delete the pods; SIGTERM, the grace period and SIGKILL are the kubelet's. Gone comes from the watch."""
        for handle in handles:
            entry = self.tracker.stop(handle)
            if entry.phase is Phase.GONE:
                continue
            with self._lock:
                queued = self._queued.get(handle.attempt_id)
            if queued is not None and queued.cancel():
                with self._lock:
                    self._queued.pop(handle.attempt_id, None)
                    self._unsent.discard(handle.attempt_id)
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

    def clean(self, handles: Sequence[Handle], *, failed: bool) -> None:
        """Delete the pods, or keep them and end what still runs in them, as the deletion policy says."""
        options = self.options
        delete = options.delete_worker_pods_on_failure if failed else options.delete_worker_pods
        for handle in handles:
            ready = self.tracker.clean(handle, Cleaning.DELETE if delete else Cleaning.KEEP)
            entry = self.tracker.entry(handle.attempt_id)
            if not ready and entry is not None:
                # A container that does not end although its end was reported is ended all the same.
                due = self._clock.monotonic() + options.settle_seconds
                self._remover.remove(Removal(entry=entry, not_before=due, sidecars_only=not delete))

    def _ready(self, entry: Entry) -> None:
        """An attempt that is to be cleaned has ended."""
        if entry.cleaning is Cleaning.DELETE:
            recorded = not self._recorder.under_way(entry.attempt_id)
            wait_seconds = 0.0 if recorded else self.options.flight_record_wait_seconds
            due = self._clock.monotonic() + wait_seconds
            self._remover.remove(Removal(entry=entry, not_before=due, after_record=not recorded))
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
        try:
            # Else every attempt would be refused, for a fault that is none of theirs.
            self._templates.default()
        except InvalidInput as error:
            return f"{error.message} {error.hint}"
        watches = self.watches()
        if watches and all(health.failures >= _TROUBLED for health in watches.values()):
            return next(health.last_error for health in watches.values())
        return self._pace.check()

    def unsent(self) -> frozenset[int]:
        """Attempts whose create waits for a thread, or for a pause to pass."""
        with self._lock:
            return frozenset(self._unsent)

    def close(self) -> None:
        """Stop observing and creating; pods keep running."""
        self._closed.set()
        self._pace.close()
        self._wake.set()
        for watch in list(self._watches.values()):
            watch.close()
        self._creates.shutdown(wait=self._settled(), cancel_futures=True)
        self._remover.close()
        self._mender.close()
        self._recorder.close()
        for thread in self._threads:
            thread.join()
        self._outbox.close()
        self.client.close()

    def _settled(self) -> bool:
        """Creates under way get a moment to be answered; one that hangs is not waited for, its intent is kept."""
        with self._lock:
            under_way = [future for future in self._queued.values() if not future.cancel()]
        return not wait(under_way, timeout=_LAST_CREATES_SECONDS).not_done

    def probe(self) -> str:
        """Ask the API server whether we may create pods in our namespace; "" when we may. One call."""
        try:
            answer = access(self.client, "create", "pods", self.options.namespace)
        except KubeError as error:
            return str(error)
        if answer.allowed:
            return ""
        reason = f": {answer.reason}" if answer.reason else ""
        return f"execplane may not create pods in namespace {self.options.namespace}{reason}. Check its roles."

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
        return patience_of(self.options)

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

    # Creates

    def _create(self, intent: Intent) -> None:
        try:
            if not self._pace.wait():
                return
            with self._lock:
                self._unsent.discard(intent.attempt_id)
            fact = launch_one(self.client, intent, self.options, self._clock)
        except Exception:
            logger.exception("create of %s/%s", intent.namespace, intent.name)
            raise
        finally:
            with self._lock:
                self._queued.pop(intent.attempt_id, None)
        if isinstance(fact, LaunchRefused) and (seconds := asked_to_wait(fact)):
            self._pace.asked(seconds)
        if self.tracker.answered(fact):
            self._remover.tick()

    def _under_way(self, attempt_id: int) -> bool:
        with self._lock:
            return attempt_id in self._queued

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
        """The periodic list, and deletes that wait for their next try."""
        next_list = self._clock.monotonic() + self.options.list_interval_seconds
        next_probe = 0.0
        while not self._closed.is_set():
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


def in_process(hook: Hook) -> Mutate:
    """Runs a mutation hook right here; a child process with a time limit can take its place."""

    def mutate(pod: dict[str, object]) -> Mutation:
        before, after = run_hook(hook, pod)
        return Mutation(before=before, after=after)

    return mutate
