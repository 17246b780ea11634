"""Verbs on drift: look now, decide about a finding, let an executor launch again."""

from __future__ import annotations

from execplane.actions.actor import Actor, demand
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict, InvalidInput
from execplane.pods.reconcile import Kind
from execplane.store import drift_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.queries import drift

_CLOCK = SystemClock()

LEAVE, DELETE, FORCE = "leave", "delete", "force"
_DECISIONS: dict[str, tuple[str, ...]] = {
    Kind.ORPHAN: (LEAVE, DELETE),
    Kind.UNDEAD: (LEAVE, DELETE),
    Kind.DUPLICATE: (LEAVE, DELETE),
    Kind.FINISHED_PAST_ITS_TIME: (LEAVE, DELETE),
    Kind.FOREIGN_INCARNATION: (LEAVE, DELETE),
    Kind.UNREADABLE: (LEAVE, DELETE),
    Kind.STUCK_TERMINATING: (LEAVE, FORCE),
    Kind.ZOMBIE: (LEAVE,),
    Kind.MISSING: (LEAVE,),
}


def decisions(kind: str) -> tuple[str, ...]:
    """What may be decided about a finding of this kind. A pod that an attempt in hand owns is not deleted from here:
    its attempt is cancelled instead."""
    return _DECISIONS.get(kind, (LEAVE,))


def look(actor: Actor, executors: tuple[str, ...], *, clock: Clock = _CLOCK) -> None:
    """Have the drivers compare their clusters with the ledger now. Repeating it asks for one more look."""
    demand(actor, "ask for a look at the pods")
    now = clock.now()
    with write():
        for executor in executors:
            drift_rows.want_look(executor, now=now)
            audit(actor.name, "reconcile", f"executor:{executor}", now=now)


def decide(actor: Actor, finding_id: int, decision: str, reason: str = "", *, clock: Clock = _CLOCK) -> None:
    """Leave the pod as it is, have it deleted, or taken away by force; the running driver does it.

    Raises NotFound, InvalidInput, Conflict (the finding is resolved).
    """
    demand(actor, "decide about drift")
    now = clock.now()
    with write():
        row = drift.finding(finding_id)
        allowed = decisions(row.kind)
        if decision not in allowed:
            words = f"A pod of the kind {row.kind} may be: {', '.join(allowed)}."
            raise InvalidInput(words, hint="See docs/drift.md for why.")
        if decision == FORCE and not reason.strip():
            hint = "Say how it is known that the node is dead: if it lives, so may the pod's containers."
            raise InvalidInput("Taking a pod away by force needs a reason.", hint=hint)
        if row.resolved_at is not None and not row.holds:
            raise Conflict(f"The finding {finding_id} is resolved: a look no longer found it.")
        drift_rows.decide(finding_id, decision, actor=actor.name, reason=reason, now=now)
        drift_rows.want_look(row.executor, now=now)
        said = {"decision": decision, "reason": reason, "pod": f"{row.namespace}/{row.pod_name}", "kind": row.kind}
        audit(actor.name, "decide drift", f"drift:{finding_id}", after=said, now=now)


def release(actor: Actor, executor: str, reason: str = "", *, clock: Clock = _CLOCK) -> int:
    """Let an executor launch again whose pods were not all this database's; those pods are left as they are.

    Gives how many findings held it. Raises Conflict when none does.
    """
    demand(actor, "release an executor")
    now = clock.now()
    with write():
        n = drift_rows.release(executor, actor=actor.name, reason=reason, now=now)
        if not n:
            held = drift_rows.holding()
            hint = f"Held now: {', '.join(held)}." if held else "No executor is held."
            raise Conflict(f"Nothing holds the executor {executor}.", hint=hint)
        audit(actor.name, "release", f"executor:{executor}", after={"reason": reason, "findings": n}, now=now)
    return n
