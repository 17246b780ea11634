"""The living workers of the local executor: found by uid, attempt or pid, watched, and killed when their time is up."""

from __future__ import annotations

import heapq
import os
import signal
from contextlib import suppress
from dataclasses import dataclass

from execplane.contract.process import kill_descendants, living_pid
from execplane.contract.workload import Handle


@dataclass
class Child:
    """A living worker process."""

    attempt_id: int
    pid: int
    uid: str
    pidfd: int | None = None
    """Watched by this, when the zygote that forked it is not ours."""
    stopping: bool = False


class Children:
    """Not locked: the executor's lock is around all calls."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Child] = {}
        self._by_attempt: dict[int, str] = {}
        self._kills: list[tuple[float, str]] = []

    def of(self, handle: Handle) -> Child | None:
        return self._by_uid.get(handle.uid) or self.of_attempt(handle.attempt_id)

    def of_attempt(self, attempt_id: int) -> Child | None:
        uid = self._by_attempt.get(attempt_id)
        return self._by_uid.get(uid) if uid is not None else None

    def of_pid(self, pid: int) -> list[Child]:
        return [child for child in self._by_uid.values() if child.pid == pid]

    def watched(self) -> dict[int, Child]:
        """By their pidfds, those whose exit no zygote of ours will tell."""
        return {child.pidfd: child for child in self._by_uid.values() if child.pidfd is not None}

    def add(self, child: Child) -> Child:
        self._by_uid[child.uid] = child
        self._by_attempt[child.attempt_id] = child.uid
        return child

    def take_over(self, handle: Handle) -> Child | None:
        """Watch a living process that no zygote of ours forked."""
        pid = living_pid(handle.uid)
        pidfd = _pidfd(pid, handle.uid) if pid is not None else None
        if pid is None or pidfd is None:
            return None
        return self.add(Child(attempt_id=handle.attempt_id, pid=pid, uid=handle.uid, pidfd=pidfd))

    def watch_all(self) -> list[Child]:
        """The zygote is dead: watch its children ourselves from now on. Gives those that are dead already."""
        unwatched = [child for child in self._by_uid.values() if child.pidfd is None]
        for child in unwatched:
            child.pidfd = _pidfd(child.pid, child.uid)
        return [child for child in unwatched if child.pidfd is None]

    def remove(self, child: Child) -> bool:
        """False when it was removed before."""
        if self._by_uid.get(child.uid) is not child:
            return False
        del self._by_uid[child.uid]
        if self._by_attempt.get(child.attempt_id) == child.uid:
            del self._by_attempt[child.attempt_id]
        if child.pidfd is not None:
            os.close(child.pidfd)
        return True

    def terminate(self, child: Child, *, kill_at: float) -> None:
        """SIGTERM once, SIGKILL at that monotonic time."""
        first = not child.stopping
        child.stopping = True
        if first and living_pid(child.uid) is not None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
        heapq.heappush(self._kills, (kill_at, child.uid))

    def next_kill(self) -> list[float]:
        """When `kill_due` has something to do; empty: never."""
        return [at for at, _ in self._kills[:1]]

    def kill_due(self, now: float) -> None:
        while self._kills and self._kills[0][0] <= now:
            _, uid = heapq.heappop(self._kills)
            child = self._by_uid.get(uid)
            if child is None or living_pid(uid) is None:
                continue
            kill_descendants(child.pid)
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go; what runs keeps running."""
        for pidfd in self.watched():
            os.close(pidfd)


def _pidfd(pid: int, uid: str) -> int | None:
    """A descriptor of that very process: the pid is looked at again after opening, as it may have been reused."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if living_pid(uid) != pid:
        os.close(pidfd)
        return None
    return pidfd
