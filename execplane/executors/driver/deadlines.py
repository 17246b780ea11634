"""How long an attempt may stay in each phase, what it ends as when it stays longer, and when nobody is ended: pure.

Waiting for capacity is no fault: nothing ends it by default, and what ends it (an operator's cap) spends no budget.
A worker that is not heard of is judged only when it must have fenced itself by now: heartbeats alone prove nothing.
Many verdicts at once are a fault of ours, or of the cluster, until a person says otherwise: the breaker ends nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from execplane.contract.categories import FATAL_STATE_REASONS, Category, infrastructure
from execplane.contract.states import AttemptState
from execplane.executors.driver.ends import FENCE_MARGIN
from execplane.executors.task_policy import Stop
from execplane.store.deadline_rows import CAPACITY, Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlineOptions:
    """Seconds, 0: never. Where Airflow has a name for it, it is Airflow's."""

    task_queued_timeout_seconds: float = 0.0
    unscheduled_seconds: float = 0.0
    launch_seconds: float = 600.0
    starting_seconds: float = 1800.0
    fatal_state_seconds: float = 60.0
    worker_pod_pending_fatal_container_state_reasons: Sequence[str] = FATAL_STATE_REASONS
    claim_seconds: float = 600.0
    task_instance_heartbeat_timeout_seconds: float = 660.0
    stopping_seconds: float = 600.0
    breaker_share: float = 0.2
    """Of the executor's active attempts; 1: no breaker."""
    breaker_least: int = 10
    heartbeat_seconds: float = 10.0
    """How often workers beat."""
    self_fence_seconds: float = 600.0

    @property
    def fence_seconds(self) -> float:
        """After this long without contact a worker has certainly ended its task."""
        return self.self_fence_seconds * FENCE_MARGIN

    @property
    def heartbeat_timeout_seconds(self) -> float:
        """Never before the worker has fenced itself."""
        given = self.task_instance_heartbeat_timeout_seconds
        return max(given, self.fence_seconds) if given else 0.0

    @property
    def quiet_seconds(self) -> float:
        """After this long without a heartbeat a worker is worth a look."""
        return 3 * self.heartbeat_seconds


class Phase(StrEnum):
    """Where an attempt stays."""

    QUEUED = "queued"
    """All the way from queued until the worker runs, in whatever phase it is."""
    LAUNCHING = "launching"
    UNSCHEDULED = "unscheduled"
    """Held back by a quota, or a pod without a node."""
    STARTING = "starting"
    """Volumes, image, init containers."""
    FATAL_STATE = "fatal_state"
    """A container waits for a reason that does not pass by itself."""
    CLAIMING = "claiming"
    """The container or process runs, and no worker has claimed."""
    SILENT = "silent"
    STOPPING = "stopping"


NEED_WORKERS = frozenset({Phase.CLAIMING, Phase.SILENT, Phase.STOPPING})
"""Phases whose clocks stop while the worker API does not answer, too: workers cannot get through to it."""


_STOPPED_OVERDUE = frozenset({Stop.LOST, Stop.WAITED})


