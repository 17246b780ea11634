"""Keeps one driver to the launch holds: the shell around `holds`.

Three moments count. A claim leaves out what is known to be held; where a pod would go is known only once it is built,
so what turns out to be held then goes back; and a create that was committed and is not sent yet waits in the executor
or for its next try, and is kept back there. A create that is under way is not called back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from execplane.contract.executor import Executor
from execplane.contract.launch_holds import LaunchHold, Scope
from execplane.executors.driver.holds import Held, concerns, covers, held, held_for, next_expiry
from execplane.executors.driver.workloads import Built
from execplane.store import launch_hold_rows
from execplane.store.launch_hold_rows import Place
from execplane.store.transitions import launch_holds, launching
from execplane.store.transitions.launch_holds import HeldBack

_KEEP_BACK = timedelta(seconds=60)
"""After so long it is looked at once more; the end of a hold is noticed at once."""


@runtime_checkable
class Withdrawing(Protocol):
    """An executor that keeps launches waiting before it asks anybody for them, and gives them back."""

    def unsent(self) -> Collection[int]:
        """Attempts whose launch waits here; costs no call."""

    def withdraw(self, attempt_ids: Collection[int]) -> list[int]:
        """Forget those of these launches that were not asked for yet; gives them. `launch` may bring them again."""


class LaunchGate:
    """The holds of one executor, as of the newest look."""

    def __init__(self, executor: str, *, owner: str) -> None:
        self._executor = executor
        self._owner = owner
        self._holds: tuple[LaunchHold, ...] = ()
        self.held = Held()
        self.kept_back: frozenset[int] = frozenset()
        """Committed launches that are not sent for a hold."""
        self._ended: tuple[int, ...] = ()

    def look(self, executor: Executor, now: datetime) -> None:
        """Read what counts now. One read of a small table where nothing is held."""
        holds = launch_hold_rows.active(now)
        tagged = launch_hold_rows.tagged([hold.name for hold in holds if hold.scope is Scope.DAG_TAG])
        counting = {hold.id for hold in holds}
        ended = [hold for hold in self._holds if hold.id not in counting]
        if ended and self.kept_back:
            launching.hold_launch(sorted(self.kept_back), until=now)
            self.kept_back = frozenset()
        # Last, and all at once: if a query fails before, the next look sees the same ends once more.
        of_ours = [hold.id for hold in ended if concerns(hold, executor=self._executor)]
        self._ended = (*self._ended, *of_ours)[-launch_hold_rows.MOST_ACTIVE :]
        self._holds, self.held = holds, held(holds, executor=self._executor, tagged=tagged)
        if self._holds and isinstance(executor, Withdrawing) and (unsent := executor.unsent()):
            covered = self._covered(unsent)
            self._keep_back(executor.withdraw(covered) if covered else (), now)

    def take_ended(self) -> tuple[int, ...]:
        """The holds that some launch of this executor may have waited for, and that have ended since this was last
        asked."""
        ended, self._ended = self._ended, ()
        return ended

    def next_expiry(self) -> datetime | None:
        """When something may go on without anybody's doing."""
        return next_expiry(self._holds)

    def send_again(self, attempt_ids: Sequence[int], now: datetime) -> list[int]:
        """Those of the launches that are to be sent again that nothing holds; the others are kept back."""
        if not self._holds:
            return list(attempt_ids)
        covered = self._covered(attempt_ids)
        self._keep_back(covered, now)
        return [pk for pk in attempt_ids if pk not in covered]

    def built(self, built: Built, now: datetime) -> Built:
        """Without the pods that would come into a place that is held: their attempts are queued as before."""
        back = [
            HeldBack(
                attempt_id=intent.attempt_id, cluster=intent.cluster, namespace=intent.namespace, sentence=sentence
            )
            for intent in built.intents
            if (sentence := self.held.place(intent.cluster, intent.namespace))
        ]
        if not back:
            return built
        launch_holds.put_back(back, owner=self._owner, now=now)
        gone = {one.attempt_id for one in back}
        return replace(built, intents=tuple(one for one in built.intents if one.attempt_id not in gone))

    def _keep_back(self, attempt_ids: Collection[int], now: datetime) -> None:
        if attempt_ids:
            launching.hold_launch(sorted(attempt_ids), until=now + _KEEP_BACK)
            self.kept_back |= set(attempt_ids)

    def _covered(self, attempt_ids: Iterable[int]) -> set[int]:
        found = launch_hold_rows.places(attempt_ids)
        tags = launch_hold_rows.tags_of(one.dag_id for one in found)
        return {
            one.attempt_id for one in found if any(_covers(hold, self._executor, one, tags) for hold in self._holds)
        }


def held_seconds(executor: str, queued_at: Mapping[int, datetime], now: datetime) -> dict[int, float]:
    """How long each of these attempts could not be launched for a hold: a wait that no deadline counts."""
    rows = launch_hold_rows.since(min(queued_at.values(), default=now))
    if not rows:
        return {}
    found = launch_hold_rows.places(queued_at)
    tags = launch_hold_rows.tags_of(one.dag_id for one in found)
    waited: dict[int, float] = {}
    for one in found:
        spans = [
            (row.hold.since, min(end for end in (row.ended_at, row.hold.until, now) if end is not None))
            for row in rows
            if _covers(row.hold, executor, one, tags)
        ]
        waited[one.attempt_id] = held_for(spans, queued_at[one.attempt_id], now).total_seconds()
    return waited


def _covers(hold: LaunchHold, executor: str, one: Place, tags: Mapping[str, Sequence[str]]) -> bool:
    return covers(
        hold,
        executor=executor,
        dag_id=one.dag_id,
        tags=tags.get(one.dag_id, ()),
        cluster=one.cluster,
        namespace=one.namespace,
    )
