"""Drift in the ledger: what comparing it with a cluster reads, finds, did, and what operators decided about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import F, Max, QuerySet

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Missed
from execplane.contract.states import AttemptState
from execplane.pods.reconcile import HOLDING, MOST_INCARNATION, Believed, Finding, Kind, Mend
from execplane.store.database import nudge, write
from execplane.store.launch_rows import IN_HAND
from execplane.store.models import Attempt, Deployment, DriftFinding, DriftLook
from execplane.store.prepared import Parameter, Select, SelectIn
from execplane.store.queries.literal import is_active
from execplane.store.texts import clean

TOPIC = "drift"
MOST_OPEN = 2000
"""Open findings of one executor that are stored; how many more there are is said with the look."""
_MOST_BEYOND = 1000
"""Beyond those, one at a time where launches must be held: each follows on an operator's word about the one before."""
RELEASE = "release"
"""The decision about all that held an executor. The others are about one pod."""
KEPT = 10_000
"""Newest findings that stay, resolved ones included."""

_BELIEVED = (
    "pk",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "attempt_no",
    "state",
    "namespace",
    "pod_name",
    "pod_uid",
    "acknowledged_at",
    "ended_at",
    "held_until",
)


Identity = tuple[str, str, str, str]
"""`pods.reconcile.Finding.identity`."""


# What a comparison reads


def believed_in_hand(executor: str, *, after_id: int, limit: int) -> list[Believed]:
    """What the ledger believes alive on the executor, a page at a time by id. Reads attempt_active."""
    return [_believed(row) for row in _in_hand(limit)(executor=executor, after_id=after_id)]


@cache
def _in_hand(limit: int) -> Select:
    alive = Attempt.objects.filter(
        is_active(), executor=Parameter("executor"), state__in=IN_HAND, pk__gt=Parameter("after_id")
    )
    return Select(lambda: alive.order_by("pk").values_list(*_BELIEVED)[:limit])


_BY_ID = SelectIn(lambda keys: Attempt.objects.filter(pk__in=keys).values_list(*_BELIEVED))


def believed(attempt_ids: Sequence[int]) -> list[Believed]:
    """Those of the attempts that the ledger has, by the primary key."""
    return [_believed(row) for row in _BY_ID(attempt_ids)]


def _believed(row: tuple[Any, ...]) -> Believed:
    pk, dag_id, run_id, task_id, map_index, attempt_no, state, namespace, name, uid, acknowledged_at, *ends = row
    # A failed container that is held for debugging is no left-over before its time.
    ended_at = max((at for at in ends if at is not None), default=None)
    return Believed(
        attempt_id=pk,
        key=AttemptKey(
            task=TaskKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index), attempt_no=attempt_no
        ),
        state=AttemptState(state),
        namespace=namespace,
        name=name or "",
        uid=uid,
        acknowledged_at=acknowledged_at,
        ended_at=ended_at,
    )


def newest_attempt_id() -> int:
    """0: there is none."""
    return Attempt.objects.aggregate(newest=Max("pk"))["newest"] or 0


def incarnation() -> int:
    return Deployment.objects.values_list("incarnation", flat=True).get(pk=1)


# What it found


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenFinding:
    """A finding that the newest look still has."""

    id: int
    kind: Kind
    mend: Mend
    namespace: str
    pod_name: str
    pod_uid: str
    attempt_id: int | None
    tries: int
    tried_at: datetime | None
    decision: str

    @property
    def identity(self) -> Identity:
        return (self.kind, self.namespace, self.pod_name, self.pod_uid)


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    found: tuple[OpenFinding, ...]
    """Of the look just recorded."""
    new: tuple[Kind, ...]
    left_off: int


