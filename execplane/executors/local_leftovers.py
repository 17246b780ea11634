"""What dead workers left running: it is killed, and seen to be dead, before a worker's end is told.

A worker that comes to its own end kills what its task left, and a zygote what its killed children left. Where the
zygote is dead, or was another executor's, nobody has, and the next attempt would run beside the processes of the last.
Two things tell whose they are: the session, which is the worker's unless a process left it, and WORKER_MARK in the
environment, which every program inherits unless it was started with an emptied one. Their descendants belong to them.
So one kind of process escapes: it left the session (setsid) or our user (sudo), started no program or one with an
emptied environment, and its parent is dead.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from execplane.contract.clock import Clock
from execplane.contract.observations import Diagnosis
from execplane.contract.process import WORKER_MARK, ProcessInfo, all_processes, living_pid, pid_and_ticks, process_info
from execplane.executors import local_diagnosis

_log = logging.getLogger(__name__)
_CONFIRM_SECONDS = 10.0
"""A killed process may take that long to die (it waits for a disk, say) before its attempt counts as unconfirmed."""
_LOOK_AGAIN_SECONDS = 0.02
_LAST_LOOK_AGAIN_SECONDS = 0.5
"""What was killed is dead at once; for what does not die, all processes need not be read fifty times a second."""
_MOST_OOM_SCORE = 1000


@dataclass(frozen=True, kw_only=True)
class Dead:
    """A worker that is dead, and what is to be told of it."""

    attempt_id: int
    uid: str
    diagnosis: Diagnosis
    give_up_at: float


class Leftovers:
    """Not locked: the executor's lock is around all calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._dead: dict[str, Dead] = {}
        self._left: dict[str, list[ProcessInfo]] = {}
        """By the worker's uid, what the last look found. One whose parent was killed may not be found again."""
        self._look_at = 0.0
        self._pause_seconds = _LOOK_AGAIN_SECONDS

    def add(self, attempt_id: int, uid: str, diagnosis: Diagnosis) -> None:
        """This worker of the present boot is dead; `settle` says when all that it started is, too."""
        self._look_at = self._clock.monotonic()
        self._pause_seconds = _LOOK_AGAIN_SECONDS
        give_up_at = self._look_at + _CONFIRM_SECONDS
        self._dead[uid] = Dead(attempt_id=attempt_id, uid=uid, diagnosis=diagnosis, give_up_at=give_up_at)

    def hold_back(self, attempt_id: int) -> bool:
        """The attempt's end is known and waits here to be told."""
        return any(dead.attempt_id == attempt_id for dead in self._dead.values())

    def next_look(self) -> list[float]:
        """When `settle` has something to do; empty: never."""
        return [self._look_at] if self._dead else []

    def settle(self) -> list[tuple[Dead, bool]]:
        """Kill what is left of them. Gives those of which nothing lives (True) or that cannot be killed (False)."""
        now = self._clock.monotonic()
        if not self._dead or now < self._look_at:
            return []
        self._look_at = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, _LAST_LOOK_AGAIN_SECONDS)
        left = self._left = self._look()
        _kill(info for infos in left.values() for info in infos)
        settled: list[tuple[Dead, bool]] = []
        for dead in list(self._dead.values()):
            pids = [info.pid for info in left.get(dead.uid, ())]
            if not pids and (worker := living_pid(dead.uid)) is not None:
                pids = [worker]
            if not pids:
                settled.append((dead, True))
            elif now >= dead.give_up_at:
                _log.warning("processes %s of attempt %s's dead worker cannot be killed", pids, dead.attempt_id)
                settled.append((replace(dead, diagnosis=local_diagnosis.with_survivors(dead.diagnosis, pids)), False))
            else:
                continue
            del self._dead[dead.uid]
        return settled

    def _look(self) -> dict[str, list[ProcessInfo]]:
        living = find(self._dead)
        for uid in self._dead.keys() & self._left.keys():
            infos = living.setdefault(uid, [])
            found = {info.pid for info in infos}
            infos += [info for info in self._left[uid] if info.pid not in found and _lives(info)]
        return living


