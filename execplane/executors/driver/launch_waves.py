"""Sends one executor's launches out in waves when a stop ends that let many wait: the shell around `waves`.

What it knows of the wave under way stands in the ledger, but for which attempts it was: a driver that takes over
begins that wave anew. Who deletes the row lets all go, and a wave that stops makes a launch hold that says why.

Any query may fail and be repeated at the next tick. So what was noticed is kept in the same breath, with no query
between, until something has come of it; and the row is written before it is believed to be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta

from execplane.contract.clock import Clock
from execplane.contract.launch_holds import Scope
from execplane.contract.states import Cause
from execplane.executors.driver.waves import Verdict, Wave, WaveOptions, begin, following, may_go, taken_over, verdict
from execplane.store import deadline_rows, launch_hold_rows, launch_rows, launch_wave_rows
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.launch_wave_rows import WaveRow

AUTHOR = "launch waves"
_COUNT_SECONDS = 5.0
"""While many wait, those that were cleared are counted this often: it takes a look at each."""
_FOR_ROOM = timedelta(seconds=60)
"""Who has waited for capacity for so long is not waited for. Not at once: each pod is without a node at first, and
while a cluster grows for the first wave the next one would only wait with it."""


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
        self._written: Wave | None = None
        """As the ledger has it."""
        self._no_room = False
        self._cause = ""
        """What has ended that let attempts wait, until it is known whether waves begin for it."""
        self._stopped_since: float | None = None
        self._paused: frozenset[str] = frozenset()
        self._many_cleared = False
        self._count_due = float("-inf")

    @property
    def words(self) -> str:
        """What is written on all that waits for a later wave: the same as long as there are waves."""
        if self._wave is None:
            return ""
        if self._no_room:
            return (
                f"A wave of launches of the executor {self._executor} was stopped, as too many of it failed, and no "
                "launch hold can say so, as no more of them may count: release one."
            )
        return f"Launches of the executor {self._executor} go out in waves ({self._wave.cause}): its turn comes."

    def stopped(self) -> None:
        """The executor cannot launch, and something waits."""
        if self._stopped_since is None:
            self._stopped_since = self._clock.monotonic()

    def can_launch(self) -> None:
        """The executor can launch: what stopped it is over, whether anything goes now or not."""
        since, self._stopped_since = self._stopped_since, None
        seconds = self._clock.monotonic() - since if since is not None else 0.0
        if seconds >= self._options.outage_seconds:
            self._cause = f"the executor could launch nothing for {seconds:.0f} s"

    def idle(self, now: datetime) -> None:
        """Nobody waits: what stopped is forgotten, and waves are over, unless the last one has failed."""
        self._stopped_since, self._cause = None, ""
        self._count_due = float("-inf")
        self._many_cleared = False
        self._paused = frozenset()
        self._take_over()
        if self._wave is not None:
            self._end(self._with_outcomes(self._wave), now)

    def most(self, now: datetime, *, ended_holds: Sequence[int], held_dags: Collection[str]) -> int | None:
        """How many may be launched now; None: as many as there are. Called while the executor can launch and something
        waits."""
        if ended_holds:
            self._cause = f"launch hold {ended_holds[0]} ended"
        self._take_over()
        if not self._options.from_waiting:
            return None
        paused = launch_rows.paused_dags(self._executor)
        self._notice(frozenset(paused))
        without = [*paused, *held_dags]
        if self._cause and self._wave is None:
            self._begin(self._cause, without, now)
        self._cause = ""
        if self._wave is None:
            return None
        return self._go_on(self._wave, without, now)

    def launched(self, attempt_ids: Collection[int]) -> None:
        """These are launched for the wave under way. Counted here before they are, and written down by `note`."""
        if self._wave is not None and attempt_ids:
            self._open |= set(attempt_ids)
            self._wave = replace(self._wave, launched=self._wave.launched + len(attempt_ids))

    def note(self) -> None:
        """Write down how the wave stands, if that is news; else the next look does it."""
        wave = self._wave
        if wave is None or wave == self._written:
            return
        if launch_wave_rows.go_on(self._row(wave)):
            self._written = wave
        else:
            self._over()

    def _take_over(self) -> None:
        if self._known:
            return
        row = launch_wave_rows.wave(self._executor)
        if row is not None and not self._options.from_waiting:
            launch_wave_rows.end(self._executor)
        elif row is not None:
            self._wave, self._began_at, self._written = taken_over(wave_of(row)), row.began_at, wave_of(row)
            self.note()
        self._known = True

    def _notice(self, paused: frozenset[str]) -> None:
        """What has just ended, unless something else is noted already."""
        unpaused = launch_wave_rows.unpaused(self._paused - paused)
        self._paused = paused
        if unpaused:
            self._cause = self._cause or f"the DAG {unpaused[0]} was unpaused"
        many = self._cleared()
        many_before, self._many_cleared = self._many_cleared, many
        if many and not many_before:
            self._cause = self._cause or "many tasks were cleared"

    def _cleared(self) -> bool:
        """Whether so many wait because they were cleared. Counted only where many wait at all."""
        most, moment = self._options.from_waiting, self._clock.monotonic()
        if not launch_wave_rows.more_waiting_than(self._executor, most):
            self._count_due = moment
            return False
        if moment < self._count_due:
            return self._many_cleared
        many = launch_wave_rows.count_waiting(self._executor, cause=Cause.CLEAR) > most
        self._count_due = moment + _COUNT_SECONDS
        return many

    def _begin(self, cause: str, without: Collection[str], now: datetime) -> None:
        if not launch_wave_rows.more_waiting_than(self._executor, self._options.from_waiting):
            return
        wave = begin(launch_wave_rows.count_waiting(self._executor, without=without), cause[:300], self._options)
        if wave is None:
            return
        # Until the answer is there nobody knows whether the row is: then the next tick takes it over.
        self._known = False
        launch_wave_rows.begin(self._row(wave, now))
        self._wave, self._began_at, self._written, self._known = wave, now, wave, True
        self._open, self._failures = set(), Counter()

    def _go_on(self, wave: Wave, without: Collection[str], now: datetime) -> int | None:
        if launch_wave_rows.wave(self._executor) is None:
            self._over()  # Somebody let all go.
            return None
        wave = self._with_outcomes(wave)
        waiting = launch_wave_rows.count_waiting(self._executor, without=without)
        match verdict(wave, waiting, self._options, self._for_room(wave, now)):
            case Verdict.STOP:
                self._end(wave, now)
                return 0
            case Verdict.DONE:
                self._end(wave, now)
                return None
            case Verdict.NEXT:
                wave = following(wave)
                self._wave, self._open, self._failures = wave, set(), Counter()
            case Verdict.GO_ON:
                pass
        self.note()
        return may_go(wave, waiting, self._options)

    def _for_room(self, wave: Wave, now: datetime) -> int:
        if wave.launched < wave.size or not self._open:
            return 0
        return deadline_rows.without_room(self._open, launched_before=now - _FOR_ROOM)

    def _with_outcomes(self, wave: Wave) -> Wave:
        settled = launch_wave_rows.outcomes(self._open) if self._open else []
        failed = [one.failed for one in settled if one.failed]
        wave = replace(wave, well=wave.well + len(settled) - len(failed), failed=wave.failed + len(failed))
        self._wave = wave
        self._open -= {one.attempt_id for one in settled}
        self._failures.update(failed)
        return wave

    def _end(self, wave: Wave, now: datetime) -> None:
        """By a hold, if too much of it failed. While there is no room for one, it stays where it is."""
        if verdict(wave, 0, self._options) is not Verdict.STOP:
            launch_wave_rows.end(self._executor)
        elif not self._hold(wave, now):
            self._no_room = True
            self.note()
            return
        self._over()

    def _hold(self, wave: Wave, now: datetime) -> bool:
        """Whether there was room for it. Repeated after a lost answer it finds its own hold."""
        what = ", ".join(f"{category} ({number})" for category, number in self._failures.most_common(3))
        reason = (
            f"wave {wave.number} after “{wave.cause}” was stopped: {wave.failed} of {wave.launched} launches failed "
            f"before their worker ran ({what})"
        )
        with write():
            pk = launch_hold_rows.add(Scope.EXECUTOR, self._executor, reason[:500], author=AUTHOR, until=None, now=now)
            if pk is not None:
                launch_wave_rows.end(self._executor)
                after = {"scope": Scope.EXECUTOR, "name": self._executor, "reason": reason}
                audit(AUTHOR, "hold", f"hold:{pk}", after=after, now=now)
        return pk is not None

    def _row(self, wave: Wave, began_at: datetime | None = None) -> WaveRow:
        began_at = began_at or self._began_at
        assert began_at is not None
        values = {field.name: getattr(wave, field.name) for field in fields(Wave)}
        return WaveRow(executor=self._executor, began_at=began_at, **values)

    def _over(self) -> None:
        self._wave, self._began_at, self._written, self._no_room = None, None, None, False
        self._open, self._failures = set(), Counter()
