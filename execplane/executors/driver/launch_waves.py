"""Sends one executor's launches out in waves when a stop ends that let many wait: the shell around `waves`.

What it knows of the wave under way stands in the ledger, but for which attempts it was: a driver that takes over
begins that wave anew. Who deletes the row lets all go, and a wave that stops makes a launch hold that says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime

from execplane.contract.clock import Clock
from execplane.contract.launch_holds import Scope
from execplane.contract.states import Cause
from execplane.executors.driver.waves import Verdict, Wave, WaveOptions, begin, following, may_go, taken_over, verdict
from execplane.store import launch_hold_rows, launch_rows, launch_wave_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.launch_wave_rows import WaveRow

AUTHOR = "launch waves"
_COUNT_SECONDS = 5.0
"""While many wait, those that were cleared are counted this often: it takes a look at each."""


def wave_of(row: WaveRow) -> Wave:
    """As the pure part looks at it."""
    return Wave(**{field.name: getattr(row, field.name) for field in fields(Wave)})


class LaunchWaves:
    """The waves of one executor, as long as its driver drives."""

    def __init__(self, executor: str, options: WaveOptions, clock: Clock) -> None:
        self._executor = executor
        self._options = options
        self._clock = clock
        self._wave: Wave | None = None
        self._began_at: datetime | None = None
        self._known = False
        self._open: set[int] = set()
        """This wave's launches whose outcome is not known yet."""
        self._failures: Counter[str] = Counter()
        self._stopped_since: float | None = None
        self._paused: frozenset[str] = frozenset()
        self._many_cleared = False
        self._count_due = float("-inf")

    @property
    def words(self) -> str:
        """What is written on all that waits for a later wave: the same as long as there are waves."""
        cause = self._wave.cause if self._wave is not None else ""
        return f"Launches of the executor {self._executor} go out in waves ({cause}): its turn comes." if cause else ""

    def stopped(self) -> None:
        """The executor cannot launch, and something waits."""
        if self._stopped_since is None:
            self._stopped_since = self._clock.monotonic()

    def idle(self) -> None:
        """Nobody waits."""
        self._stopped_since = None
        self._count_due = float("-inf")
        self._many_cleared = False
        self._paused = frozenset()

    def most(self, now: datetime, *, ended_holds: Sequence[int], held_dags: Collection[str]) -> int | None:
        """How many may be launched now; None: as many as there are. Called while the executor can launch and something
        waits."""
        if not self._options.from_waiting:
            return None
        self._take_over()
        paused = launch_rows.paused_dags(self._executor)
        cause = self._cause(paused, ended_holds)
        without = [*paused, *held_dags]
        if cause and self._wave is None:
            self._begin(cause, without, now)
        if self._wave is None:
            return None
        return self._go_on(self._wave, without, now)

    def launched(self, attempt_ids: Collection[int]) -> None:
        """These were claimed for the wave under way."""
        if self._wave is not None and attempt_ids:
            self._open |= set(attempt_ids)
            self._wave = replace(self._wave, launched=self._wave.launched + len(attempt_ids))
            self._write(self._wave)

    def _take_over(self) -> None:
        if self._known:
            return
        row = launch_wave_rows.wave(self._executor)
        if row is not None:
            self._wave, self._began_at = taken_over(wave_of(row)), row.began_at
            self._write(self._wave)
        self._known = True

    def _cause(self, paused: Iterable[str], ended_holds: Sequence[int]) -> str:
        """What has just ended that let attempts wait; "": nothing."""
        before, self._paused = self._paused, frozenset(paused)
        unpaused = launch_wave_rows.unpaused(before - self._paused)
        since, self._stopped_since = self._stopped_since, None
        stopped_seconds = self._clock.monotonic() - since if since is not None else 0.0
        many_before, self._many_cleared = self._many_cleared, self._cleared()
        if ended_holds:
            return f"launch hold {ended_holds[0]} ended"
        if unpaused:
            return f"the DAG {unpaused[0]} was unpaused"
        if stopped_seconds >= self._options.outage_seconds:
            return f"the executor could launch nothing for {stopped_seconds:.0f} s"
        if self._many_cleared and not many_before:
            return "many tasks were cleared"
        return ""

    def _cleared(self) -> bool:
        """Whether so many wait because they were cleared. Counted only where many wait at all."""
        most, moment = self._options.from_waiting, self._clock.monotonic()
        if not launch_wave_rows.more_waiting_than(self._executor, most):
            self._count_due = moment
            return False
        if moment < self._count_due:
            return self._many_cleared
        self._count_due = moment + _COUNT_SECONDS
        return launch_wave_rows.count_waiting(self._executor, cause=Cause.CLEAR) > most

    def _begin(self, cause: str, without: Collection[str], now: datetime) -> None:
        if not launch_wave_rows.more_waiting_than(self._executor, self._options.from_waiting):
            return
        wave = begin(launch_wave_rows.count_waiting(self._executor, without=without), cause[:300], self._options)
        if wave is not None:
            self._wave, self._began_at, self._open, self._failures = wave, now, set(), Counter()
            launch_wave_rows.begin(self._row(wave))

    def _go_on(self, wave: Wave, without: Collection[str], now: datetime) -> int | None:
        if launch_wave_rows.wave(self._executor) is None:
            self._over()  # Somebody let all go.
            return None
        before, wave = wave, self._with_outcomes(wave)
        waiting = launch_wave_rows.count_waiting(self._executor, without=without)
        match verdict(wave, waiting, self._options):
            case Verdict.STOP:
                self._hold(wave, now)
                self._over()
                return 0
            case Verdict.DONE:
                launch_wave_rows.end(self._executor)
                self._over()
                return None
            case Verdict.NEXT:
                wave = following(wave)
                self._open, self._failures = set(), Counter()
            case Verdict.GO_ON:
                pass
        self._wave = wave
        if wave != before:
            self._write(wave)
        return may_go(wave, waiting, self._options)

    def _with_outcomes(self, wave: Wave) -> Wave:
        settled = launch_wave_rows.outcomes(self._open) if self._open else []
        self._open -= {one.attempt_id for one in settled}
        failed = [one.failed for one in settled if one.failed]
        self._failures.update(failed)
        return replace(wave, well=wave.well + len(settled) - len(failed), failed=wave.failed + len(failed))

    def _hold(self, wave: Wave, now: datetime) -> None:
        """Repeated after a lost answer it finds its own hold."""
        what = ", ".join(f"{category} ({number})" for category, number in self._failures.most_common(3))
        reason = (
            f"wave {wave.number} after “{wave.cause}” was stopped: {wave.failed} of {wave.launched} launches failed "
            f"before their worker ran ({what})"
        )
        with write():
            pk = launch_hold_rows.add(Scope.EXECUTOR, self._executor, reason[:500], author=AUTHOR, until=None, now=now)
            launch_wave_rows.end(self._executor)
            if pk is not None:
                after = {"scope": Scope.EXECUTOR, "name": self._executor, "reason": reason}
                audit(AUTHOR, "hold", f"hold:{pk}", after=after, now=now)

    def _write(self, wave: Wave) -> None:
        if not launch_wave_rows.go_on(self._row(wave)):
            self._over()

    def _row(self, wave: Wave) -> WaveRow:
        assert self._began_at is not None
        values = {field.name: getattr(wave, field.name) for field in fields(Wave)}
        return WaveRow(executor=self._executor, began_at=self._began_at, **values)

    def _over(self) -> None:
        self._wave, self._began_at, self._open, self._failures = None, None, set(), Counter()
