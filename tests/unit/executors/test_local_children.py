"""A worker counts as dead only when it is: a pidfd that cannot be had is no sign of it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.process import process_uid
from execplane.contract.workload import Handle
from execplane.executors import local_children
from execplane.executors.local_children import Child, Children


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()


def handle(uid: str) -> Handle:
    key = AttemptKey(task=TaskKey(dag_id="dag", run_id="run", task_id="task"), attempt_no=1)
    return Handle(attempt_id=1, key=key, name="local-1", uid=uid)


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EMFILE])
@pytest.mark.parametrize("learnt", ["adopted", "zygote died"])
def test_a_living_worker_without_a_pidfd_is_kept_and_looked_at_until_it_is_dead(
    children: Children, worker: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, number: int, learnt: str
) -> None:
    monkeypatch.setattr(os, "pidfd_open", failing(number))
    uid = process_uid(worker.pid)
    if learnt == "adopted":
        child = children.take_over(handle(uid))
    else:
        child = children.add(Child(attempt_id=1, pid=worker.pid, uid=uid))
        assert children.watch_all() == []
    assert child is not None
    assert child is children.of_attempt(1)
    assert children.watched() == {}
    assert children.found_dead(100.0) == []
    assert children.next_look() == [101.0]
    worker.kill()
    worker.wait()
    assert children.found_dead(100.5) == []
    assert children.found_dead(101.0) == [child]
    children.remove(child)
    assert children.next_look() == []


def test_it_is_watched_by_its_pidfd_as_soon_as_there_is_one(
    children: Children, worker: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", failing(errno.EMFILE))
        patch.setattr(local_children, "living_pid", failing(errno.EMFILE))  # reading /proc takes a descriptor, too
        child = children.take_over(handle(process_uid(worker.pid)))
    assert child is not None
    assert children.found_dead(100.0) == []
    assert list(children.watched().values()) == [child]
    assert children.next_look() == []


def test_a_pid_that_is_anothers_by_now_is_a_dead_workers(children: Children, worker: subprocess.Popen[bytes]) -> None:
    boot, pid, ticks = process_uid(worker.pid).split(":")
    assert children.take_over(handle(f"{boot}:{pid}:{int(ticks) - 1}")) is None
    assert children.watched() == {}
