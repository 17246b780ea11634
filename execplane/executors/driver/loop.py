"""The driver's loop: apply facts, stop what must stop, claim what fits, commit intents, launch, clean up.

External calls and lost answers. Every launch is preceded by a committed intent; when the answer to a launch is lost
(or we are), the same bytes are launched again and the executor finds what the first call made. A stop or a clean-up
that is repeated meets something that is gone, which is a fact like any other.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from execplane.contract.clock import Clock
from execplane.contract.executor import Executor
from execplane.contract.loops import IDLE, NOW, Next, at
from execplane.contract.observations import Acknowledged, Cleaned, Diagnosis, Fact, Gone, LaunchRefused, Progress
from execplane.contract.workload import Intent
from execplane.executors.driver import claims, ends
from execplane.executors.driver.workloads import Deployed
from execplane.store import launch_rows
from execplane.store.transitions import ending, launching

log = logging.getLogger(__name__)

_FACTS_AT_ONCE = 500
_MOST_FACTS = 20_000
_REPEAT_STOP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class DriverOptions:
    claims_per_tick: int = 100
    parallelism: int | None = None
    infra_retries: int = 3
    grace_seconds: float = 30.0
    unanswered_seconds: float = 60.0
    """A launch without an answer for this long is sent again."""
    most_launch_failures: int = 20


class DriverLoop:
    """Drives one executor. Leased: two drivers would not double a launch, but would fight over the pace."""

    topics = frozenset({"driver"})
    leased = True
    poll_seconds = 5.0

    def __init__(
        self,
        make_executor: Callable[[], Executor],
        deployed: Deployed,
        options: DriverOptions,
        clock: Clock,
        *,
        owner: str,
        wake: Callable[[], None],
    ) -> None:
        self._make_executor = make_executor
        self.executor = make_executor()
        self.name = f"driver:{self.executor.name}"
        self._deployed = deployed
        self._options = options
        self._clock = clock
        self._owner = owner
        self._wake = wake
        self._facts: queue.Queue[Fact] = queue.Queue(maxsize=_MOST_FACTS)
        self._waiting_facts = threading.Event()
        self._told: dict[int, float] = {}
        self._cleaning: set[int] = set()
        self._started = False
        self._adopted = False

    def report(self, facts: Sequence[Fact]) -> None:
        """Called by the executor from its own threads; blocks only when the driver is 20,000 facts behind."""
        for fact in facts:
            self._facts.put(fact)
        self._wake()

    def tick(self, now: datetime) -> Next:
        if not self._started:
            self.executor.start(self.report)
            self._started = True
        if not self._adopted:
            self._adopt(now)
            self._adopted = True
        more = self._apply_facts(now)
        self._stop_told(now)
        self._launch_again(now)
        claimed = self._claim(now)
        self._clean()
        if more or claimed == self._options.claims_per_tick:
            return NOW
        return at(now + timedelta(seconds=1)) if self._told else IDLE

    def _adopt(self, now: datetime) -> None:
        """After a start or a take-over: claims of dead drivers go back, what may be alive is watched again."""
        launching.unclaim(self._owner, self.executor.name, now=now)
        after = 0
        while page := launch_rows.in_hand(self.executor.name, after_id=after):
            self.executor.adopt(page)
            after = page[-1].attempt_id

    def _apply_facts(self, now: datetime) -> bool:
        facts: list[Fact] = []
        while len(facts) < _FACTS_AT_ONCE:
            try:
                facts.append(self._facts.get_nowait())
            except queue.Empty:
                break
        acknowledged = [fact for fact in facts if isinstance(fact, Acknowledged)]
        if acknowledged:
            launching.acknowledge(acknowledged)
        progress = [fact for fact in facts if isinstance(fact, Progress)]
        if progress:
            ending.observe(progress, now=now)
        for fact in facts:
            if isinstance(fact, Gone):
                ends.end_gone(fact, now=now, infra_retries=self._options.infra_retries, actor=self._owner)
                self._told.pop(fact.attempt_id, None)
            elif isinstance(fact, LaunchRefused):
                self._refused(fact, now)
        cleaned = [fact for fact in facts if isinstance(fact, Cleaned)]
        if cleaned:
            ending.cleaned([fact.attempt_id for fact in cleaned], cleaned[-1].at)
            self._cleaning.difference_update(fact.attempt_id for fact in cleaned)
        return len(facts) == _FACTS_AT_ONCE

    def _refused(self, fact: LaunchRefused, now: datetime) -> None:
        if fact.retry:
            delay = timedelta(seconds=max(fact.retry_after_seconds, 0.0))
            launching.postpone_launch(fact.attempt_id, fact.diagnosis, retry_at=now + delay)
        else:
            ends.end_refused(fact, now=now, infra_retries=self._options.infra_retries, actor=self._owner)

    def _stop_told(self, now: datetime) -> None:
        """Each stop request is passed on once, and again when its end does not come."""
        moment = self._clock.monotonic()
        handles = launch_rows.stopping(self.executor.name)
        again = [
            handle
            for handle in handles
            if moment - self._told.get(handle.attempt_id, float("-inf"))
            > self._options.grace_seconds + _REPEAT_STOP_SECONDS
        ]
        if again:
            self.executor.stop(again, grace_seconds=self._options.grace_seconds)
        stopping = {handle.attempt_id for handle in handles}
        self._told = {pk: told for pk, told in self._told.items() if pk in stopping}
        self._told.update((handle.attempt_id, moment) for handle in again)

    def _launch_again(self, now: datetime) -> None:
        older = timedelta(seconds=self._options.unanswered_seconds)
        due = launching.due_again(self.executor.name, now=now, older_than=older)
        if not due:
            return
        intents = [
            Intent(
                attempt_id=handle.attempt_id,
                key=handle.key,
                namespace=handle.namespace,
                name=handle.name,
                cluster=handle.cluster,
                body=handle.body,
            )
            for handle in launch_rows.handles(due, with_body=True)
        ]
        launching.hold_launch([intent.attempt_id for intent in intents], until=now + older)
        self.executor.launch(intents)

    def _claim(self, now: datetime) -> int:
        """Claim, build, commit the intents, launch. Gives how many were claimed."""
        if not launch_rows.any_queued(self.executor.name):
            return 0
        if reason := self.executor.check():
            claims.hold_all(self.executor.name, reason)
            return 0
        claimed = claims.claim(
            self.executor,
            parallelism=self._options.parallelism,
            most=self._options.claims_per_tick,
            owner=self._owner,
            now=now,
        )
        if not claimed:
            return 0
        built = claims.build(claimed, self.executor, self._deployed)
        for attempt_id, diagnosis in built.refused.items():
            self._refuse_build(attempt_id, diagnosis, now)
        allowed = set(launching.commit_intents(built.intents, owner=self._owner, now=now))
        self.executor.launch([intent for intent in built.intents if intent.attempt_id in allowed])
        return len(claimed)

    def _refuse_build(self, attempt_id: int, diagnosis: Diagnosis, now: datetime) -> None:
        fact = LaunchRefused(attempt_id=attempt_id, diagnosis=diagnosis, retry=False, at=now)
        ends.end_refused(fact, now=now, infra_retries=self._options.infra_retries, actor=self._owner)

    def _clean(self) -> None:
        found = [
            (handle, failed)
            for handle, failed in launch_rows.to_clean(self.executor.name)
            if handle.attempt_id not in self._cleaning
        ]
        for failed in (False, True):
            handles = [handle for handle, was in found if was is failed]
            if handles:
                self._cleaning.update(handle.attempt_id for handle in handles)
                self.executor.clean(handles, failed=failed)

    def close(self) -> None:
        """Let go: what runs keeps running, and the next driver adopts it."""
        if self._started:
            self.executor.close()
            self.executor = self._make_executor()
        self._started = self._adopted = False
        self._told.clear()
        self._cleaning.clear()
