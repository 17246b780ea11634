"""Keeps loops running: one thread a loop that sleeps, wakes, leases, times and restarts it.

A loop whose tick raises is not dead: the error is logged, counted and shown, and the loop is ticked again after a
back-off. Leased loops run only while their lease is held; the standby looks again when the lease may be free.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.contract.errors import ExecplaneError
from execplane.contract.loops import Loop, Next
from execplane.loops.leases import LeaseKeeper
from execplane.loops.wake import ANY, WakeBus
from execplane.store.database import close_connection, is_outage, mend_connection
from execplane.store.lease_rows import LEASES

log = logging.getLogger(__name__)

_STANDBY_SECONDS = 2.0
_FIRST_BACKOFF_SECONDS = 0.5
_LAST_BACKOFF_SECONDS = 30.0


@dataclass(kw_only=True)
class Report:
    """What a loop's thread last did: read by the status loop, so that the loops page needs no guesses."""

    name: str
    state: str = "starting"
    """"starting" | "standby" | "running" | "failing" | "stopped"."""
    started_at: datetime
    last_tick_at: datetime | None = None
    last_tick_seconds: float = 0.0
    max_tick_seconds: float = 0.0
    ticks: int = 0
    errors: int = 0
    restarts: int = 0
    last_error: str = ""
    lease_token: int = 0


@dataclass(kw_only=True)
class Runner:
    """One loop's life. `step` is one turn without the sleep, for tests; `run` is the thread."""

    loop: Loop
    clock: Clock
    bus: WakeBus
    lease: LeaseKeeper | None = None
    report: Report = field(init=False)
    _woken: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _failures: int = 0
    _ticking_under: int = 0
    """The lease token under which the loop has ticked since it was last closed; 0: it has not."""

    def __post_init__(self) -> None:
        self.report = Report(name=self.loop.name, started_at=self.clock.now())

    def run(self) -> None:
        unsubscribe = self.bus.subscribe(self._hear)
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                seconds = self.step()
                if seconds > 0:
                    self._woken.wait(seconds)
        finally:
            unsubscribe()
            self._close()
            close_connection()

    def step(self) -> float:
        """Hold the lease, tick once; gives the seconds to sleep unless woken."""
        try:
            if self.lease is not None and not self._holds_lease():
                self.report.state = "standby"
                return _STANDBY_SECONDS
            following = self._tick()
        except Exception as error:
            return self._failed(error)
        self._failures = 0
        self.report.state = "running"
        return self._sleep_seconds(following)

    def _holds_lease(self) -> bool:
        assert self.lease is not None
        held = self.lease.held()
        if held and not self.lease.renew_due():
            return True
        got = self.lease.acquire()
        token = self.lease.token if got else 0
        if self._ticking_under and token != self._ticking_under:
            # Lost, or lost and won again: another may have acted in between, so what the loop remembers is void.
            log.warning("%s lost its lease", self.loop.name)
            self._ticking_under = 0
            self.loop.close()
        self._ticking_under = self.report.lease_token = token
        return got

    def _tick(self) -> Next:
        started = self.clock.monotonic()
        self.report.last_tick_at = now = self.clock.now()
        following = self.loop.tick(now)
        self.report.last_tick_seconds = self.clock.monotonic() - started
        metrics.current().observe("execplane_loop_tick_seconds", self.report.last_tick_seconds, loop=self.loop.name)
        self.report.max_tick_seconds = max(self.report.max_tick_seconds, self.report.last_tick_seconds)
        self.report.ticks += 1
        return following

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        self.report.errors += 1
        metrics.current().count("execplane_loop_errors_total", loop=self.loop.name)
        self.report.state = "failing"
        self.report.last_error = f"{type(error).__name__}: {error}"[:2000]
        mend_connection()
        if is_outage(error):
            log.warning("%s: %s", self.loop.name, str(error).strip() or type(error).__name__)
        else:
            log.exception("%s failed; it is tried again", self.loop.name)
        backoff = min(_LAST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** min(self._failures - 1, 10))
        # Not woken early while it fails: a wake storm must not become a retry storm.
        self._stopping.wait(backoff * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
        return 0.0

    def _sleep_seconds(self, following: Next) -> float:
        if following.now:
            return 0.0
        longest = self.loop.poll_seconds
        if self.lease is not None:
            longest = min(longest, self.lease.seconds / 3)
        if following.at is not None:
            longest = min(longest, (following.at - self.clock.now()) / timedelta(seconds=1))
        return max(0.0, longest)

    def _hear(self, topic: str) -> None:
        if topic == ANY or topic in self.loop.topics or (topic == LEASES and self.report.state == "standby"):
            self._woken.set()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()

    def _close(self) -> None:
        try:
            self.loop.close()
        except Exception:
            log.exception("%s did not close cleanly", self.loop.name)
        self._ticking_under = 0
        if self.lease is not None and self.lease.held():
            try:
                self.lease.release()
            except ExecplaneError:
                log.warning("the lease %s could not be given back; it expires by itself", self.lease.name)
        self.report.state = "stopped"


class Supervisor:
    """Starts the runners' threads, restarts one that died, and stops them all."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        self.runners = list(runners)
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        for runner in self.runners:
            self._spawn(runner)

    def _spawn(self, runner: Runner) -> None:
        thread = threading.Thread(target=self._guard, args=(runner,), name=f"loop {runner.loop.name}", daemon=True)
        self._threads[runner.loop.name] = thread
        thread.start()

    def _guard(self, runner: Runner) -> None:
        """A thread that dies in spite of all (SystemExit, MemoryError) is begun anew."""
        while not self._stopping.is_set():
            try:
                runner.run()
                return
            except BaseException as error:
                runner.report.restarts += 1
                metrics.current().count("execplane_loop_restarts_total", loop=runner.loop.name)
                runner.report.last_error = f"{type(error).__name__}: {error}"[:2000]
                log.exception("the thread of %s died; it is restarted", runner.loop.name)
                self._stopping.wait(_FIRST_BACKOFF_SECONDS)

    def reports(self) -> list[Report]:
        return [runner.report for runner in self.runners]

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Let each loop finish its tick, then close it; leases are given back. The last one is stopped after all
        others: it is the one that tells of them."""
        self._stopping.set()
        for group in (self.runners[:-1], self.runners[-1:]):
            for runner in group:
                runner.stop()
            for runner in group:
                thread = self._threads.get(runner.loop.name)
                if thread is not None and thread.ident is not None:  # else `start` did not get that far
                    thread.join(timeout=timeout_seconds)
