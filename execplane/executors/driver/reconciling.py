"""Reconciliation under the driver's lease: looks at the cluster against the ledger, step by step, and what follows.

The lists are those that the executor makes anyway; a pass only reads the ledger, a page a step, so that a driver with
thousands of pods keeps its pace. What one look finds is a suspicion; what a second one, some seconds later, finds too
is stored, shown and mended, a few a pass. Repairs are the executor's own calls, and ends come back as facts: states
are written where they always are.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.contract.observations import Mended
from execplane.contract.workload import Handle
from execplane.executors.driver.policy_deletes import PolicyDeletes
from execplane.pods.reconcile import (
    HOLDING,
    NO_FINDING,
    Beliefs,
    Believed,
    Finding,
    Look,
    Mend,
    Patience,
    Repair,
    compare,
)
from execplane.store import drift_rows
from execplane.store.drift_rows import OpenFinding

SECOND_LOOK_SECONDS = 5.0
_ROWS_AT_ONCE = 1000
_MOST_REPAIRS = 50
"""A pass; what is more waits for the next: a mass of findings may be a mistake of ours."""
_MOST_TRIES = 5
_TRY_AGAIN = timedelta(seconds=60)
_ASK_SECONDS = 1.0
"""How often the ledger is asked whether somebody wants a look."""
_AFTER_FAULT_SECONDS = 10.0
_FIRST_LOOK_POLL = timedelta(seconds=0.1)
_FIRST_LOOK_SECONDS = 5.0
_LATE_LOOK_POLL = timedelta(seconds=1)
"""A list that does not come within those seconds waits for an API server, and that may take hours."""

_Identity = tuple[str, str, str, str]


@runtime_checkable
class Reconcilable(Protocol):
    """An executor whose launches can be listed."""

    @property
    def cluster(self) -> str: ...

    @property
    def patience(self) -> Patience: ...

    def looks(self) -> Mapping[str, Look]:
        """Each namespace's newest whole list; costs no call."""

    def unseen(self) -> Mapping[str, str]:
        """Namespaces of which there is no list, with why; "": it is on its way."""

    def look_again(self) -> None:
        """Make new lists soon."""

    def repair(self, repairs: Sequence[Repair]) -> None:
        """Each is answered by a Mended."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a pass asks of the executor."""

    repairs: tuple[Repair, ...] = ()
    tell: tuple[tuple[int, Handle], ...] = ()
    """(finding id, attempt): look again at these, and report their ends."""


