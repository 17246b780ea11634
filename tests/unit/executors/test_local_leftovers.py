"""What a dead worker left is known by its session or its mark, and nobody else's process is taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from msgspec import structs

from execplane.contract.process import WORKER_MARK, boot_id, living_pid, process_info, process_uid
from execplane.executors import local_diagnosis, local_leftovers
from execplane.executors.local_leftovers import Leftovers, find
from tests.conftest import TestClock
from tests.parts.eventually import eventually


class Session:
    """A session leader's uid, and the process that it started."""

    def __init__(self, *, oom_score: int, leader_lives: bool = False, user: int | None = None) -> None:
        end = "wait" if leader_lives else "exit 0"
        script = f"read go; echo {oom_score} > /proc/self/oom_score_adj; sleep 1000 >&- & echo $!; {end}"
        self.leader = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={},
            user=user,
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


def found(uid: str) -> list[int]:
    return sorted(info.pid for info in find([uid]).get(uid, ()))


def dead_worker() -> str:
    with subprocess.Popen(["sleep", "1000"]) as process:
        uid = process_uid(process.pid)
        process.kill()
    return uid


@contextmanager
def marked(uid: str) -> Iterator[tuple[int, int]]:
    """A process with that worker's mark, and its child, which has neither mark nor session of it."""
    script = "env -i setsid sleep 1000 >&- & echo $!; wait"
    environment = {**os.environ, WORKER_MARK: uid}
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True, env=environment
    ) as process:
        assert process.stdout is not None
        below = int(process.stdout.readline())
        eventually(lambda: (info := process_info(below)) is not None and info.session == below)
        try:
            yield process.pid, below
        finally:
            with suppress(ProcessLookupError):
                os.kill(below, signal.SIGKILL)
            process.kill()


def test_a_tasks_process_in_the_dead_workers_session_is_found(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=900))
    assert found(sessions[0].uid) == [sessions[0].member]


def test_a_stranger_in_a_later_session_of_that_number_is_not(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=0))
    assert find([sessions[0].uid]) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
def test_another_users_process_in_a_session_of_that_number_is_not(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=900, user=65534))
    assert found(sessions[0].uid) == []


def test_a_worker_that_lives_has_left_nothing_and_is_not_told_as_gone(
    sessions: list[Session], clock: TestClock
) -> None:
    sessions.append(Session(oom_score=900, leader_lives=True))
    worker = sessions[0]
    assert found(worker.uid) == []
    leftovers = Leftovers(clock)
    leftovers.add(1, worker.uid, local_diagnosis.vanished())
    assert leftovers.settle() == []
    clock.advance(10)
    assert [finished for _, finished in leftovers.settle()] == [False]
    assert living_pid(worker.uid)
    assert process_uid(worker.member)


def test_a_session_whose_number_is_somebody_elses_by_now_is_empty(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=900, leader_lives=True))
    _, pid, ticks = sessions[0].uid.split(":")
    earlier = f"{boot_id()}:{pid}:{int(ticks) - 1}"
    assert find([earlier]) == {}


def test_marked_processes_are_found_with_what_they_started() -> None:
    uid = dead_worker()
    with marked(uid) as pids:
        assert found(uid) == sorted(pids)


def test_what_was_found_by_its_parent_is_not_forgotten_when_that_one_is_dead(
    clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = dead_worker()
    with marked(uid) as (parent, below):
        # As with sudo's, which we may not kill; root, whom the tests may run as, may.
        monkeypatch.setattr(local_leftovers, "_kill", lambda infos: os.kill(parent, signal.SIGKILL))
        leftovers = Leftovers(clock)
        leftovers.add(1, uid, local_diagnosis.vanished())
        assert leftovers.settle() == []
        eventually(lambda: living_pid(process_uid(parent)) is None)
        monkeypatch.setattr(local_leftovers, "_kill", lambda infos: None)
        clock.advance(10)
        ((told, finished),) = leftovers.settle()
    assert not finished
    assert told.diagnosis.sentence.endswith(f"there live, and could not be killed: {below}.")


def test_a_process_that_has_the_pid_of_one_that_was_found_is_not_killed(sessions: list[Session]) -> None:
    sessions.append(Session(oom_score=900))
    info = process_info(sessions[0].member)
    assert info is not None
    local_leftovers._kill([structs.replace(info, start_ticks=info.start_ticks - 1)])
    local_leftovers._kill([structs.replace(info, pid=_free_pid())])
    assert living_pid(process_uid(info.pid))
    local_leftovers._kill([info])
    eventually(lambda: living_pid(process_uid(info.pid)) is None)


def test_what_cannot_be_killed_is_looked_at_ever_more_seldom(
    sessions: list[Session], clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.append(Session(oom_score=900))
    monkeypatch.setattr(local_leftovers, "_kill", lambda infos: None)
    leftovers = Leftovers(clock)
    leftovers.add(1, sessions[0].uid, local_diagnosis.vanished())
    pauses = []
    while not leftovers.settle():
        pauses.append(round(leftovers.next_look()[0] - clock.monotonic(), 2))
        clock.advance(pauses[-1])
    assert pauses[:6] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5]
    assert set(pauses[6:]) == {0.5}


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
    ((told, finished),) = leftovers.settle()
    assert (told.attempt_id, finished) == (2, False)
    assert told.diagnosis.sentence.endswith(f"could not be killed: {sessions[1].member}.")


def _free_pid() -> int:
    return int(dead_worker().split(":")[1])