def find(uids: Collection[str]) -> dict[str, list[ProcessInfo]]:
    """The living processes that these dead workers left, by the worker's uid. All are workers of the present boot.

    Whatever took it for dead: a worker that lives has left nothing, and its task is not to be killed."""
    named = {uid: pid_and_ticks(uid) for uid in uids if living_pid(uid) is None}
    workers = {uid: worker for uid, worker in named.items() if worker is not None}
    if not workers:
        return {}
    infos = {info.pid: info for info in all_processes()}
    oldest = min(ticks for _, ticks in workers.values())
    # A pid is not given away while a session is named after it: where it was, the worker's session is empty.
    sessions = {
        pid: (uid, ticks)
        for uid, (pid, ticks) in sorted(workers.items(), key=lambda item: item[1])
        if pid not in infos or infos[pid].start_ticks == ticks
    }
    found: dict[int, str] = {}
    for info in infos.values():
        if info.start_ticks < oldest or info.state in "ZX" or info.pid == os.getpid():
            continue
        uid, ticks = sessions.get(info.session, ("", 0))
        if uid and info.start_ticks >= ticks and _is_a_tasks(info.pid):
            found[info.pid] = uid
        elif (mark := _mark(info.pid)) in workers:
            found[info.pid] = mark
    _add_descendants(found, infos.values())
    living: dict[str, list[ProcessInfo]] = {}
    for pid, uid in found.items():
        living.setdefault(uid, []).append(infos[pid])
    return living


def _add_descendants(found: dict[int, str], infos: Iterable[ProcessInfo]) -> None:
    children: dict[int, list[int]] = {}
    for info in infos:
        if info.state not in "ZX":
            children.setdefault(info.ppid, []).append(info.pid)
    pending = list(found)
    while pending:
        parent = pending.pop()
        new = [pid for pid in children.get(parent, []) if pid not in found and pid != os.getpid()]
        found.update((pid, found[parent]) for pid in new)
        pending += new


def _is_a_tasks(pid: int) -> bool:
    """It is our user's, and its OOM score is raised above ours, as every task's is (`WorkerOptions.task_oom_score`):
    both are inherited.

    A session may bear the number of a worker's and be a stranger's: when the worker's was empty, its pid was given to
    somebody else meanwhile, and that one is dead, too (as daemons start)."""
    score = _oom_score(str(pid))
    return (score > _oom_score("self") or score == _MOST_OOM_SCORE) and _real_user(pid) == os.getuid()


def _real_user(pid: int) -> int | None:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[1])
    return None


def _oom_score(process: str) -> int:
    try:
        return int(Path("/proc", process, "oom_score_adj").read_text())
    except (OSError, ValueError):
        return 0


def _mark(pid: int) -> str:
    """WORKER_MARK's value in its environment; "" for none, or for one that we may not read."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    name = f"{WORKER_MARK}=".encode()
    marks = (entry[len(name) :] for entry in environment.split(b"\0") if entry.startswith(name))
    return next(marks, b"").decode(errors="replace")


def _lives(found: ProcessInfo) -> bool:
    info = process_info(found.pid)
    return info is not None and info.start_ticks == found.start_ticks and info.state not in "ZX"


def _kill(infos: Iterable[ProcessInfo]) -> None:
    for info in infos:
        # Whoever may not be killed (sudo, in a task) is seen to live on.
        with suppress(ProcessLookupError, PermissionError):
            _kill_one(info)


def _kill_one(found: ProcessInfo) -> None:
    """That very process: its pid may be another's since it was found."""
    try:
        pidfd = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return
    except OSError:  # no pidfds here, or no descriptor is free: a reuse within this instant is left to luck
        if _lives(found):
            os.kill(found.pid, signal.SIGKILL)
        return
    try:
        if _lives(found):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