def record(
    executor: str,
    findings: Sequence[Finding],
    *,
    confirmed: Collection[Identity],
    cluster: str,
    namespaces: Collection[str],
    now: datetime,
) -> Noted:
    """Make the executor's open findings in these namespaces be those: what is confirmed is added, what was open and is
    not among them is resolved. Pods of another life of the ledger begin a new incarnation of it, so that what is made
    from now on can be told from them. Repeated, it changes nothing more.

    Where there is no room for all, what must hold launches goes first, and one of it is stored in any case: a hold that
    stands nowhere could not be released. Reads drift_open_once.
    """
    with write():
        open_rows = {
            (row.kind, row.namespace, row.pod_name, row.pod_uid): row
            for row in _open(executor).order_by("pk").select_for_update()[: MOST_OPEN + _MOST_BEYOND]
        }
        by_identity = {finding.identity: finding for finding in findings}
        still = {identity: row for identity, row in open_rows.items() if identity in by_identity}
        over = [pk for identity, pk in _outside(open_rows, by_identity) if identity[1] in namespaces]
        DriftFinding.objects.filter(pk__in=over).update(resolved_at=now)
        DriftFinding.objects.filter(pk__in=[row.pk for row in still.values()]).update(last_seen=now)
        for identity, row in still.items():
            _amend(row, by_identity[identity])
        fresh = [one for identity, one in by_identity.items() if identity in confirmed and identity not in open_rows]
        released = _newest_release(executor) if any(one.kind in HOLDING for one in fresh) else None
        fresh.sort(key=lambda one: (one.kind not in HOLDING) + 2 * _covers(released, one))
        room = max(0, MOST_OPEN - len(open_rows) + len(over))
        if fresh and not room and _holds(released, fresh[0]) and not hold_reason(executor):
            room = 1
        _insert(executor, fresh[:room], released, cluster, now)
        _next_life(fresh)
        seen = _open(executor).filter(last_seen=now).order_by("pk")[: MOST_OPEN + _MOST_BEYOND]
        found = [_open_finding(row) for row in seen]
        if fresh:
            _prune()
        nudge(TOPIC)
    return Noted(found=tuple(found), new=tuple(one.kind for one in fresh[:room]), left_off=max(0, len(fresh) - room))


def open_identities(executor: str, kind: Kind) -> set[Identity]:
    """The executor's open findings of a kind. Reads drift_open_once."""
    rows = _open(executor).filter(kind=kind).values_list("kind", "namespace", "pod_name", "pod_uid")
    return set(rows[: MOST_OPEN + _MOST_BEYOND])


def _open(executor: str) -> QuerySet[DriftFinding]:
    return DriftFinding.objects.filter(executor=executor, resolved_at__isnull=True)


def _outside(rows: dict[Identity, DriftFinding], wanted: Collection[Identity]) -> list[tuple[Identity, int]]:
    return [(identity, row.pk) for identity, row in rows.items() if identity not in wanted]


def _amend(row: DriftFinding, finding: Finding) -> None:
    """A pod that ran has ended, say: what mends it changes, the finding stays."""
    if (row.mend, row.sentence) != (finding.mend, finding.sentence):
        DriftFinding.objects.filter(pk=row.pk).update(mend=finding.mend, sentence=clean(finding.sentence))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Release:
    decided_by: str
    decided_at: datetime
    decision_reason: str


def _newest_release(executor: str) -> _Release | None:
    """Walks the table, which is bounded, and only when foreign pods are there that are not stored."""
    rows = DriftFinding.objects.filter(executor=executor, decision=RELEASE).order_by("-decided_at")
    row = rows.first()
    if row is None or row.decided_at is None:
        return None
    return _Release(decided_by=row.decided_by, decided_at=row.decided_at, decision_reason=row.decision_reason)


def _covers(released: _Release | None, finding: Finding) -> bool:
    """A release is about all foreign pods that were there when it was given, also those that there was no room for.
    A later pod is another matter: whoever made it is still at it, or the database was restored once more."""
    if released is None or finding.kind not in HOLDING or finding.created_at is None:
        return False
    return finding.created_at <= released.decided_at


def _holds(released: _Release | None, finding: Finding) -> bool:
    return finding.kind in HOLDING and not _covers(released, finding)


def _insert(executor: str, findings: Sequence[Finding], released: _Release | None, cluster: str, now: datetime) -> None:
    DriftFinding.objects.bulk_create(
        (
            DriftFinding(
                executor=executor,
                kind=one.kind,
                mend=one.mend,
                cluster=cluster,
                namespace=one.namespace,
                pod_name=one.name,
                pod_uid=one.uid,
                attempt_id=one.attempt_id,
                task=clean(one.task),
                sentence=clean(one.sentence),
                first_seen=now,
                last_seen=now,
                holds_since=now if one.kind in HOLDING else None,
                **(asdict(released) | {"decision": RELEASE} if released and _covers(released, one) else {}),
            )
            for one in findings
        ),
        batch_size=500,
        ignore_conflicts=True,
    )


def _next_life(fresh: Sequence[Finding]) -> None:
    lives = [one.incarnation for one in fresh if one.kind in HOLDING and one.incarnation is not None]
    if lives:
        newest = min(max(lives), MOST_INCARNATION - 1)
        Deployment.objects.filter(pk=1, incarnation__lte=newest).update(incarnation=newest + 1)


def _prune() -> None:
    """By the primary key; what still holds launches stays."""
    oldest = list(DriftFinding.objects.order_by("-pk").values_list("pk", flat=True)[KEPT : KEPT + 1])
    if oldest:
        beyond = DriftFinding.objects.filter(pk__lte=oldest[0], resolved_at__isnull=False)
        beyond.exclude(holds_since__isnull=False, decided_at__isnull=True).delete()


