"""What a dead worker left is known by its session or its mark, and nobody else's process is taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from execplane.contract.process import WORKER_MARK, boot_id, process_info, process_uid
from execplane.executors import local_diagnosis, local_leftovers
from execplane.executors.local_leftovers import Leftovers, find
from tests.conftest import TestClock
from tests.parts.eventually import eventually


class Session:
    """A session leader's uid, and the process that it started."""

    def __init__(self, *, oom_score: int, leader_lives: bool = False) -> None:
        end = "wait" if leader_lives else "exit 0"
        script = f"read go; echo {oom_score} > /proc/self/oom_score_adj; sleep 1000 >&- & echo $!; {end}"
        self.leader = subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env={}
        )
        self.uid = process_uid(self.leader.pid)
        assert self.leader.stdin is not None
        assert self.leader.stdout is not None
        self.leader.stdin.write(b"go\n")
        self.leader.stdin.flush()
        self.member = int(self.leader.stdout.readline())
        if not leader_lives:
            self.leader.wait()

    def end(self) -> None:
        for pid in (self.member, *([self.leader.pid] if self.leader.poll() is None else [])):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.leader.communicate()


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    made: list[Session] = []
    yield made
    for one in made:
        one.end()


def test_a_tasks_process_in_the_dead_workers_session_is_found(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=900))
    assert find([sessions[0].uid]) == {sessions[0].uid: [sessions[0].member]}


def test_a_stranger_in_a_later_session_of_that_number_is_not(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=0))
    assert find([sessions[0].uid]) == {}


def test_a_session_whose_number_is_somebody_elses_by_now_is_empty(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=900, leader_lives=True))
    _, pid, ticks = sessions[0].uid.split(":")
    earlier = f"{boot_id()}:{pid}:{int(ticks) - 1}"
    assert find([earlier]) == {}


def test_marked_processes_are_found_with_what_they_started(sessions: list[Session]) -> None:
    script = "env -i setsid sleep 1000 & echo $!; wait"
    uid = process_uid(os.getpid())
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True, env={**os.environ, WORKER_MARK: uid}
    ) as marked:
        assert marked.stdout is not None
        below = int(marked.stdout.readline())
        eventually(lambda: (info := process_info(below)) is not None and info.session == below)
        try:
            assert {uid: sorted(pids) for uid, pids in find([uid]).items()} == {uid: sorted([marked.pid, below])}
        finally:
            os.kill(below, signal.SIGKILL)


def test_an_end_is_told_once_nothing_lives_and_unconfirmed_when_it_cannot_be_killed(
    sessions: list[Session], clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.extend([Session(oom_score=900), Session(oom_score=900)])
    killed = sessions[0]
    leftovers = Leftovers(clock)
    leftovers.add(1, killed.uid, local_diagnosis.vanished())
    assert leftovers.hold_back(1)
    assert leftovers.settle() == []

    def settled() -> list[tuple[int, bool]]:
        clock.advance(0.02)
        return [(dead.attempt_id, finished) for dead, finished in leftovers.settle()]

    assert eventually(settled) == [(1, True)]
    assert leftovers.next_look() == []

    monkeypatch.setattr(local_leftovers, "_kill", lambda pids: None)  # a process that waits for a broken disk
    leftovers.add(2, sessions[1].uid, local_diagnosis.vanished())
    assert settled() == []
    clock.advance(10)
    assert settled() == [(2, False)]