class Do(StrEnum):
    """What becomes of an attempt whose time is up."""

    END = "end"
    """It was never launched: it ends here and now."""
    STOP = "stop"
    """It is stopped, and ends as the category says."""
    LOSE = "lose"
    """It is stopped as lost: its end is the infrastructure's."""
    GIVE_UP = "give_up"
    """Its end is not waited for any longer: whatever is left of it has fenced itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """One verdict."""

    standing: Standing
    phase: Phase
    do: Do
    category: str = ""
    sentence: str = ""
    hint: str = ""
    settled: bool = True
    """False: counted by the breaker, and left alone for a moment more, as others may become overdue with it."""

    @property
    def is_news(self) -> bool:
        """False: a deadline stopped it already. That verdict was believed, and this only follows from it."""
        return self.standing.state is not AttemptState.STOPPING or self.standing.stop_then not in _STOPPED_OVERDUE


def phase_of(one: Standing, options: DeadlineOptions, *, unsent: bool = False) -> Phase | None:
    """None: nothing is timed. What the API server refuses to us is our fault, so it has no clock. `unsent`: its launch
    waits in our own executor, so it is queued as much as before."""
    match one.state:
        case AttemptState.QUEUED:
            return Phase.QUEUED
        case AttemptState.RUNNING:
            return Phase.SILENT
        case AttemptState.STOPPING:
            # A process that does not die is seen to live: its slot is not free.
            return Phase.STOPPING if one.is_pod else None
        case AttemptState.LAUNCHED:
            phase = _before_the_claim(one, options)
            return Phase.QUEUED if unsent and phase is Phase.LAUNCHING else phase
        case _:
            return None


def _before_the_claim(one: Standing, options: DeadlineOptions) -> Phase | None:
    if not one.acknowledged:
        if one.waits_code == Category.API_UNAVAILABLE:
            return None
        return Phase.UNSCHEDULED if one.waits_code in CAPACITY else Phase.LAUNCHING
    if one.started or not one.is_pod:
        return Phase.CLAIMING
    if not one.node:
        return Phase.UNSCHEDULED
    fatal = one.waits_reason in options.worker_pod_pending_fatal_container_state_reasons
    if fatal and not _may_pass(one.waits_code):
        return Phase.FATAL_STATE
    return Phase.STARTING


def _may_pass(category: str) -> bool:
    """A registry that limits pulls or does not answer is nothing that the author could mend."""
    return category not in set(Category) or infrastructure(Category(category))


def judge(
    one: Standing, phase: Phase, counted_seconds: float, waited_seconds: float, options: DeadlineOptions
) -> Overdue | None:
    """The verdict on an attempt that has been in its phase for so long by its clock, and waits for so long in all."""
    cap = options.task_queued_timeout_seconds
    if cap and one.state in (AttemptState.QUEUED, AttemptState.LAUNCHED) and waited_seconds >= cap:
        return _waited_too_long(one, waited_seconds, "task_queued_timeout", cap)
    limit = limit_of(one, phase, options)
    if not limit or counted_seconds < limit:
        return None
    took = in_words(limit)
    match phase:
        case Phase.UNSCHEDULED:
            return _waited_too_long(one, counted_seconds, "unscheduled_seconds", limit)
        case Phase.LAUNCHING:
            return Overdue(
                standing=one,
                phase=phase,
                do=Do.STOP,
                category=Category.LAUNCH_TIMEOUT,
                sentence=f"Nobody said within {took} whether the launch came to be.{_said(one)}",
            )
        case Phase.FATAL_STATE:
            sentence = f"{_full_stop(one.waits_sentence)} It stayed so for {took}."
            return Overdue(standing=one, phase=phase, do=Do.STOP, category=one.waits_code, sentence=sentence)
        case Phase.STARTING:
            return _did_not_start(one, took)
        case Phase.CLAIMING:
            where = f" on {one.node}" if one.node else ""
            what = f"container started{where}" if one.is_pod else f"process was started{where}"
            sentence = f"The {what}, and its worker claimed nothing for {took}."
            return Overdue(standing=one, phase=phase, do=Do.STOP, category=Category.CLAIM_TIMEOUT, sentence=sentence)
        case Phase.SILENT:
            return Overdue(
                standing=one,
                phase=phase,
                do=Do.LOSE,
                sentence=f"no heartbeat for {took}",
                settled=counted_seconds >= limit + options.quiet_seconds,
            )
        case Phase.STOPPING:
            return Overdue(
                standing=one,
                phase=phase,
                do=Do.GIVE_UP,
                sentence=f"It was told to stop, and for {took} it gave no sign of life and nobody saw it end",
            )
        case Phase.QUEUED:
            return None


def limit_of(one: Standing, phase: Phase, options: DeadlineOptions) -> float:
    """0: never."""
    match phase:
        case Phase.STOPPING:
            fenced = options.fence_seconds if one.heartbeat_at is not None else 0.0
            return max(options.stopping_seconds, fenced) if options.stopping_seconds else 0.0
        case Phase.QUEUED:
            return 0.0
        case Phase.LAUNCHING:
            return options.launch_seconds
        case Phase.UNSCHEDULED:
            return options.unscheduled_seconds
        case Phase.STARTING:
            return options.starting_seconds
        case Phase.FATAL_STATE:
            return options.fatal_state_seconds
        case Phase.CLAIMING:
            return options.claim_seconds
        case Phase.SILENT:
            return options.heartbeat_timeout_seconds


def _waited_too_long(one: Standing, waited_seconds: float, setting: str, limit: float) -> Overdue:
    queued = one.state is AttemptState.QUEUED
    phase = Phase.UNSCHEDULED if setting == "unscheduled_seconds" else Phase.QUEUED
    said = one.not_claimed_reason if queued else one.waits_sentence
    waiting = f" It waits for this: {_full_stop(said)}" if said else ""
    return Overdue(
        standing=one,
        phase=phase,
        do=Do.END if queued else Do.STOP,
        category=Category.QUEUED_TIMEOUT,
        sentence=f"The attempt waited {in_words(waited_seconds)}, and {setting} allows {in_words(limit)}.{waiting}",
    )


def _did_not_start(one: Standing, took: str) -> Overdue:
    """Named by what held it back, where that is known."""
    known = one.waits_code in set(Category) - {Category.STARTING, Category.UNKNOWN, *CAPACITY}
    sentence = f"Its containers did not start within {took} on node {one.node}.{_said(one)}"
    category = one.waits_code if known else Category.START_TIMEOUT
    return Overdue(standing=one, phase=Phase.STARTING, do=Do.STOP, category=category, sentence=sentence)


def _said(one: Standing) -> str:
    return f" {_full_stop(one.waits_sentence)}" if one.waits_sentence else ""


def _full_stop(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """Whether verdicts are carried out, and of what there are too many: "15 of 40 running attempts"."""

    is_open: bool
    may_end: bool
    mass: str = ""


_IN_HAND = frozenset({AttemptState.LAUNCHED, AttemptState.RUNNING, AttemptState.STOPPING})
_GROUPS = (
    ("running", frozenset({AttemptState.RUNNING}), frozenset({AttemptState.RUNNING})),
    ("launched", frozenset({AttemptState.LAUNCHED, AttemptState.STOPPING}), _IN_HAND),
    ("queued", frozenset({AttemptState.QUEUED}), frozenset({AttemptState.QUEUED})),
)
"""The overdue ones in these states are measured by all that are in those: a long queue must not make a network that is
cut off look like a few lost workers, nor a dead node's pods like all there is."""


def breaker(
    overdue: Iterable[Overdue], active: Mapping[AttemptState, int], confirmed: int | None, options: DeadlineOptions
) -> Breaker:
    """More verdicts at once than one believes: nobody is ended, until they are fewer or an operator confirms them.

    `active`: attempts of the executor by state. A confirmation is for as many as were shown; a few more do not void it.
    """
    by_state = Counter(one.standing.state for one in overdue)
    masses = []
    for name, states, among in _GROUPS:
        found, of = sum(by_state[state] for state in states), sum(active.get(state, 0) for state in among)
        if found >= options.breaker_least and found > options.breaker_share * of:
            masses.append(f"{found} of {of} {name} attempts")
    agreed = confirmed is not None and by_state.total() <= confirmed + options.breaker_least
    return Breaker(is_open=bool(masses), may_end=not masses or agreed, mass=" and ".join(masses))


def in_words(seconds: float) -> str:
    """ "90 s", "11 min", "2 h", "3 days": as one says it, not to the second."""
    for size, word, most in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172800)):
        if seconds < most:
            return f"{seconds / size:.{1 if seconds < 10 and seconds % 1 else 0}f} {word}"
    return f"{seconds / 86400:.0f} days"
