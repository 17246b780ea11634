"""Looks every few seconds at what stays too long in a phase, and ends it: the shell around `deadlines`.

What it remembers, since when it has seen each attempt in its phase, is its own and not the ledger's: after a start or
a take-over every clock begins anew. External calls: none that are waited for; the stop itself is the driver's, which
repeats it. A commit whose answer is lost is found done: the row has moved, so the next look sees it elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.contract.executor import Executor
from execplane.contract.states import AttemptState
from execplane.executors.driver import ends
from execplane.executors.driver.deadlines import (
    NEED_WORKERS,
    Breaker,
    DeadlineOptions,
    Do,
    Overdue,
    Phase,
    breaker,
    judge,
    phase_of,
)
from execplane.executors.driver.deadlines_clock import Moved, WellTime
from execplane.executors.driver.launch_gate import held_seconds
from execplane.executors.task_policy import FailurePolicy
from execplane.store import deadline_rows
from execplane.store.deadline_rows import DeadlineWord, Standing
from execplane.store.transitions.overdue import OverdueStop, stop_overdue

log = logging.getLogger(__name__)

LONGEST_INTERVAL_SECONDS = 10.0
_MOST_ENDED = 500
"""At one look; the others have their turn at the next one."""

AnswersOfApi = Callable[[], "str | None"]
""" "": the worker API answers; one sentence: it does not; None: not known just now."""


@runtime_checkable
class Queueing(Protocol):
    """An executor that keeps launches waiting before it asks anybody for them."""

    def unsent(self) -> Collection[int]:
        """Attempts whose launch waits here; costs no call."""


@dataclass(frozen=True, slots=True)
class _Seen:
    key: tuple[Phase, datetime | None]
    since: float
    """Monotonic: since when we have seen it stand there."""
    fatal_since: float | None = None
    """Since when a container of it waits for a fatal reason; the kubelet may name another one now and then."""


class DeadlineWatch:
    """The deadlines of one executor, as long as its driver drives."""

    def __init__(
        self,
        executor: str,
        options: DeadlineOptions,
        clock: Clock,
        *,
        owner: str,
        failures: FailurePolicy,
        api_answers: AnswersOfApi,
    ) -> None:
        self._executor = executor
        self._options = options
        self._clock = clock
        self._owner = owner
        self._failures = failures
        self._api_answers = api_answers
        limits = [limit for limit in _limits(options) if limit]
        self._interval_seconds = min([LONGEST_INTERVAL_SECONDS, *(limit / 4 for limit in limits)])
        self._due = float("-inf")
        self._executor_time = WellTime()
        self._workers_time = WellTime()
        self._heartbeats = Moved(options.quiet_seconds)
        self._seen: dict[int, _Seen] = {}
        self._word: DeadlineWord | None = None
        self._word_known = False

    def look(
        self,
        now: datetime,
        executor: Executor,
        held: Callable[[], str],
        *,
        kept_back: Collection[int] = frozenset(),
    ) -> None:
        """One look, when it is time for one. `held` says why nothing may be launched although the executor could: this
        may be a copy of the ledger, and what it calls overdue works well for another one. `kept_back`: launches that
        are not sent for an operator's hold, so they are queued as much as before."""
        moment = self._clock.monotonic()
        if moment < self._due:
            return
        self._due = moment + self._interval_seconds
        trouble = executor.check() or held()
        self._executor_time.note(moment, well=not trouble)
        if trouble:
            # The clocks stand still; what was seen before is not forgotten.
            self._workers_time.note(moment, well=False)
            return
        unsent = {*(executor.unsent() if isinstance(executor, Queueing) else ()), *kept_back}
        found = ((one, phase_of(one, self._options, unsent=one.attempt_id in unsent)) for one in self._standing(now))
        timed = [(one, phase) for one, phase in found if phase is not None]
        needs_workers = any(phase in NEED_WORKERS for _, phase in timed)
        api_trouble = self._api_trouble(moment) if needs_workers else None
        self._workers_time.note(moment, well=needs_workers and api_trouble == "")
        self._remember(timed, moment)
        of_all, of_unsent = self._held_seconds(timed, now, moment), self._unsent_held_seconds(timed, now, moment)
        judged = (
            self._judged(one, phase, now, moment, of_all.get(one.attempt_id, 0.0), of_unsent.get(one.attempt_id, 0.0))
            for one, phase in timed
        )
        overdue = [verdict for verdict in judged if verdict is not None]
        self._act(overdue, api_trouble or "", now)
        first = deadline_rows.longest_wait_for_room(self._executor)
        longest = (now - first).total_seconds() if first is not None else 0.0
        metrics.current().set("execplane_capacity_wait_seconds", longest, executor=self._executor)

    def interrupted(self) -> None:
        """The driver's work broke off (the database did not answer, say): the time until the next look is lost."""
        moment = self._clock.monotonic()
        self._executor_time.note(moment, well=False)
        self._workers_time.note(moment, well=False)

    def close(self) -> None:
        """Another process speaks for this executor now."""
        metrics.current().set("execplane_deadline_breaker_open", 0.0, executor=self._executor)
        metrics.current().set("execplane_capacity_wait_seconds", 0.0, executor=self._executor)

    def _standing(self, now: datetime) -> Iterator[Standing]:
        options, name = self._options, self._executor
        yield from deadline_rows.launched(name)
        if options.unscheduled_seconds or options.task_queued_timeout_seconds:
            yield from deadline_rows.waiting_for_room(
                name,
                launched_before=_before(now, options.unscheduled_seconds),
                queued_before=_before(now, options.task_queued_timeout_seconds),
            )
        yield from deadline_rows.stopping(name)
        if options.heartbeat_timeout_seconds:
            yield from deadline_rows.silent(name, before=now - timedelta(seconds=options.quiet_seconds))
        if options.task_queued_timeout_seconds:
            before = _before(now, options.task_queued_timeout_seconds)
            yield from deadline_rows.queued(name, before=before)

    def _api_trouble(self, moment: float) -> str | None:
        """A worker that got through is the best witness; else the API is asked itself. None: not known yet."""
        if self._heartbeats.look(deadline_rows.newest_heartbeat(self._executor), moment):
            return ""
        return self._api_answers()

    def _remember(self, timed: Sequence[tuple[Standing, Phase]], moment: float) -> None:
        """Whoever moved on, or was heard of, begins anew; whoever is not there any more is forgotten."""
        seen: dict[int, _Seen] = {}
        for one, phase in timed:
            fatal = phase is Phase.FATAL_STATE
            key = (Phase.STARTING if fatal else phase, one.heartbeat_at)
            known = self._seen.get(one.attempt_id)
            if known is None or known.key != key:
                known = _Seen(key, moment)
            if fatal != (known.fatal_since is not None):
                known = replace(known, fatal_since=moment if fatal else None)
            seen[one.attempt_id] = known
        self._seen = seen

    def _held_seconds(self, timed: Sequence[tuple[Standing, Phase]], now: datetime, moment: float) -> dict[int, float]:
        """Of those that have waited too long, how much of that was an operator's will. Usually there are none."""
        cap = self._options.task_queued_timeout_seconds
        late = {
            one.attempt_id: one.queued_at
            for one, _ in timed
            if cap
            and one.state in (AttemptState.QUEUED, AttemptState.LAUNCHED)
            and self._executor_time.since(moment - (now - one.queued_at).total_seconds()) >= cap
        }
        return held_seconds(self._executor, late, now) if late else {}

    def _unsent_held_seconds(
        self, timed: Sequence[tuple[Standing, Phase]], now: datetime, moment: float
    ) -> dict[int, float]:
        """Of those that a quota refused, how long a hold kept them from being sent again. A pod that is made waits for
        its node under a hold as without."""
        limit = self._options.unscheduled_seconds
        late = {
            one.attempt_id: one.launched_at
            for one, phase in timed
            if limit
            and phase is Phase.UNSCHEDULED
            and not one.acknowledged
            and one.launched_at is not None
            and self._executor_time.since(moment - (now - one.launched_at).total_seconds()) >= limit
        }
        return held_seconds(self._executor, late, now) if late else {}

    def _judged(
        self,
        one: Standing,
        phase: Phase,
        now: datetime,
        moment: float,
        held_seconds: float,
        unsent_held_seconds: float,
    ) -> Overdue | None:
        time = self._workers_time if phase in NEED_WORKERS else self._executor_time
        seen = self._seen[one.attempt_id]
        waited = self._executor_time.since(moment - (now - one.queued_at).total_seconds()) - held_seconds
        if phase is Phase.UNSCHEDULED and one.launched_at is not None:
            # Those that wait for room are looked at only when they could be overdue, so nobody has seen them begin.
            counted = self._executor_time.since(moment - (now - one.launched_at).total_seconds()) - unsent_held_seconds
            return judge(one, phase, counted, waited, self._options)
        if seen.fatal_since is not None:
            fatal = judge(one, phase, time.since(seen.fatal_since), waited, self._options)
            return fatal or judge(one, Phase.STARTING, time.since(seen.since), waited, self._options)
        return judge(one, phase, time.since(seen.since), waited, self._options)

    def _act(self, overdue: Sequence[Overdue], api_trouble: str, now: datetime) -> None:
        before = self._known_word()
        confirmed = before.confirmed if before is not None and before.breaker_open else None
        news = [one for one in overdue if one.is_news]
        many = len(news) >= self._options.breaker_least
        active = deadline_rows.count_active(self._executor) if many else {}
        found = breaker(news if many else (), active, confirmed, self._options)
        metrics.current().set("execplane_deadline_breaker_open", float(found.is_open), executor=self._executor)
        self._say(self._sentence(found, news, api_trouble), found, len(news), now)
        if found.may_end:
            by = f", confirmed by {before.confirmed_by}" if before is not None and found.is_open else ""
            self._carry_out([one for one in overdue if one.settled][:_MOST_ENDED], f"{self._owner}{by}", now)

    def _sentence(self, found: Breaker, overdue: Sequence[Overdue], api_trouble: str) -> str:
        if found.is_open:
            phases = ", ".join(sorted({f"{one.phase}" for one in overdue}))
            what = f"{found.mass} passed a deadline at once ({phases})"
            if found.may_end:
                return f"{what}; an operator confirmed it, and they are being ended."
            return (
                f"{what}. So many are not believed: none of them is ended until they are fewer, or somebody confirms."
            )
        return f"Deadlines of workers stand still: {api_trouble}" if api_trouble else ""

    def _known_word(self) -> DeadlineWord | None:
        """What stands in the ledger: another driver's word at first, and confirmations while the breaker is open."""
        if not self._word_known or (self._word is not None and self._word.breaker_open):
            self._word, self._word_known = deadline_rows.word(self._executor), True
        return self._word

    def _say(self, sentence: str, found: Breaker, overdue: int, now: datetime) -> None:
        word = self._word
        if (word.sentence if word is not None else "") == sentence:
            return
        if found.is_open and (word is None or not word.breaker_open):
            log.error("deadlines of the %s executor: %s", self._executor, sentence)
        overdue = overdue if found.is_open else 0
        deadline_rows.say(self._executor, sentence, breaker_open=found.is_open, overdue=overdue, now=now)
        self._word_known = False

    def _carry_out(self, overdue: Sequence[Overdue], actor: str, now: datetime) -> None:
        stops = [
            OverdueStop(
                standing=one.standing,
                then="lost" if one.do is Do.LOSE else "waited",
                sentence=one.sentence,
                category=one.category,
            )
            for one in overdue
            if one.do in (Do.STOP, Do.LOSE)
        ]
        done = set(stop_overdue(stops, actor=actor, now=now)) if stops else set()
        for one in overdue:
            pk = one.standing.attempt_id
            if (one.do is Do.END and self._end(one, actor, now)) or (
                one.do is Do.GIVE_UP and self._give_up(one, actor, now)
            ):
                done.add(pk)
            if pk in done:
                log.warning("attempt %s: %s", pk, one.sentence)
                metrics.current().count("execplane_deadlines_hit_total", executor=self._executor, phase=one.phase)

    def _end(self, one: Overdue, actor: str, now: datetime) -> bool:
        pk = one.standing.attempt_id
        return ends.end_waited(pk, one.category, one.sentence, now=now, failures=self._failures, actor=actor)

    def _give_up(self, one: Overdue, actor: str, now: datetime) -> bool:
        return ends.end_unconfirmed(
            one.standing.attempt_id,
            one.sentence,
            heartbeat_at=one.standing.heartbeat_at,
            now=now,
            failures=self._failures,
            self_fence_seconds=self._options.self_fence_seconds,
            actor=actor,
        )


def _before(now: datetime, seconds: float) -> datetime:
    """When that limit began that is reached now; 0, which is never: before anything was."""
    return now - timedelta(seconds=seconds) if seconds else datetime.fromtimestamp(0, UTC)


def _limits(options: DeadlineOptions) -> tuple[float, ...]:
    return (
        options.task_queued_timeout_seconds,
        options.unscheduled_seconds,
        options.launch_seconds,
        options.starting_seconds,
        options.fatal_state_seconds,
        options.claim_seconds,
        options.heartbeat_timeout_seconds,
        options.stopping_seconds,
    )