def _open_finding(row: DriftFinding) -> OpenFinding:
    return OpenFinding(
        id=row.pk,
        kind=Kind(row.kind),
        mend=Mend(row.mend),
        namespace=row.namespace,
        pod_name=row.pod_name,
        pod_uid=row.pod_uid,
        attempt_id=row.attempt_id,
        tries=row.tries,
        tried_at=row.tried_at,
        decision=row.decision,
    )


def looked(executor: str, *, at: datetime, pods: int, attempts: int, unseen: str, left_off: int) -> None:
    """The newest comparison, whatever it found."""
    values = {"at": at, "pods": pods, "attempts": attempts, "unseen": clean(unseen), "left_off": left_off}
    with write():
        if not DriftLook.objects.filter(pk=executor).update(**values):
            DriftLook.objects.create(pk=executor, **values)
        nudge(TOPIC)


def missed(executor: str, facts: Sequence[Missed], *, cluster: str, actor: str) -> None:
    """What a list found gone and has had reported already: drift that was over when it was found."""
    with write():
        DriftFinding.objects.bulk_create(
            DriftFinding(
                executor=executor,
                kind=Kind.MISSING,
                mend=Mend.TELL,
                cluster=cluster,
                namespace=fact.namespace,
                pod_name=fact.name,
                pod_uid=fact.uid,
                attempt_id=fact.attempt_id,
                task=clean(str(fact.key)),
                sentence="A list no longer had the pod, and the watch had not told that it went.",
                first_seen=fact.at,
                last_seen=fact.at,
                resolved_at=fact.at,
                action="Its attempt's end was reported.",
                action_by=actor[:200],
            )
            for fact in facts
        )
        _prune()
        nudge(TOPIC)


# What was done


def trying(finding_ids: Sequence[int], *, now: datetime) -> None:
    """Repairs are about to be ordered: counted before, so that a crash in between cannot make them endless."""
    with write():
        DriftFinding.objects.filter(pk__in=finding_ids).update(tries=F("tries") + 1, tried_at=now)


def mended(finding_id: int, sentence: str, *, actor: str) -> str:
    """Note what a repair came to; gives the finding's kind, "" when it is no longer kept."""
    with write():
        row = DriftFinding.objects.filter(pk=finding_id)
        row.update(action=clean(sentence), action_by=actor[:200])
        nudge(TOPIC)
        return row.values_list("kind", flat=True).first() or ""


# Holds and decisions

_HOLDS = Select(
    lambda: (
        DriftFinding.objects.filter(decided_at__isnull=True, holds_since__isnull=False, executor=Parameter("executor"))
        .order_by("pk")
        .values_list("namespace", "pod_name")[:1]
    )
)


def hold_reason(executor: str) -> str:
    """Why the executor may launch nothing; "" when it may. Reads drift_holds, one row."""
    found = _HOLDS.first(executor=executor)
    if found is None:
        return ""
    return (
        f"The {executor} executor launches nothing until an operator decides: pods such as {found[0]}/{found[1]} are "
        f"not from this database. See Drift; then `execplane pods release {executor}`."
    )


def holding() -> list[str]:
    """Executors that are held. Reads drift_holds."""
    rows = DriftFinding.objects.filter(decided_at__isnull=True, holds_since__isnull=False)
    return sorted(set(rows.order_by("executor").values_list("executor", flat=True).distinct()[:100]))


def release(executor: str, *, actor: str, reason: str, now: datetime) -> int:
    """Leave as they are all findings that hold the executor's launches, and the pods like them that are not stored;
    gives how many are."""
    rows = DriftFinding.objects.filter(executor=executor, decided_at__isnull=True, holds_since__isnull=False)
    n = rows.update(decision=RELEASE, decided_by=actor[:200], decided_at=now, decision_reason=clean(reason))
    nudge(TOPIC, "driver")
    return n


def decide(finding_id: int, decision: str, *, actor: str, reason: str, now: datetime) -> None:
    """An operator's word on one finding; the last word counts, and a repair that it asks for is tried anew."""
    DriftFinding.objects.filter(pk=finding_id).update(
        decision=decision,
        decided_by=actor[:200],
        decided_at=now,
        decision_reason=clean(reason),
        tries=0,
        tried_at=None,
    )
    nudge(TOPIC, "driver")


def want_look(executor: str, *, now: datetime) -> None:
    """Have the executor's driver look at its next tick."""
    if not DriftLook.objects.filter(pk=executor).update(wanted_at=now):
        DriftLook.objects.create(pk=executor, wanted_at=now)
    nudge("driver")


_WANTED = Select(lambda: DriftLook.objects.filter(pk=Parameter("executor")).values_list("wanted_at"))


def look_wanted(executor: str) -> datetime | None:
    """When a look was last asked for."""
    found = _WANTED.first(executor=executor)
    return found[0] if found else None
