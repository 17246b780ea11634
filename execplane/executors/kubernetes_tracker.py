"""What the driver believes and what the cluster shows, side by side; the difference becomes facts.

Three voices speak at once: create calls, the watch, and the periodic list, which is older than the watch by the time
it arrives. So each cached pod remembers when it was last touched, and a list never overrules what was seen after the
list began. Everything happens under one lock and never talks to the network, so facts leave in the order they became
true.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import msgspec

from execplane.contract.categories import Category
from execplane.contract.clock import Clock
from execplane.contract.executor import Report
from execplane.contract.keys import AttemptKey
from execplane.contract.messages import Verdict
from execplane.contract.observations import (
    Acknowledged,
    Cleaned,
    Diagnosis,
    Fact,
    Gone,
    LaunchRefused,
    Progress,
)
from execplane.contract.workload import Handle, Intent
from execplane.executors.kubernetes_entries import Cleaning, Entry, LastSight, Phase, Seen
from execplane.executors.kubernetes_reconcile import ListFirst
from execplane.pods.ends import diagnosis
from execplane.pods.identity import PodIdentity, identity_of
from execplane.pods.observe import Observation, observe, observe_deleted
from execplane.pods.status import Pod


class Tracker:
    """All attempts and pods of one executor. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._report: Report = lambda facts: None
        self._on_ready: Callable[[Entry], None] = lambda entry: None
        self._on_gone: Callable[[LastSight], None] = lambda sight: None
        self._entries: dict[int, Entry] = {}
        self._whole = b""
        """The pod of the event that is being looked at."""
        self._pods: dict[tuple[str, str], Seen] = {}
        self._places: dict[tuple[str, str], int] = {}
        """(namespace, name) -> attempt_id of the entries."""
        self._list_first = ListFirst(clock)

    def connect(
        self,
        report: Report,
        on_ready: Callable[[Entry], None],
        on_gone: Callable[[LastSight], None] = lambda sight: None,
    ) -> None:
        """Where facts go, who is told that an entry to be cleaned has ended, and, before that, who is told of each
        end. All are called under the lock, so none may block or talk to the network."""
        self._report = report
        self._on_ready = on_ready
        self._on_gone = on_gone

    # What the driver says

    def expect(self, intent: Intent) -> bool:
        """A create is about to be made. False when one is under way or its pod is known already."""
        with self._lock:
            known = self._entries.get(intent.attempt_id)
            if known is not None and known.phase in (Phase.LAUNCHING, Phase.ALIVE):
                if known.phase is Phase.ALIVE:
                    self._say(_acknowledged(known, self._clock, adopted=True))
                return False
            self._add(intent.attempt_id, intent.key, intent.namespace, intent.name, "", Phase.LAUNCHING)
            return True

    def adopt(self, handles: Sequence[Handle]) -> set[str]:
        """Answer from what is seen already; returns the namespaces that must be listed to answer the rest."""
        waiting: set[str] = set()
        with self._lock:
            for handle in handles:
                entry = self._add(
                    handle.attempt_id, handle.key, handle.namespace, handle.name, handle.uid, Phase.ADOPTING
                )
                seen = self._pods.get((handle.namespace, handle.name))
                if seen is not None:
                    self._look(entry, seen)
                if entry.phase is Phase.ADOPTING:
                    waiting.add(entry.namespace)
        return waiting

    def stop(self, handle: Handle) -> Entry:
        """The attempt is to end: its end will be called an operator's. One that has ended is reported again."""
        with self._lock:
            entry = self._known(handle)
            entry.stopping = True
            seen = self._pods.get((entry.namespace, entry.name))
            if entry.phase is Phase.GONE and seen is not None:
                entry.phase = Phase.ALIVE
            if seen is not None:
                self._look(entry, seen)
            return entry

    def clean(self, handle: Handle, cleaning: Cleaning) -> bool:
        """The attempt ended; whether its pod may be cleaned up now.

        A worker reports its end moments before its container ends: then the pod's own end is awaited, so that its
        exit code and last words are not lost, and `on_ready` is called.
        """
        with self._lock:
            entry = self._known(handle)
            entry.cleaning = cleaning
            seen = self._pods.get((entry.namespace, entry.name))
            if entry.phase is Phase.GONE or seen is None:
                entry.phase = Phase.GONE
                self._on_ready(entry)
                return True
            self._look(entry, seen)
            return self._has_ended(entry)

    def entry(self, attempt_id: int) -> Entry | None:
        """What is known of the attempt."""
        with self._lock:
            return self._entries.get(attempt_id)

    def kept(self, entry: Entry) -> None:
        """The pod stays, as the policy says, and nothing runs in it."""
        with self._lock:
            self._say(Cleaned(attempt_id=entry.attempt_id, at=self._clock.now(), kept=True))

    def sidecars_of(self, entry: Entry) -> tuple[str, ...]:
        """Containers that still run beside a finished task."""
        with self._lock:
            seen = self._pods.get((entry.namespace, entry.name))
            return observe(seen.pod).sidecars_running if seen is not None else ()

    # What create calls say

    def answered(self, fact: Acknowledged | LaunchRefused) -> bool:
        """The create's outcome. Returns whether the attempt was told to stop meanwhile."""
        with self._lock:
            entry = self._entries.get(fact.attempt_id)
            if entry is None or entry.phase is not Phase.LAUNCHING:
                # The watch was faster than the answer.
                return entry is not None and entry.stopping
            if isinstance(fact, LaunchRefused):
                self._forget(entry)
                self._say(fact)
                return False
            entry.uid = fact.uid
            entry.phase = Phase.ALIVE
            entry.since = self._clock.monotonic()
            self._say(fact)
            seen = self._pods.get((entry.namespace, entry.name))
            if seen is not None:
                self._look(entry, seen)
            return entry.stopping

    def withdrawn(self, attempt_id: int) -> None:
        """Its create never left us, and may be ordered again."""
        with self._lock:
            if (entry := self._entries.get(attempt_id)) is not None and entry.phase is Phase.LAUNCHING:
                self._forget(entry)

    def never_created(self, entry: Entry) -> None:
        """A stop came before the create left us."""
        self.missing(entry, "The attempt was stopped before its pod was created.")

    def missing(self, entry: Entry, sentence: str = "") -> None:
        """The API server says that this very pod is not there (any more)."""
        with self._lock:
            seen = self._pods.pop((entry.namespace, entry.name), None)
            pod = seen.pod if seen is not None and seen.pod.metadata.uid in ("", entry.uid) else None
            self._vanished(entry, pod, sentence)

    # What the cluster says

    def changed(self, kind: str, pod: Pod, whole: bytes = b"") -> None:
        """A watch event: ADDED, MODIFIED or DELETED. `whole`: the pod as it came, for whoever records its end; it is
        not kept, because thousands of pods would be."""
        identity = identity_of(pod.metadata.annotations)
        if identity is None:
            return
        with self._lock:
            self._whole = whole
            try:
                if kind == "DELETED":
                    self._list_first.told(pod.metadata.uid)
                    self._deleted(pod, identity)
                else:
                    self._touch(pod, identity, self._clock.monotonic())
            finally:
                self._whole = b""

    def listed(self, namespace: str, pods: Iterable[Pod], started: float) -> None:
        """A whole list of the namespace, begun at `started` (monotonic)."""
        with self._lock:
            self._report(self._list_first.overdue())
            present: dict[tuple[str, str], tuple[str, int]] = {}
            for pod in pods:
                place = (pod.metadata.namespace, pod.metadata.name)
                identity = identity_of(pod.metadata.annotations)
                present[place] = (pod.metadata.uid, identity.attempt_id if identity else -1)
                seen = self._pods.get(place)
                if identity is not None and (seen is None or seen.touched < started):
                    self._touch(pod, identity, started)
            for place, seen in list(self._pods.items()):
                if place[0] == namespace and place not in present and seen.touched < started:
                    self._list_first.found(self._entries.get(self._places.get(place, -1)))
                    self._deleted(seen.pod, seen.identity)
            for entry in list(self._entries.values()):
                if entry.namespace != namespace or entry.since >= started:
                    continue
                uid, owner = present.get((entry.namespace, entry.name), ("", -1))
                if owner != entry.attempt_id or (entry.uid and uid != entry.uid):
                    self._list_first.found(entry)
                    self._not_listed(entry)

    def counts(self) -> dict[str, int]:
        """Entries by phase, and pods, for status pages and tests."""
        with self._lock:
            phases = [entry.phase.value for entry in self._entries.values()]
            return {**{phase.value: phases.count(phase.value) for phase in Phase}, "pods": len(self._pods)}

    # Below: under the lock

    def _has_ended(self, entry: Entry) -> bool:
        return entry.phase is Phase.GONE

    def _add(self, attempt_id: int, key: AttemptKey, namespace: str, name: str, uid: str, phase: Phase) -> Entry:
        entry = Entry(
            attempt_id=attempt_id,
            key=key,
            namespace=namespace,
            name=name,
            uid=uid,
            phase=phase,
            since=self._clock.monotonic(),
        )
        self._entries[attempt_id] = entry
        self._places[(namespace, name)] = attempt_id
        return entry

    def _known(self, handle: Handle) -> Entry:
        entry = self._entries.get(handle.attempt_id)
        if entry is None:
            phase = Phase.ALIVE if handle.uid else Phase.ADOPTING
            return self._add(handle.attempt_id, handle.key, handle.namespace, handle.name, handle.uid, phase)
        entry.uid = entry.uid or handle.uid
        return entry

    def _forget(self, entry: Entry) -> None:
        self._entries.pop(entry.attempt_id, None)
        self._places.pop((entry.namespace, entry.name), None)

    def _touch(self, pod: Pod, identity: PodIdentity, touched: float) -> None:
        place = (pod.metadata.namespace, pod.metadata.name)
        seen = Seen(pod=pod, identity=identity, touched=touched)
        self._pods[place] = seen
        entry = self._entries.get(self._places.get(place, -1))
        if entry is not None:
            self._look(entry, seen)

    def _look(self, entry: Entry, seen: Seen) -> None:
        """Compare what we said of the attempt with what its pod shows now."""
        pod = seen.pod
        if seen.identity.key != entry.key or seen.identity.attempt_id != entry.attempt_id:
            return
        if entry.uid and entry.uid != pod.metadata.uid:
            return
        if entry.phase is Phase.GONE:
            return
        if entry.phase is Phase.LAUNCHING and pod.metadata.deletion_timestamp is not None:
            # An earlier pod of this name on its way out: the create call judges it.
            return
        now = observe(pod)
        if entry.phase is not Phase.ALIVE or not entry.uid:
            entry.uid = pod.metadata.uid
            adopted = entry.phase is Phase.ADOPTING
            entry.phase = Phase.ALIVE
            entry.since = self._clock.monotonic()
            if entry.cleaning is Cleaning.NOT_YET:
                self._say(_acknowledged(entry, self._clock, adopted=adopted, node=pod.spec.node_name))
        if now.finished and now.end is not None:
            self._gone(entry, pod, now.end, now.last_words, finished=True)
        else:
            self._progress(entry, pod, now)

    def _progress(self, entry: Entry, pod: Pod, now: Observation) -> None:
        waiting = (now.waiting.category, now.waiting.sentence) if now.waiting else None
        # `initialized_at` is worth no fact of its own: every pod would have one more to be written down.
        said = (now.phase, now.node, now.image_digest, now.scheduled_at, now.started_at, waiting, now.deleting)
        if said == entry.said:
            return
        entry.said = said
        self._say(
            Progress(
                attempt_id=entry.attempt_id,
                uid=entry.uid,
                at=self._clock.now(),
                phase=now.phase,
                node=now.node,
                image_digest=now.image_digest,
                scheduled_at=now.scheduled_at,
                initialized_at=now.initialized_at,
                started_at=now.started_at,
                waiting=now.waiting,
                status=pod.status_dict(),
            )
        )

    def _deleted(self, pod: Pod, identity: PodIdentity) -> None:
        place = (pod.metadata.namespace, pod.metadata.name)
        seen = self._pods.get(place)
        if seen is not None and seen.pod.metadata.uid == pod.metadata.uid:
            del self._pods[place]
        entry = self._entries.get(self._places.get(place, -1))
        if entry is None or entry.attempt_id != identity.attempt_id or entry.phase is Phase.LAUNCHING:
            return
        if not entry.uid or entry.uid == pod.metadata.uid:
            entry.uid = pod.metadata.uid
            self._vanished(entry, pod)

    def _not_listed(self, entry: Entry) -> None:
        match entry.phase:
            case Phase.ADOPTING if not entry.uid:
                self._forget(entry)
                sentence = f"Pod {entry.namespace}/{entry.name} was never created."
                self._say(
                    LaunchRefused(
                        attempt_id=entry.attempt_id,
                        diagnosis=diagnosis(Category.API_UNAVAILABLE, sentence),
                        retry=True,
                        at=self._clock.now(),
                    )
                )
            case Phase.ADOPTING | Phase.ALIVE | Phase.GONE:
                self._vanished(entry, None)
            case Phase.LAUNCHING:
                pass

    def _vanished(self, entry: Entry, pod: Pod | None, sentence: str = "") -> None:
        """The pod object is not there any more: the attempt is dead, and nothing is left of it."""
        if entry.phase is not Phase.GONE:
            if pod is not None and not sentence:
                seen = observe(pod)
                self._gone(entry, pod, observe_deleted(pod), seen.last_words, finished=seen.finished)
            else:
                text = sentence or f"Pod {entry.namespace}/{entry.name} is gone, and nobody saw it end."
                self._gone(entry, pod, diagnosis(Category.DELETED, text), "", finished=False)
        self._forget(entry)
        self._say(Cleaned(attempt_id=entry.attempt_id, at=self._clock.now()))

    def _gone(self, entry: Entry, pod: Pod | None, why: Diagnosis, last_words: str, *, finished: bool) -> None:
        entry.phase = Phase.GONE
        if entry.stopping and why.category in (Category.DELETED, Category.SIGNAL):
            why = msgspec.structs.replace(
                why, category=Category.KILLED_BY_OPERATOR.value, infrastructure=False, hint=""
            )
        verdict = last_words.encode() if _is_verdict(last_words) else b""
        if last_words and not verdict:
            why = msgspec.structs.replace(why, data={**why.data, "last_words": last_words})
        self._say(
            Gone(
                attempt_id=entry.attempt_id,
                uid=entry.uid,
                at=self._clock.now(),
                diagnosis=why,
                verdict=verdict,
                status=pod.status_dict() if pod is not None else None,
                finished=finished,
            )
        )
        if entry.uid:
            self._on_gone(
                LastSight(
                    attempt_id=entry.attempt_id,
                    namespace=entry.namespace,
                    name=entry.name,
                    uid=entry.uid,
                    pod=pod,
                    whole=self._whole,
                )
            )
        if entry.cleaning is not Cleaning.NOT_YET:
            self._on_ready(entry)

    def _say(self, fact: Fact) -> None:
        self._report([fact])


def _is_verdict(text: str) -> bool:
    """The worker's own last words, not the end of its log, which stands there when it left none."""
    try:
        msgspec.json.decode(text, type=Verdict)
    except msgspec.MsgspecError:
        return False
    return True


def _acknowledged(entry: Entry, clock: Clock, *, adopted: bool, node: str = "") -> Acknowledged:
    return Acknowledged(attempt_id=entry.attempt_id, uid=entry.uid, at=clock.now(), adopted=adopted, node=node)
