"""What the ledger believes against what the cluster shows: each difference, and what mends it. Pure.

Creates, the watch and this comparison race with each other, so one comparison is a suspicion: the driver acts on what
two looks, some seconds apart, both find. What is proposed for deletion cannot become wanted again in between: its
attempt has ended, or is another pod's, or is not in the ledger although the ledger was read after the pods.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from execplane.contract.keys import AttemptKey
from execplane.contract.states import ATTEMPT_ENDED, AttemptState
from execplane.pods.fields import BASE
from execplane.pods.identity import PodIdentity, identity_of
from execplane.pods.status import Pod

NEVER_LAUNCHED = frozenset({AttemptState.QUEUED, AttemptState.CLAIMED})
FAILED = frozenset({AttemptState.FAILED, AttemptState.CANCELLED})
NO_FINDING = 0
"""The `finding_id` of a repair that no finding stands for."""
_MOST_ID = (1 << 63) - 1
"""No database has a larger key, and none may be asked for it."""
MOST_INCARNATION = (1 << 31) - 2
"""One less than the column holds. What says that it is of a later one was not written by us."""


class Kind(StrEnum):
    """How ledger and cluster differ. Stable: stored, counted and documented."""

    ORPHAN = "orphan"
    """A pod of ours whose attempt is no longer in the ledger."""
    ZOMBIE = "zombie"
    """The ledger believes the attempt alive, and its pod has ended."""
    UNDEAD = "undead"
    """The attempt has ended, and its pod runs on."""
    MISSING = "missing"
    """The ledger believes the attempt alive, and there is no pod."""
    DUPLICATE = "duplicate"
    """A pod with the identity of an attempt whose pod is another one."""
    STUCK_TERMINATING = "stuck_terminating"
    """Its grace period is long over, and the pod is still there."""
    FINISHED_PAST_ITS_TIME = "finished_past_its_time"
    """The attempt has ended, and its pod should have been deleted by now."""
    FOREIGN_INCARNATION = "foreign_incarnation"
    """A pod of this deployment that this ledger cannot have made: the database was restored, or there are two."""
    UNREADABLE = "unreadable"
    """It carries our label, and annotations that say nothing."""


HOLDING = frozenset({Kind.FOREIGN_INCARNATION})
"""While one of these is undecided, nothing is launched: what the ledger forgot would run again."""


class Mend(StrEnum):
    """What would mend it."""

    DELETE = "delete"
    """Delete the pod, by its uid."""
    END = "end"
    """End its containers and leave the object, as the deletion policy wants it kept."""
    TELL = "tell"
    """Have the executor look again and report the attempt's end."""
    OPERATOR = "operator"
    """Nobody but a person can know."""
    FORCE = "force"
    """Take the object away without waiting for its node. Never proposed: only a person orders it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What an executor is asked to do to exactly one pod."""

    finding_id: int
    mend: Mend
    namespace: str
    name: str
    uid: str
    attempt_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PodSeen:
    """What a comparison needs of one pod."""

    namespace: str
    name: str
    uid: str
    identity: PodIdentity | None
    created_at: datetime | None = None
    """As the API server says, which always does."""
    finished: bool = False
    """The task's container has ended, or never will start."""
    finished_at: datetime | None = None
    deleted_by: datetime | None = None
    """When its grace period is (was) over; None: it is not being deleted."""
    node: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One whole list of a namespace's pods with our label. What is not in it was not there when it was begun."""

    namespace: str
    at: datetime
    """When it was begun, to be compared with the ledger's times."""
    started: float
    """The same, monotonic: which of two is the newer one, also when somebody sets the clock."""
    pods: tuple[PodSeen, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Believed:
    """What the ledger believes of one attempt."""

    attempt_id: int
    key: AttemptKey
    state: AttemptState
    namespace: str
    name: str
    uid: str
    """The pod's, "" while no acknowledgement has come."""
    acknowledged_at: datetime | None
    ended_at: datetime | None

    @property
    def in_hand(self) -> bool:
        return self.state not in NEVER_LAUNCHED and self.state not in ATTEMPT_ENDED

    def owns(self, pod: PodSeen) -> bool:
        """Whether this very pod is the attempt's. The uid is proof; before it is known, the name is ours alone."""
        if self.uid:
            return self.uid == pod.uid
        return (self.namespace, self.name) == (pod.namespace, pod.name)


@dataclass(frozen=True, kw_only=True)
class Beliefs:
    """The ledger, read after the looks: rows of all attempts in hand, and of all that the pods name."""

    deployment_id: str
    incarnation: int
    newest_attempt_id: int
    rows: Mapping[int, Believed]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a difference may last before it is one, and what the deletion policy says."""

    acknowledged_seconds: float = 30.0
    """An attempt acknowledged so shortly before the look is not missed yet."""
    unreported_seconds: float = 60.0
    """A pod's end that the ledger has not heard of."""
    ended_seconds: float = 300.0
    """From an attempt's end to its pod's."""
    terminating_seconds: float = 300.0
    """From the end of a pod's grace period to its being gone."""
    delete_when_well: bool = True
    delete_when_failed: bool = False
    kept_seconds: float = 0.0
    """How long a pod is kept that the policy keeps; 0: as long as the cluster keeps it."""
    kept_by_outcome: Mapping[AttemptState, float] = field(default_factory=dict)
    """Seconds for single outcomes, whatever the three above say; 0: not at all."""

    def kept_for_seconds(self, outcome: AttemptState) -> float:
        """How long a pod stays after its attempt ended so; 0: not at all, infinity: as long as the cluster keeps it."""
        if outcome in self.kept_by_outcome:
            return self.kept_by_outcome[outcome]
        if self.delete_when_failed if outcome in FAILED else self.delete_when_well:
            return 0.0
        return self.kept_seconds or math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One difference. `attempt_id` is the pod's word for it, or the ledger's where there is no pod."""

    kind: Kind
    mend: Mend
    namespace: str
    name: str
    uid: str
    attempt_id: int | None
    task: str
    incarnation: int | None
    """The pod's; None: it says none, or there is no pod."""
    sentence: str
    created_at: datetime | None = None
    """The pod's; None: there is none."""
    by_policy: bool = False
    """Its mend is what the deletion policy says of this very pod, by its uid: no drift while that works."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The same finding in another look."""
        return (self.kind, self.namespace, self.name, self.uid)


def seen_pod(pod: Pod) -> PodSeen:
    """The few things of a pod that a comparison needs."""
    status = pod.status()
    identity = identity_of(pod.metadata.annotations)
    if identity is not None and not _is_possible(identity):
        identity = None
    base = next((one for one in status.container_statuses if one.name == BASE), None)
    ended = base.state.terminated if base else None
    return PodSeen(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        identity=identity,
        created_at=pod.metadata.creation_timestamp,
        finished=ended is not None or status.phase in ("Succeeded", "Failed"),
        finished_at=ended.finished_at if ended else None,
        deleted_by=pod.metadata.deletion_timestamp,
        node=pod.spec.node_name,
    )


def _is_possible(who: PodIdentity) -> bool:
    """Whether a ledger can have written these numbers: anybody may write annotations, and none is to break a pass."""
    return 0 < who.attempt_id <= _MOST_ID and 0 < who.incarnation <= MOST_INCARNATION


def compare(beliefs: Beliefs, looks: Iterable[Look], patience: Patience, now: datetime) -> tuple[Finding, ...]:
    """All differences in the namespaces that were looked at. Of others nothing is known, and nothing is said."""
    found: list[Finding] = []
    at: dict[str, datetime] = {}
    alive: set[int] = set()
    for look in looks:
        at[look.namespace] = look.at
        for pod in look.pods:
            row = _row_of(pod, beliefs)
            if row is not None and row.owns(pod):
                alive.add(row.attempt_id)
            if (finding := _judge(pod, row, beliefs, patience, now)) is not None:
                found.append(finding)
    return (*found, *_missing(beliefs.rows.values(), at, alive, patience))


def _row_of(pod: PodSeen, beliefs: Beliefs) -> Believed | None:
    """The launch that the pod says it belongs to, as far as the ledger agrees that there was one."""
    who = pod.identity
    if who is None or who.deployment_id != beliefs.deployment_id:
        return None
    row = beliefs.rows.get(who.attempt_id)
    return row if row is not None and row.key == who.key and row.state not in NEVER_LAUNCHED else None


def _judge(pod: PodSeen, row: Believed | None, beliefs: Beliefs, patience: Patience, now: datetime) -> Finding | None:
    who = pod.identity
    if who is None:
        said = "It carries this deployment's label, and its annotations do not say whose it is."
        return _finding(Kind.UNREADABLE, Mend.OPERATOR, pod, said)
    if who.deployment_id != beliefs.deployment_id:
        return None
    if _is_foreign(who, row, pod, beliefs):
        return _finding(Kind.FOREIGN_INCARNATION, Mend.OPERATOR, pod, _why_foreign(who, beliefs))
    if pod.deleted_by is not None:
        return _stuck(pod, patience, now)
    if row is None:
        return _orphan(pod)
    if not row.owns(pod):
        return _duplicate(pod, row)
    return _unreported(pod, patience, now) if row.in_hand else _left_over(pod, row, patience, now)


def _is_foreign(who: PodIdentity, row: Believed | None, pod: PodSeen, beliefs: Beliefs) -> bool:
    """Whether this ledger, in this life of it, cannot have made the pod: every intent is committed before its create,
    and the ledger was read after the pods."""
    if row is not None:
        return who.incarnation != beliefs.incarnation and not row.owns(pod)
    unknown = who.attempt_id not in beliefs.rows
    return who.incarnation != beliefs.incarnation or not unknown or who.attempt_id > beliefs.newest_attempt_id


def _why_foreign(who: PodIdentity, beliefs: Beliefs) -> str:
    if who.incarnation != beliefs.incarnation:
        said = f"It was made in incarnation {who.incarnation} of this deployment, which is now in {beliefs.incarnation}"
    elif who.attempt_id > beliefs.newest_attempt_id:
        said = f"It is attempt {who.attempt_id}'s, and the ledger's newest is {beliefs.newest_attempt_id}"
    else:
        said = f"It is attempt {who.attempt_id}'s, which the ledger gave to something else or never launched"
    return f"{said}: the database was restored from a backup, or another one says that it is this deployment."


def _stuck(pod: PodSeen, patience: Patience, now: datetime) -> Finding | None:
    assert pod.deleted_by is not None
    if now - pod.deleted_by <= timedelta(seconds=patience.terminating_seconds):
        return None
    # The moment and not the age: a sentence that changed with each look would be written anew with each.
    over = f"{pod.deleted_by.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    where = f"node {pod.node}" if pod.node else "no node"
    said = (
        f"Its grace period was over at {over} and it is still there, on {where}: the node does not answer, or a "
        "finalizer holds it. While the node may live, so may its containers."
    )
    return _finding(Kind.STUCK_TERMINATING, Mend.OPERATOR, pod, said)


def _orphan(pod: PodSeen) -> Finding:
    if pod.finished:
        said = "Its attempt is no longer in the ledger, and it has ended: nothing refers to it."
        return _finding(Kind.ORPHAN, Mend.DELETE, pod, said)
    said = "Its attempt is no longer in the ledger, and it runs: whether its work is still wanted, nobody here knows."
    return _finding(Kind.ORPHAN, Mend.OPERATOR, pod, said)


def _duplicate(pod: PodSeen, row: Believed) -> Finding:
    if row.in_hand and not row.uid:
        # Which of the two passes the fence is not settled yet.
        said = f"It carries the identity of an attempt whose pod is to be {row.namespace}/{row.name}."
        return _finding(Kind.DUPLICATE, Mend.OPERATOR, pod, said)
    said = f"It carries the identity of an attempt whose pod is another one, with uid {row.uid or 'unknown'}."
    return _finding(Kind.DUPLICATE, Mend.DELETE, pod, said)


def _unreported(pod: PodSeen, patience: Patience, now: datetime) -> Finding | None:
    if not pod.finished or not _older(pod.finished_at, patience.unreported_seconds, now):
        return None
    said = "It has ended, and the ledger still believes its attempt alive."
    return _finding(Kind.ZOMBIE, Mend.TELL, pod, said)


def _left_over(pod: PodSeen, row: Believed, patience: Patience, now: datetime) -> Finding | None:
    kept_seconds = patience.kept_for_seconds(row.state)
    if not pod.finished:
        if not _older(row.ended_at, patience.ended_seconds, now):
            return None
        said = f"Its attempt ended as {row.state}, and it runs on."
        return _finding(Kind.UNDEAD, Mend.END if kept_seconds else Mend.DELETE, pod, said)
    if not kept_seconds and _older(row.ended_at, patience.ended_seconds, now):
        said = f"Its attempt ended as {row.state}, and the deletion policy does not keep such pods."
        return _past_its_time(pod, row, said)
    if 0 < kept_seconds < math.inf and _older(row.ended_at, kept_seconds, now):
        kept = _words(timedelta(seconds=kept_seconds))
        said = f"Its attempt ended as {row.state}, and such pods are kept for {kept}."
        return _past_its_time(pod, row, said)
    return None


def _past_its_time(pod: PodSeen, row: Believed, sentence: str) -> Finding:
    finding = _finding(Kind.FINISHED_PAST_ITS_TIME, Mend.DELETE, pod, sentence)
    return replace(finding, by_policy=row.uid == pod.uid)


def _missing(
    rows: Iterable[Believed], looked_at: Mapping[str, datetime], alive: set[int], patience: Patience
) -> Iterator[Finding]:
    young = timedelta(seconds=patience.acknowledged_seconds)
    for row in rows:
        at = looked_at.get(row.namespace)
        if at is None or not row.in_hand or row.attempt_id in alive:
            continue
        # One whose create was never answered is no drift: the driver sends the same intent again.
        if row.acknowledged_at is None or at - row.acknowledged_at <= young:
            continue
        yield Finding(
            kind=Kind.MISSING,
            mend=Mend.TELL,
            namespace=row.namespace,
            name=row.name,
            uid=row.uid,
            attempt_id=row.attempt_id,
            task=str(row.key),
            incarnation=None,
            sentence=f"The ledger believes its attempt {row.state}, and the cluster does not have the pod.",
        )


def _finding(kind: Kind, mend: Mend, pod: PodSeen, sentence: str) -> Finding:
    who = pod.identity
    return Finding(
        kind=kind,
        mend=mend,
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        attempt_id=who.attempt_id if who else None,
        task=str(who.key) if who else "",
        incarnation=who.incarnation if who else None,
        sentence=sentence,
        created_at=pod.created_at,
    )


def _older(moment: datetime | None, seconds: float, now: datetime) -> bool:
    """A status that tells no time is as old as the first of the two looks, which is old enough."""
    return moment is None or now - moment > timedelta(seconds=seconds)


def _words(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min" if minutes > 1 else f"{seconds} s"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


MENDS: dict[str, str] = {
    Mend.DELETE: "The pod is deleted.",
    Mend.END: "Its containers are ended, the pod stays.",
    Mend.TELL: "The executor looks again and reports the attempt's end.",
    Mend.OPERATOR: "An operator decides.",
    Mend.FORCE: "The pod is taken away by force.",
}
"""What follows from a finding, for people."""
