"""The driver's loop: apply facts, stop what must stop, claim what fits, commit intents, launch, clean up.

External calls and lost answers. Every launch is preceded by a committed intent; when the answer to a launch is lost
(or we are), the same bytes are launched again and the executor finds what the first call made. A stop or a clean-up
that is repeated meets something that is gone, which is a fact like any other.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.contract.executor import Executor, Report
from execplane.contract.loops import IDLE, NOW, Next, at
from execplane.contract.observations import (
    Acknowledged,
    Cleaned,
    Diagnosis,
    Fact,
    Gone,
    LaunchRefused,
    Mended,
    Missed,
    Progress,
    Recorded,
)
from execplane.contract.pending import Code
from execplane.contract.workload import Handle, Intent
from execplane.executors.driver import backlog, claims, ends
from execplane.executors.driver.deadlines import DeadlineOptions
from execplane.executors.driver.deadlines_probe import ApiProbe
from execplane.executors.driver.deadlines_watch import AnswersOfApi, DeadlineWatch
from execplane.executors.driver.launch_gate import LaunchGate
from execplane.executors.driver.launch_waves import LaunchWaves
from execplane.executors.driver.reconciling import Reconcilable, Reconciler
from execplane.executors.driver.waves import WaveOptions
from execplane.executors.driver.workloads import Deployed
from execplane.executors.task_policy import FailurePolicy
from execplane.pods.reconcile import Kind
from execplane.store import drift_rows, launch_rows
from execplane.store.database import is_outage
from execplane.store.transitions import ending, launching, observing, recording

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Fact)
_FACTS_AT_ONCE = 500
_MOST_FACTS = 20_000
_MOST_CLEANING = 5_000
"""Clean-ups under way at once."""
_REPEAT_STOP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class DriverOptions:
    claims_per_tick: int = 100
    parallelism: int | None = None
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    grace_seconds: float = 30.0
    self_fence_seconds: float = 600.0
    unanswered_seconds: float = 60.0
    """A launch without an answer for this long is sent again."""
    deadlines: DeadlineOptions = field(default_factory=DeadlineOptions)
    waves: WaveOptions = field(default_factory=WaveOptions)


class _LeaseRanOut(Exception):
    """Nothing is asked of the executor any more; what is committed is found again by whoever drives next."""


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
        may_act: Callable[[], bool] = lambda: True,
        api_answers: AnswersOfApi | None = None,
    ) -> None:
        """`may_act` is asked right before each call of the executor: whether the lease is still held. `api_answers`
        instead of asking the worker API itself."""
        self.may_act = may_act
        self._make_executor = make_executor
        self.executor = make_executor()
        self.name = f"driver:{self.executor.name}"
        self._deployed = deployed
        self._options = options
        self._clock = clock
        self._owner = owner
        self._wake = wake
        self._facts: queue.Queue[Fact] = queue.Queue(maxsize=_MOST_FACTS)
        self._unapplied: list[Fact] = []
        self._told: dict[int, float] = {}
        self._cleaning: set[int] = set()
        self._started = False
        self._adopted = False
        self._claiming = False
        self._gate, self._waves = self._make_gate()
        self._reconciler = self._make_reconciler()
        self._api_answers = api_answers or ApiProbe(deployed.api_url, clock)
        self._deadlines = self._make_deadlines()

    def _make_deadlines(self) -> DeadlineWatch:
        return DeadlineWatch(
            self.executor.name,
            self._options.deadlines,
            self._clock,
            owner=self._owner,
            failures=self._options.failures,
            api_answers=self._api_answers,
        )

    def _make_gate(self) -> tuple[LaunchGate, LaunchWaves]:
        gate = LaunchGate(self.executor.name, owner=self._owner)
        return gate, LaunchWaves(self.executor.name, self._options.waves, self._clock)

    def _make_reconciler(self) -> Reconciler:
        deployed = self._deployed
        return Reconciler(
            self.executor.name, deployed.deployment_id, deployed.incarnation, self._clock, actor=self._owner
        )

    def _report_to(self, facts: queue.Queue[Fact]) -> Report:
        """Called by the executor from its own threads; blocks only when the driver is 20,000 facts behind."""

        def report(found: Sequence[Fact]) -> None:
            for fact in found:
                facts.put(fact)
            self._wake()

        return report

    def tick(self, now: datetime) -> Next:
        try:
            return self._tick(now)
        except _LeaseRanOut:
            self._adopted = False
            return NOW
        except Exception:
            self._deadlines.interrupted()
            raise

    def _tick(self, now: datetime) -> Next:
        if not self._started:
            self._demand_lease()
            if isinstance(self.executor, backlog.Leading):
                self.executor.lead(lambda: self.may_act())
            self.executor.start(self._report_to(self._facts))
            self._started = True
        if not self._adopted:
            self._adopt(now)
            self._adopted = True
        if self._claiming:
            # The last claim broke off between its commit and that of the intents.
            launching.unclaim(self._owner, self.executor.name, now=now)
            self._claiming = False
        more = self._apply_facts(now)
        self._stop_told(now)
        self._reconcile(now)
        self._gate.look(self.executor, now)
        self._launch_again(now)
        claimed = self._claim(now)
        self._clean(now)
        self._demand_lease()
        self._deadlines.look(now, self.executor, self._held, kept_back=self._gate.kept_back)
        if more or claimed == self._options.claims_per_tick or self._reconciler.busy:
            return NOW
        if isinstance(self.executor, Reconcilable) and (poll := self._reconciler.first_look_poll):
            return at(now + poll)
        due = [now + timedelta(seconds=1)] if self._told else []
        due += [now + timedelta(seconds=1)] if self._waves.words else []
        due += [expiry] if (expiry := self._gate.next_expiry()) else []
        return at(min(due)) if due else IDLE

    def _demand_lease(self) -> None:
        """Right before each external call: between the check and the call nothing is waited for."""
        if not self.may_act():
            raise _LeaseRanOut

    def _adopt(self, now: datetime) -> None:
        """After a start or a take-over: claims of dead drivers go back, what may be alive is watched again."""
        launching.unclaim(self._owner, self.executor.name, now=now)
        after = 0
        while page := launch_rows.in_hand(self.executor.name, after_id=after):
            self._demand_lease()
            self.executor.adopt(page)
            after = page[-1].attempt_id

    def _apply_facts(self, now: datetime) -> bool:
        """Facts are kept until the ledger has them: they are not told twice. All of them may be applied again."""
        while len(self._unapplied) < _FACTS_AT_ONCE:
            try:
                self._unapplied.append(self._facts.get_nowait())
            except queue.Empty:
                break
        facts = self._unapplied
        full = len(facts) == _FACTS_AT_ONCE
        _apply(observing.acknowledge, [fact for fact in facts if isinstance(fact, Acknowledged)])
        _apply(lambda some: observing.observe(some, now=now), [fact for fact in facts if isinstance(fact, Progress)])
        noted: set[tuple[int, str]] = set()
        _apply(lambda some: noted.update(ending.followed(some)), [fact for fact in facts if isinstance(fact, Gone)])
        for fact in facts:
            if isinstance(fact, Gone):
                if (fact.attempt_id, fact.uid) not in noted:
                    _apply(lambda some: self._gone(some[0], now), [fact])
                self._told.pop(fact.attempt_id, None)
            elif isinstance(fact, LaunchRefused):
                _apply(lambda some: self._refused(some[0], now), [fact])
        _apply(lambda some: recording.keep(some, now=now), [fact for fact in facts if isinstance(fact, Recorded)])
        _apply(self._cleaned, [fact for fact in facts if isinstance(fact, Cleaned)])
        _apply(self._missed, [fact for fact in facts if isinstance(fact, Missed)])
        for fact in facts:
            if isinstance(fact, Mended):
                _apply(lambda some: self._reconciler.mended(some[0]), [fact])
        self._unapplied = []
        return full

    def _gone(self, fact: Gone, now: datetime) -> None:
        ends.end_gone(
            fact,
            now=now,
            failures=self._options.failures,
            self_fence_seconds=self._options.self_fence_seconds,
            actor=self._owner,
        )

    def _cleaned(self, facts: Sequence[Cleaned]) -> None:
        ending.cleaned([fact.attempt_id for fact in facts], facts[-1].at)
        self._cleaning.difference_update(fact.attempt_id for fact in facts)

    def _missed(self, facts: Sequence[Missed]) -> None:
        cluster = self.executor.cluster if isinstance(self.executor, Reconcilable) else ""
        drift_rows.missed(self.executor.name, facts, cluster=cluster, actor=self._owner)
        metrics.current().count(
            "execplane_drift_findings_total", len(facts), executor=self.executor.name, kind=Kind.MISSING
        )

    def _refused(self, fact: LaunchRefused, now: datetime) -> None:
        if fact.retry:
            launching.postpone_launch(fact.attempt_id, fact.diagnosis, wait_seconds=fact.retry_after_seconds, now=now)
        else:
            ends.end_refused(fact, now=now, failures=self._options.failures, actor=self._owner)
        self._count_refused(fact)

    def _count_refused(self, fact: LaunchRefused) -> None:
        metrics.current().count(
            "execplane_launches_refused_total",
            executor=self.executor.name,
            category=fact.diagnosis.category,
            retried="true" if fact.retry else "false",
        )

    def _stop_told(self, now: datetime) -> None:
        """Each stop request is passed on once, and again when its end does not come."""
        moment = self._clock.monotonic()
        handles: list[Handle] = []
        while page := launch_rows.stopping(self.executor.name, after_id=handles[-1].attempt_id if handles else 0):
            handles += page
        again = [
            handle
            for handle in handles
            if moment - self._told.get(handle.attempt_id, float("-inf"))
            > self._options.grace_seconds + _REPEAT_STOP_SECONDS
        ]
        if again:
            self._demand_lease()
            self.executor.stop(again, grace_seconds=self._options.grace_seconds)
        stopping = {handle.attempt_id for handle in handles}
        self._told = {pk: told for pk, told in self._told.items() if pk in stopping}
        self._told.update((handle.attempt_id, moment) for handle in again)

    def _reconcile(self, now: datetime) -> None:
        """Compare when there is a new list of the executor's pods; do what follows from it."""
        if not isinstance(self.executor, Reconcilable):
            return
        try:
            orders = self._reconciler.step(self.executor)
        except Exception as error:
            if is_outage(error):
                raise
            # A fault of ours stops comparing only: what runs is still watched, stopped and cleaned up.
            log.exception("the pods of the %s executor could not be compared with the ledger", self.executor.name)
            self._reconciler.failed(error)
            return
        self._deployed = replace(self._deployed, incarnation=self._reconciler.incarnation)
        if orders.repairs:
            self._demand_lease()
            self.executor.repair(orders.repairs)
        if orders.tell:
            self._demand_lease()
            self.executor.adopt([handle for _, handle in orders.tell])
            for finding_id, handle in orders.tell:
                said = "The executor was asked to look again and to report its end."
                self._reconciler.mended(
                    Mended(attempt_id=handle.attempt_id, finding_id=finding_id, at=now, done=True, sentence=said)
                )

    def _held(self) -> str:
        """Why nothing may be launched although the executor could; "" when it may."""
        return self._reconciler.hold(self.executor) if isinstance(self.executor, Reconcilable) else ""

    def _launch_again(self, now: datetime) -> None:
        older = timedelta(seconds=self._options.unanswered_seconds)
        due = launching.due_again(self.executor.name, now=now, older_than=older)
        if due and (due := backlog.to_send_again(self.executor, due, self._options.claims_per_tick)):
            due = [] if self._held() else self._gate.send_again(due, now)
        if not due:
            return
        intents = [
            Intent(
                attempt_id=handle.attempt_id,
                key=handle.key,
                namespace=handle.namespace,
                name=handle.name,
                cluster=handle.cluster,
                priority=handle.priority,
                again=True,
                body=handle.body,
            )
            for handle in launch_rows.handles(due, with_body=True)
        ]
        launching.hold_launch([intent.attempt_id for intent in intents], until=now + older)
        self._demand_lease()
        self.executor.launch(intents)
        metrics.current().count("execplane_launches_total", len(intents), executor=self.executor.name, again="true")

    def _claim(self, now: datetime) -> int:
        """Claim, build, commit the intents, launch. Gives how many were claimed."""
        if not launch_rows.any_queued(self.executor.name):
            self._gate.take_ended()  # Nobody has waited for them.
            self._waves.idle(now)
            return 0
        if reason := self.executor.check():
            self._waves.stopped()
            claims.hold_all(self.executor.name, reason)
            return 0
        if reason := self._held():
            self._waves.stopped()
            claims.hold_all(self.executor.name, reason, code=Code.LAUNCHES_HELD)
            return 0
        self._waves.can_launch()
        if self._gate.held.whole:
            claims.explain_all(self.executor.name, self._gate.held.whole)
            return 0
        if backlog.is_full(self.executor, self._options.claims_per_tick):
            if reason := backlog.why_slow(self.executor):
                claims.hold_all(self.executor.name, reason, code=Code.CREATES_SLOWED)
            return 0
        gate = self._gate
        most = self._waves.most(now, ended_holds=gate.take_ended(), held_dags=gate.held.dags)
        if most == 0:
            if words := self._waves.words:
                claims.explain_all(self.executor.name, words)
            return 0
        self._claiming = True
        claimed = claims.claim(
            self.executor,
            parallelism=self._options.parallelism,
            most=min(self._options.claims_per_tick, most or self._options.claims_per_tick),
            owner=self._owner,
            now=now,
            held=self._gate.held,
        )
        if not claimed:
            self._claiming = False
            return 0
        built = self._gate.built(claims.build(claimed, self.executor, self._deployed), now)
        for attempt_id, diagnosis in built.refused.items():
            self._refuse_build(attempt_id, diagnosis, now)
        allowed = set(launching.commit_intents(built.intents, owner=self._owner, now=now))
        self._waves.launched(allowed | set(built.refused))
        # What is committed goes at once: no other query may fail before it.
        self._demand_lease()
        self.executor.launch([intent for intent in built.intents if intent.attempt_id in allowed])
        if built.not_yet:
            # Back to the queue; the executor's next check says what they wait for.
            launching.unclaim(self._owner, self.executor.name, now=now)
        self._claiming = False
        metrics.current().count("execplane_attempts_claimed_total", len(claimed), executor=self.executor.name)
        metrics.current().count("execplane_launches_total", len(allowed), executor=self.executor.name, again="false")
        self._waves.note()
        return len(claimed)

    def _refuse_build(self, attempt_id: int, diagnosis: Diagnosis, now: datetime) -> None:
        fact = LaunchRefused(attempt_id=attempt_id, diagnosis=diagnosis, retry=False, at=now)
        ends.end_refused(fact, now=now, failures=self._options.failures, actor=self._owner)
        self._count_refused(fact)

    def _clean(self, now: datetime) -> None:
        """What was asked for stays in `_cleaning` until its answer, so later pages get their turn, too."""
        after, most = 0, _MOST_CLEANING - len(self._cleaning)
        while most > 0 and (page := launch_rows.to_clean(self.executor.name, now=now, after_id=after)):
            after = page[-1][0].attempt_id
            found = [(handle, state) for handle, state in page if handle.attempt_id not in self._cleaning][:most]
            most -= len(found)
            for outcome in sorted({state for _, state in found}):
                handles = [handle for handle, state in found if state is outcome]
                self._demand_lease()
                self._cleaning.update(handle.attempt_id for handle in handles)
                self.executor.clean(handles, outcome=outcome)

    def close(self) -> None:
        """Let go: what runs keeps running, and the next driver adopts it."""
        if self._started:
            self.executor.close()
            self.executor = self._make_executor()
        self._started = self._adopted = False
        # What was reported and not yet applied may be outdated when we drive again; adoption tells it anew.
        self._facts, self._unapplied = queue.Queue(maxsize=_MOST_FACTS), []
        self._told.clear()
        self._cleaning.clear()
        self._reconciler = self._make_reconciler()
        self._deadlines.close()
        self._deadlines = self._make_deadlines()
        self._gate, self._waves = self._make_gate()


def _apply(write_down: Callable[[Sequence[F]], None], facts: Sequence[F]) -> None:
    """Write facts down together; one that cannot be written (a fault of ours) keeps no other from it."""
    if not facts:
        return
    try:
        write_down(facts)
    except Exception as error:
        if is_outage(error):
            raise
        if len(facts) > 1:
            for fact in facts:
                _apply(write_down, [fact])
        else:
            log.exception("the fact %r could not be written down and is dropped", facts[0])