class Reconciler:
    """One driver's passes. It remembers one look; whoever drives next starts with suspicions of its own."""

    def __init__(self, executor: str, deployment_id: str, incarnation: int, clock: Clock, *, actor: str) -> None:
        self.incarnation = incarnation
        """The ledger's, as of the newest pass: what is launched from now on carries it."""
        self._executor = executor
        self._deployment_id = deployment_id
        self._clock = clock
        self._actor = actor
        self._compared: dict[str, float] = {}
        """Namespace -> when the look was begun that was compared last (monotonic)."""
        self._suspects: dict[_Identity, float] = {}
        self._deletes = PolicyDeletes(executor, clock)
        self._pass: Generator[None, None, Orders] | None = None
        self._undecided: set[_Identity] = set()
        """What would hold launches and was seen once."""
        self._again_at = float("inf")
        self._asked_at = float("-inf")
        self._wanted: datetime | None = None
        self._began_at = float("inf")
        self._fault = ""
        self._rests_until = float("-inf")

    @property
    def busy(self) -> bool:
        """A pass is under way: the next step may come at once."""
        return self._pass is not None

    @property
    def first_look_poll(self) -> timedelta | None:
        """When to ask for it again: nothing is launched before it. None: it was made."""
        if self._compared:
            return None
        waited = self._clock.monotonic() - self._began_at
        return _FIRST_LOOK_POLL if waited < _FIRST_LOOK_SECONDS else _LATE_LOOK_POLL

    def step(self, executor: Reconcilable) -> Orders:
        """Begin or go on with a pass when there are new lists; mostly nothing."""
        moment = self._clock.monotonic()
        self._began_at = min(self._began_at, moment)
        self._want_looks(executor)
        if self._pass is None:
            if moment < self._rests_until:
                return Orders()
            fresh = {
                namespace: look
                for namespace, look in executor.looks().items()
                if look.started > self._compared.get(namespace, float("-inf"))
            }
            if not fresh:
                return Orders()
            self._pass = self._run(executor, fresh)
        try:
            next(self._pass)
        except StopIteration as done:
            self._pass = None
            orders: Orders = done.value
            return orders
        except BaseException:
            self._pass = None
            raise
        return Orders()

    def failed(self, error: Exception) -> None:
        """A step broke off by a fault of ours. What held launches holds them still; the same lists are tried again."""
        self._fault = f" That fails: {type(error).__name__}; the driver's log says more."
        self._rests_until = self._clock.monotonic() + _AFTER_FAULT_SECONDS

    def hold(self, executor: Reconcilable) -> str:
        """Why nothing may be launched now; "" when it may. Before the first look nobody knows whether this database
        is the one that made what is running."""
        unseen = executor.unseen()
        if not self._compared:
            trouble = next((f" {where}: {why}" for where, why in unseen.items() if why), "")
            return f"The {self._executor} executor first compares its pods with the ledger.{trouble}{self._fault}"
        if any(not why for why in unseen.values()):
            return f"The {self._executor} executor first compares its pods with the ledger."
        if self._undecided:
            _, namespace, name, _ = min(self._undecided)
            seen = f"Pods such as {namespace}/{name} were seen that this database does not know"
            return f"{seen}; a second look follows within seconds."
        return drift_rows.hold_reason(self._executor)

    def mended(self, fact: Mended) -> None:
        """Note what a repair came to."""
        if fact.finding_id == NO_FINDING:
            self._deletes.answered(fact)
            return
        kind = drift_rows.mended(fact.finding_id, fact.sentence, actor=self._actor)
        if kind:
            outcome = "done" if fact.done else "failed"
            metrics.current().count(
                "execplane_drift_repairs_total", executor=self._executor, kind=kind, outcome=outcome
            )

    def _want_looks(self, executor: Reconcilable) -> None:
        moment = self._clock.monotonic()
        if moment >= self._again_at:
            self._again_at = float("inf")
            executor.look_again()
        if moment - self._asked_at >= _ASK_SECONDS:
            self._asked_at = moment
            wanted = drift_rows.look_wanted(self._executor)
            if wanted is not None and (self._wanted is None or wanted > self._wanted):
                self._wanted = wanted
                executor.look_again()

    def _run(self, executor: Reconcilable, looks: Mapping[str, Look]) -> Generator[None, None, Orders]:
        beliefs = yield from _beliefs(self._executor, self._deployment_id, looks)
        now = self._clock.now()
        findings = compare(beliefs, looks.values(), executor.patience, now)
        confirmed = self._confirmed(findings, looks)
        drift = self._deletes.drift(findings, looks.keys())
        noted = drift_rows.record(
            self._executor,
            drift,
            confirmed=confirmed,
            cluster=executor.cluster,
            namespaces=looks.keys(),
            now=now,
        )
        for kind in noted.new:
            metrics.current().count("execplane_drift_findings_total", executor=self._executor, kind=kind)
        drift_rows.looked(
            self._executor,
            at=min(look.at for look in looks.values()),
            pods=sum(len(look.pods) for look in looks.values()),
            attempts=sum(row.in_hand for row in beliefs.rows.values()),
            unseen="; ".join(f"{where}: {why}" for where, why in executor.unseen().items() if why),
            left_off=noted.left_off,
        )
        # What is confirmed holds by being stored, or there was no room for it, or it is released: no matter of ours.
        known = confirmed | {one.identity for one in noted.found}
        self._undecided = {one for one in self._undecided if one[1] not in looks} | {
            one.identity for one in findings if one.kind in HOLDING and one.identity not in known
        }
        self._compared.update((namespace, look.started) for namespace, look in looks.items())
        self._fault = ""
        self.incarnation = drift_rows.incarnation()
        orders = self._orders(noted.found, beliefs.rows, now)
        return replace(orders, repairs=orders.repairs + self._deletes.orders(findings, drift, confirmed))

    def _confirmed(self, findings: Sequence[Finding], looks: Mapping[str, Look]) -> set[_Identity]:
        """Those of which an earlier look, long enough ago, knew."""
        here = {one.identity: looks[one.namespace].started for one in findings}
        gone = [one for one in self._suspects if one[1] in looks and one not in here]
        for identity in gone:
            del self._suspects[identity]
        for identity, started in here.items():
            self._suspects.setdefault(identity, started)
        confirmed = {
            identity for identity, started in here.items() if started - self._suspects[identity] >= SECOND_LOOK_SECONDS
        }
        waiting = [self._suspects[identity] for identity in here if identity not in confirmed]
        # What another namespace's pass waits for is waited for still.
        self._again_at = min([self._again_at, *(one + SECOND_LOOK_SECONDS for one in waiting)])
        return confirmed

    def _orders(self, found: Sequence[OpenFinding], rows: Mapping[int, Believed], now: datetime) -> Orders:
        wanted = [(one, _mend(one)) for one in found]
        due = [
            (one, mend)
            for one, mend in wanted
            if mend is not None
            and one.tries < _MOST_TRIES
            and (one.tried_at is None or now - one.tried_at > _TRY_AGAIN)
        ][:_MOST_REPAIRS]
        if due:
            drift_rows.trying([one.id for one, _ in due], now=now)
        return Orders(
            repairs=tuple(_repair(one, mend) for one, mend in due if mend is not Mend.TELL),
            tell=tuple(
                (one.id, _handle(row))
                for one, mend in due
                if mend is Mend.TELL and (row := rows.get(one.attempt_id or 0)) is not None
            ),
        )


