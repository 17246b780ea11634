"""Pods that the deletion policy keeps for a time, and whose time is over: deleted without a word in the ledger.

They are found where drift is found, by two looks, and thousands of them are an ordinary day. Each is the pod, by its
uid, of an attempt that the ledger has ended, so that many of them are no sign of a mistake; they have a cap of their
own. One whose delete fails is drift like any other. Lost with the driver: the next one finds the same pods and orders
their deletes again, which name the uid and then meet nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from execplane.contract.clock import Clock
from execplane.contract.observations import Mended
from execplane.pods.reconcile import NO_FINDING, Finding, Kind, Mend, Repair
from execplane.store import drift_rows

_MOST_UNDER_WAY = 1000
_ANSWER_SECONDS = 600.0
"""Until an order is answered: the last of a thousand has waited for all others."""
_GONE_SECONDS = 60.0
"""From the answer to a list without the pod, or with one that is going."""

_Identity = tuple[str, str, str, str]


class PolicyDeletes:
    """What one driver has ordered; for one thread."""

    def __init__(self, executor: str, clock: Clock) -> None:
        self._executor = executor
        self._clock = clock
        self._until: dict[_Identity, float] = {}
        """When a pod that is still there then has not been deleted (monotonic)."""
        self._unanswered: dict[int, _Identity] = {}
        """By attempt."""

    def drift(self, findings: Sequence[Finding], namespaces: Collection[str]) -> list[Finding]:
        """What of these looks is to stand among the findings: all but ordinary deletes that have not failed."""
        here = {one.identity for one in findings}
        moment = self._clock.monotonic()
        failed = {identity for identity, until in self._until.items() if until <= moment and identity in here}
        if any(one.by_policy for one in findings):
            # Those that stand there stay: another driver has tried, and an operator may have decided about them.
            failed |= drift_rows.open_identities(self._executor, Kind.FINISHED_PAST_ITS_TIME)
        gone = {identity for identity in self._until if identity[1] in namespaces and identity not in here}
        over = failed | gone
        self._until = {one: until for one, until in self._until.items() if one not in over}
        self._unanswered = {key: one for key, one in self._unanswered.items() if one in self._until}
        return [one for one in findings if not one.by_policy or one.identity in failed]

    def orders(
        self, findings: Sequence[Finding], drift: Sequence[Finding], confirmed: Collection[_Identity]
    ) -> tuple[Repair, ...]:
        """The deletes that are due, as many as there is room for."""
        other = {one.identity for one in drift}
        due = [
            one
            for one in findings
            if one.identity in confirmed and one.identity not in other and one.identity not in self._until
        ][: _MOST_UNDER_WAY - len(self._unanswered)]
        until = self._clock.monotonic() + _ANSWER_SECONDS
        for one in due:
            self._until[one.identity] = until
            self._unanswered[one.attempt_id or 0] = one.identity
        return tuple(
            Repair(
                finding_id=NO_FINDING,
                mend=Mend.DELETE,
                namespace=one.namespace,
                name=one.name,
                uid=one.uid,
                attempt_id=one.attempt_id or 0,
            )
            for one in due
        )

    def answered(self, fact: Mended) -> None:
        """One that failed is drift from the next look on."""
        identity = self._unanswered.pop(fact.attempt_id, None)
        if identity in self._until:
            self._until[identity] = self._clock.monotonic() + _GONE_SECONDS if fact.done else float("-inf")
