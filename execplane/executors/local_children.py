"""The living workers of the local executor: found by uid, attempt or pid, watched, and killed when their time is up."""

from __future__ import annotations

import heapq
import os
import signal
from contextlib import suppress
from dataclasses import dataclass

from execplane.contract.process import kill_descendants, living_pid, pid_and_ticks
from execplane.contract.workload import Handle

_LOOK_SECONDS = 1.0


@dataclass
class Child:
    """A living worker process."""

    attempt_id: int
    pid: int
    uid: str
    pidfd: int | None = None
    """Watched by this, when the zygote that forked it is not ours."""
    polled: bool = False
    """Looked at again and again instead, as no pidfd is to be had."""
    stopping: bool = False


class Children:
    """Not locked: the executor's lock is around all calls."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Child] = {}
        self._by_attempt: dict[int, str] = {}
        self._kills: list[tuple[float, str]] = []
        self._look_at = 0.0

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
        named = pid_and_ticks(handle.uid)
        if named is None:
            return None
        child = Child(attempt_id=handle.attempt_id, pid=named[0], uid=handle.uid)
        return self.add(child) if _watch(child) else None

    def watch_all(self) -> list[Child]:
        """The zygote is dead: watch its children ourselves from now on. Gives those that are dead already."""
        unwatched = [child for child in self._by_uid.values() if child.pidfd is None]
        return [child for child in unwatched if not _watch(child)]

    def next_look(self) -> list[float]:
        """When `found_dead` has something to do; empty: never."""
        return [self._look_at] if any(child.polled for child in self._by_uid.values()) else []

    def found_dead(self, now: float) -> list[Child]:
        """The dead ones of those without a pidfd."""
        if now < self._look_at:
            return []
        self._look_at = now + _LOOK_SECONDS
        return [child for child in self._by_uid.values() if child.polled and not _watch(child)]

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


def _watch(child: Child) -> bool:
    """False when it is dead, and only then: what is taken for dead is told as gone, and its processes are killed."""
    try:
        pidfd = os.pidfd_open(child.pid)
    except ProcessLookupError:
        return False
    except OSError:  # not allowed here, not known to this kernel, or no descriptor is free
        lives = _lives(child.uid)
        child.polled = True
        return lives is not False
    # Only now: the pid may have been another's by the time of the opening.
    lives = _lives(child.uid)
    if lives:
        child.pidfd = pidfd
    else:
        os.close(pidfd)
    child.polled = lives is None
    return lives is not False


def _lives(uid: str) -> bool | None:
    """None when /proc cannot be read just now."""
    try:
        return living_pid(uid) is not None
    except OSError:
        return None