def read_beliefs(executor: str, deployment_id: str, looks: Mapping[str, Look]) -> Beliefs:
    """The ledger as these looks are compared with it, read at once."""
    steps = _beliefs(executor, deployment_id, looks)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            beliefs: Beliefs = done.value
            return beliefs


def _beliefs(executor: str, deployment_id: str, looks: Mapping[str, Look]) -> Generator[None, None, Beliefs]:
    """A page a step: what the executor has in hand, then what else the pods name."""
    rows: dict[int, Believed] = {}
    after = 0
    while page := drift_rows.believed_in_hand(executor, after_id=after, limit=_ROWS_AT_ONCE):
        rows.update((row.attempt_id, row) for row in page)
        after = page[-1].attempt_id
        yield
    named = {
        pod.identity.attempt_id
        for look in looks.values()
        for pod in look.pods
        if pod.identity is not None and pod.identity.deployment_id == deployment_id
    }
    others = sorted(named - rows.keys())
    for start in range(0, len(others), _ROWS_AT_ONCE):
        rows.update((row.attempt_id, row) for row in drift_rows.believed(others[start : start + _ROWS_AT_ONCE]))
        yield
    return Beliefs(
        deployment_id=deployment_id,
        incarnation=drift_rows.incarnation(),
        newest_attempt_id=drift_rows.newest_attempt_id(),
        rows=rows,
    )


def _mend(one: OpenFinding) -> Mend | None:
    """What is done about it: an operator's word before our own."""
    match one.decision:
        case "delete" | "force":
            return Mend(one.decision)
        case "leave" | drift_rows.RELEASE:
            return None
    return None if one.mend is Mend.OPERATOR else one.mend


def _repair(one: OpenFinding, mend: Mend) -> Repair:
    return Repair(
        finding_id=one.id,
        mend=mend,
        namespace=one.namespace,
        name=one.pod_name,
        uid=one.pod_uid,
        attempt_id=one.attempt_id or 0,
    )


def _handle(row: Believed) -> Handle:
    return Handle(attempt_id=row.attempt_id, key=row.key, namespace=row.namespace, name=row.name, uid=row.uid)
