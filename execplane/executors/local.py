"""The local executor: each attempt is a process of this machine, forked by a zygote.

What survives what. The executor's process dies: workers go on, and the next executor adopts them by (boot, pid, start
ticks). The zygote dies: a new one is started, and what runs is watched by pidfd, where an exit status is not to be
had. A worker dies before it cleared up: what it left running is killed before its end is told. `launch` with a lost
answer: the same living process is acknowledged again, and where none is known, a second one is harmless, because the
claim lets one pass.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from execplane.contract.clock import Clock
from execplane.contract.executor import Report
from execplane.contract.observations import Acknowledged, Cleaned, Diagnosis, Fact, Gone, LaunchRefused
from execplane.contract.process import Exited, Spawn, Spawned, SpawnFailed, ZygoteReport, oom_kills, pid_and_ticks
from execplane.contract.states import AttemptState
from execplane.contract.workload import Handle, Intent, WorkerStart, Workload
from execplane.executors import local_diagnosis
from execplane.executors.local_children import Child, Children
from execplane.executors.local_leftovers import Leftovers
from execplane.executors.local_options import LocalOptions
from execplane.executors.local_zygote import ZygoteProcess

_log = logging.getLogger(__name__)
_LONGEST_POLL_SECONDS = 600.0
_FAILURES_TO_REFUSE = 3
_MOST_DEAD = 10_000
MintToken = Callable[[WorkerStart], str]
"""The launch token for one start; called at each launch."""


class LocalExecutor:
    """Implements contract.executor.Executor. One thread does the watching; any thread may call the methods."""

    name = "local"

    def __init__(self, options: LocalOptions, *, clock: Clock, mint_token: MintToken) -> None:
        self._options = options
        self._clock = clock
        self._mint_token = mint_token
        self._node = socket.gethostname()
        self._lock = threading.RLock()
        self._children = Children()
        self._leftovers = Leftovers(clock)
        self._launching: dict[int, Spawn] = {}
        self._stop_at_birth: dict[int, float] = {}
        self._dead: OrderedDict[int, None] = OrderedDict()
        """Reported as gone and not yet cleaned; the oldest are forgotten, and then reported once more."""
        self._facts: list[Fact] = []
        self._report: Report = lambda facts: None
        self._zygote: ZygoteProcess | None = None
        self._restart_at = 0.0
        self._failures = 0
        self._problem = ""
        self._closing = False
        self._oom_kills = 0
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"{self.name}-executor", daemon=True)

    def start(self, report: Report) -> None:
        self._report = report
        self._oom_kills = oom_kills()
        self._start_zygote()
        self._thread.start()

    def slots(self) -> int | None:
        return self._options.slots

    def build(self, workload: Workload) -> Intent:
        start = WorkerStart(
            attempt_id=workload.attempt_id,
            key=workload.key,
            api_url=self._options.api_url or workload.api_url,
            deployment_id=workload.deployment_id,
        )
        return Intent(
            attempt_id=workload.attempt_id,
            key=workload.key,
            name=f"{self.name}-{workload.attempt_id}",
            body=msgspec.json.encode(start),
        )

    def launch(self, intents: Sequence[Intent]) -> None:
        with self._lock:
            for intent in intents:
                self._launch(intent)
            self._flush()
        self._wake()

    def stop(self, handles: Sequence[Handle], *, grace_seconds: float) -> None:
        with self._lock:
            for handle in handles:
                self._stop(handle, grace_seconds)
        self._wake()

    def adopt(self, handles: Sequence[Handle]) -> None:
        with self._lock:
            for handle in handles:
                self._adopt(handle)
        self._wake()

    def clean(self, handles: Sequence[Handle], *, outcome: AttemptState) -> None:
        with self._lock:
            now = self._clock.now()
            for handle in handles:
                self._see_dead(handle)
                self._delete_leftovers(handle.attempt_id)
                self._facts.append(Cleaned(attempt_id=handle.attempt_id, at=now))
        self._wake()

    def check(self) -> str:
        return self._problem

    def close(self) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        if self._zygote is not None:
            self._zygote.close()
        self._children.close()
        self._wake_read.close()
        self._wake_write.close()

    # What the methods do, under the lock.

    def _launch(self, intent: Intent) -> None:
        alive = self._children.of_attempt(intent.attempt_id)
        if alive is not None:
            self._acknowledge(alive)
            return
        if intent.attempt_id in self._launching:
            return
        try:
            start = msgspec.json.decode(intent.body, type=WorkerStart)
            spawn = Spawn(start=start, token=self._mint_token(start))
        except Exception as error:  # one intent that cannot be launched must not stop the others
            _log.exception("attempt %s cannot be launched", intent.attempt_id)
            self._refuse(intent.attempt_id, local_diagnosis.launch_failed(str(error)), retry=False)
            return
        self._launching[intent.attempt_id] = spawn
        if self._zygote is not None:
            self._zygote.spawn(spawn)

    def _stop(self, handle: Handle, grace_seconds: float) -> None:
        child = self._children.of(handle)
        if child is None and handle.attempt_id in self._launching:
            self._stop_at_birth[handle.attempt_id] = grace_seconds
            return
        child = child or self._children.take_over(handle)
        if child is None:
            self._vanished(handle)
            return
        self._terminate(child, grace_seconds)

    def _terminate(self, child: Child, grace_seconds: float) -> None:
        kill_at = self._clock.monotonic() + grace_seconds + self._options.kill_margin_seconds
        self._children.terminate(child, kill_at=kill_at)

    def _adopt(self, handle: Handle) -> None:
        known = self._children.of(handle)
        if known is not None:
            self._acknowledge(known)
        elif handle.attempt_id in self._launching:
            return
        elif not handle.uid:
            # Its launch was not answered. A second process is harmless: the claim lets one of them pass.
            self._refuse(handle.attempt_id, local_diagnosis.never_started(), retry=True)
        elif (child := self._children.take_over(handle)) is not None:
            self._acknowledge(child, adopted=True)
        else:
            self._vanished(handle)

    def _see_dead(self, handle: Handle) -> None:
        """An attempt that ended while nobody watched (we were down, or not yet its adopter) is watched to its death."""
        if handle.attempt_id in self._dead:
            del self._dead[handle.attempt_id]
            return
        if handle.uid and (self._children.of(handle) or self._children.take_over(handle)) is None:
            self._vanished(handle)

    def _vanished(self, handle: Handle) -> None:
        """A process of this very boot that is not there is dead; one of another machine may live."""
        if self._leftovers.hold_back(handle.attempt_id):
            return
        if pid_and_ticks(handle.uid) is not None:
            self._leftovers.add(handle.attempt_id, handle.uid, local_diagnosis.vanished())
        else:
            self._gone(handle.attempt_id, handle.uid, local_diagnosis.vanished(), finished=False)

    def _acknowledge(self, child: Child, *, adopted: bool = False) -> None:
        self._facts.append(
            Acknowledged(
                attempt_id=child.attempt_id,
                uid=child.uid,
                at=self._clock.now(),
                adopted=adopted,
                node=self._node,
            )
        )

    def _refuse(self, attempt_id: int, diagnosis: Diagnosis, *, retry: bool, after_seconds: float = 0.0) -> None:
        self._facts.append(
            LaunchRefused(
                attempt_id=attempt_id,
                diagnosis=diagnosis,
                retry=retry,
                at=self._clock.now(),
                retry_after_seconds=after_seconds,
            )
        )

    def _gone(self, attempt_id: int, uid: str, diagnosis: Diagnosis, *, finished: bool = True) -> None:
        at = self._clock.now()
        self._dead[attempt_id] = None
        if len(self._dead) > _MOST_DEAD:
            self._dead.popitem(last=False)
        self._facts.append(Gone(attempt_id=attempt_id, uid=uid, at=at, diagnosis=diagnosis, finished=finished))

    def _delete_leftovers(self, attempt_id: int) -> None:
        if not self._options.work_dir:
            return
        with suppress(OSError):
            for path in Path(self._options.work_dir, "logs").glob(f"{attempt_id}-*.jsonl"):
                path.unlink(missing_ok=True)

    # The thread.

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            self._wake_write.send(b"\0")

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception:  # the watch must not end: attempts would stay running for ever
                _log.exception("the %s executor's watch stumbled", self.name)

    def _turn(self) -> None:
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        with self._lock:
            watched = self._children.watched()
            zygote = self._zygote
            seconds = 0.0 if self._facts else self._seconds_to_next()
        for pidfd in watched:
            poller.register(pidfd, select.POLLIN)
        if zygote is not None:
            poller.register(zygote, select.POLLIN | (select.POLLOUT if zygote.has_unsent else 0))
        ready = {fd for fd, _ in poller.poll(None if seconds is None else seconds * 1000 + bool(seconds))}
        with suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass
        with self._lock:
            self._flush()
            if zygote is not None and zygote.fileno() in ready:
                self._hear(zygote)
            for pidfd in ready & watched.keys():
                self._saw_exit(watched[pidfd])
            for child in self._children.found_dead(self._clock.monotonic()):
                self._saw_exit(child)
            self._children.kill_due(self._clock.monotonic())
            for dead, finished in self._leftovers.settle():
                self._gone(dead.attempt_id, dead.uid, dead.diagnosis, finished=finished)
            if self._zygote is None and not self._closing and self._clock.monotonic() >= self._restart_at:
                self._start_zygote()
            facts, self._facts = self._facts, []
        if facts:
            self._report(facts)

    def _seconds_to_next(self) -> float | None:
        times = [*self._children.next_kill(), *self._children.next_look(), *self._leftovers.next_look()]
        if self._zygote is None:
            times.append(self._restart_at)
        return min(max(0.0, min(times) - self._clock.monotonic()), _LONGEST_POLL_SECONDS) if times else None

    def _flush(self) -> None:
        if self._zygote is not None and self._zygote.has_unsent:
            self._zygote.flush()

    def _hear(self, zygote: ZygoteProcess) -> None:
        reports = zygote.read()
        if reports is None:
            self._lost_zygote(zygote)
            return
        for report in reports:
            self._take(report)

    def _take(self, report: ZygoteReport) -> None:
        match report:
            case Spawned():
                self._failures = 0
                self._launching.pop(report.attempt_id, None)
                child = self._children.add(Child(attempt_id=report.attempt_id, pid=report.pid, uid=report.uid))
                self._acknowledge(child)
                grace_seconds = self._stop_at_birth.pop(report.attempt_id, None)
                if grace_seconds is not None:
                    self._terminate(child, grace_seconds)
            case SpawnFailed():
                self._launching.pop(report.attempt_id, None)
                diagnosis = local_diagnosis.launch_failed(report.error)
                self._refuse(report.attempt_id, diagnosis, retry=True, after_seconds=1.0)
            case Exited():
                for child in self._children.of_pid(report.pid):
                    self._reaped(child, report.status)

    def _reaped(self, child: Child, status: int) -> None:
        kills = oom_kills() if status else self._oom_kills
        diagnosis = local_diagnosis.diagnose(status, killed_by_us=child.stopping, out_of_memory=kills > self._oom_kills)
        self._oom_kills = kills
        self._children.remove(child)
        if local_diagnosis.ended_by_itself(status):
            self._gone(child.attempt_id, child.uid, diagnosis)
        else:
            # The zygote kills what it left; that it is dead is still to be seen.
            self._leftovers.add(child.attempt_id, child.uid, diagnosis)

    def _saw_exit(self, child: Child) -> None:
        if self._children.remove(child):
            self._leftovers.add(child.attempt_id, child.uid, local_diagnosis.unseen_exit())

    def _start_zygote(self) -> None:
        try:
            self._zygote = ZygoteProcess(self._options)
        except OSError as error:
            self._problem = f"The zygote of the {self.name} executor cannot be started: {error}."
            self._postpone_restart()
            return
        self._problem = ""
        # What an earlier zygote may not have forked yet. If it had, the claim lets one of the two pass.
        for spawn in self._launching.values():
            self._zygote.spawn(spawn)
        self._zygote.flush()

    def _lost_zygote(self, zygote: ZygoteProcess) -> None:
        _log.warning("the zygote of the %s executor (pid %s) died; starting another", self.name, zygote.pid)
        zygote.close()
        self._zygote = None
        for child in self._children.watch_all():
            self._saw_exit(child)
        self._postpone_restart()

    def _postpone_restart(self) -> None:
        self._failures += 1
        delay = min(self._options.restart_first_seconds * 2 ** (self._failures - 1), self._options.restart_cap_seconds)
        self._restart_at = self._clock.monotonic() + delay
        if self._failures < _FAILURES_TO_REFUSE:
            return
        self._problem = f"The zygote of the {self.name} executor died {self._failures} times in a row."
        for attempt_id in self._launching:
            diagnosis = local_diagnosis.launch_failed("the zygote that forks workers does not stay alive")
            self._refuse(attempt_id, diagnosis, retry=True, after_seconds=delay)
        self._launching.clear()
