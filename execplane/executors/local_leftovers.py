"""What dead workers left running: it is killed, and seen to be dead, before a worker's end is told.

A worker that comes to its own end kills what its task left, and a zygote what its killed children left. Where the
zygote is dead, or was another executor's, nobody has, and the next attempt would run beside the processes of the last.
Two things tell whose they are: the session, which is the worker's unless a process left it, and WORKER_MARK in the
environment, which every program inherits unless it was started with an emptied one. Their descendants belong to them.
So one kind of process escapes: it left the session (setsid), started no program or one with an emptied environment, and
its parent is dead.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from execplane.contract.clock import Clock
from execplane.contract.observations import Diagnosis
from execplane.contract.process import WORKER_MARK, ProcessInfo, all_processes, pid_and_ticks

_log = logging.getLogger(__name__)
_CONFIRM_SECONDS = 10.0
"""A killed process may take that long to die (it waits for a disk, say) before its attempt counts as unconfirmed."""
_LOOK_AGAIN_SECONDS = 0.02
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
        self._look_at = 0.0

    def add(self, attempt_id: int, uid: str, diagnosis: Diagnosis) -> None:
        """This worker of the present boot is dead; `settle` says when all that it started is, too."""
        self._look_at = self._clock.monotonic()
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
        self._look_at = now + _LOOK_AGAIN_SECONDS
        living = find(self._dead)
        _kill(pid for pids in living.values() for pid in pids)
        settled: list[tuple[Dead, bool]] = []
        for dead in list(self._dead.values()):
            left = living.get(dead.uid)
            if left and now < dead.give_up_at:
                continue
            if left:
                _log.warning("processes %s of attempt %s's dead worker cannot be killed", left, dead.attempt_id)
            del self._dead[dead.uid]
            settled.append((dead, not left))
        return settled


def find(uids: Collection[str]) -> dict[str, list[int]]:
    """The living processes that these dead workers left, by the worker's uid. All are workers of the present boot."""
    infos = {info.pid: info for info in all_processes()}
    workers = {uid: named for uid in uids if (named := pid_and_ticks(uid)) is not None}
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
    living: dict[str, list[int]] = {}
    for pid, uid in found.items():
        living.setdefault(uid, []).append(pid)
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
    """Its OOM score is raised above ours, as every task's is (`WorkerOptions.task_oom_score`), and it is inherited.

    A session may bear the number of a worker's and be a stranger's: when the worker's was empty, its pid was given to
    somebody else meanwhile, and that one is dead, too (as daemons start)."""
    score = _oom_score(str(pid))
    return score > _oom_score("self") or score == _MOST_OOM_SCORE


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


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        # Whoever may not be killed (sudo, in a task) is seen to live on.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
