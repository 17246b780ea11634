"""The scheduler's loop around `decide`: continuous DAGs, faults in one run, who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from execplane.actions import dags as dag_actions
from execplane.contract.dag import DagSpec, TaskSpec, TimetableSpec
from execplane.contract.states import RunState, TaskState
from execplane.scheduler import loop as loop_module
from execplane.scheduler.calendar import Calendar
from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions
from execplane.store import dag_versions
from execplane.store.dag_versions import FileResult
from execplane.store.deployment import identity
from execplane.store.models import Attempt, Dag, DagRun, TaskInstance
from execplane.store.transitions import clearing, runs
from tests.conftest import TestClock
from tests.integration.store.conftest import new_run, save_dag
from tests.integration.store.play import ADA

pytestmark = pytest.mark.django_db

EMPTY = TaskSpec(task_id="t", operator="EmptyOperator", kind="empty")
WORK = TaskSpec(task_id="t", operator="BashOperator")


@pytest.fixture
def loop(clock: TestClock, db: None) -> SchedulerLoop:
    identity(clock.now())
    return SchedulerLoop(SchedulerOptions(default_executor="local"), Calendar(), clock, "scheduler")


def continuous(clock: TestClock, task: TaskSpec) -> None:
    save_dag(
        DagSpec(
            dag_id="always",
            file="d.py",
            timetable=TimetableSpec(kind="continuous"),
            start_date=clock.now() - timedelta(hours=1),
            max_active_runs=1,
            tasks=(task,),
        ),
        clock.now(),
    )


def tick(loop: SchedulerLoop, clock: TestClock) -> None:
    clock.advance(1)
    loop.tick(clock.now())


def test_a_continuous_dag_has_one_run_at_a_time(loop: SchedulerLoop, clock: TestClock) -> None:
    continuous(clock, WORK)

    for _ in range(4):
        tick(loop, clock)

    assert DagRun.objects.count() == 1
    assert Dag.objects.get().next_run_at is None


def test_the_next_run_of_a_continuous_dag_comes_when_the_last_has_ended(loop: SchedulerLoop, clock: TestClock) -> None:
    continuous(clock, EMPTY)

    for _ in range(9):
        tick(loop, clock)

    found = list(DagRun.objects.order_by("pk"))
    assert len(found) >= 3
    for before, after in pairwise(found):
        assert before.ended_at is not None
        assert before.ended_at <= after.queued_at


def test_a_continuous_run_that_is_marked_makes_room_for_the_next(loop: SchedulerLoop, clock: TestClock) -> None:
    continuous(clock, WORK)
    tick(loop, clock)
    tick(loop, clock)

    clearing.mark_run(DagRun.objects.get().pk, RunState.FAILED, actor="ada", now=clock.now())
    tick(loop, clock)

    assert DagRun.objects.count() == 2


def test_a_run_that_cannot_be_decided_says_so_and_keeps_no_other_from_it(
    loop: SchedulerLoop, clock: TestClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version = save_dag(DagSpec(dag_id="one", file="d.py", tasks=(EMPTY,)), clock.now())
    bad = runs.create_run(new_run("one", version, "bad", clock.now()), now=clock.now())
    runs.create_run(new_run("one", version, "good", clock.now() + timedelta(seconds=1)), now=clock.now())
    DagRun.objects.update(decide_at=clock.now())
    real: Any = vars(loop_module)["decide"]

    def faulty(view: object, now: object) -> object:
        if TaskInstance.objects.filter(dagrun_id=bad).exists():
            raise KeyError("a fault of ours")
        return real(view, now)

    TaskInstance.objects.create(dagrun_id=bad, task_id="t")
    DagRun.objects.filter(pk=bad).update(state="running")
    monkeypatch.setattr(loop_module, "decide", lambda view, now: faulty(view, now) if view.rows else real(view, now))

    for _ in range(3):
        tick(loop, clock)

    broken = DagRun.objects.get(pk=bad)
    assert "could not decide this run: KeyError" in broken.reason
    assert broken.decide_at is not None
    assert broken.decide_at > clock.now()
    assert DagRun.objects.get(run_id="good").state in ("running", "success")
    assert "could not be decided" in caplog.text


def test_a_waiting_run_starts_as_soon_as_another_ends_the_oldest_first(loop: SchedulerLoop, clock: TestClock) -> None:
    version = save_dag(DagSpec(dag_id="one", file="d.py", max_active_runs=1, tasks=(WORK,)), clock.now())
    pks = [
        runs.create_run(new_run("one", version, f"r{n}", clock.now() + timedelta(seconds=n)), now=clock.now())
        for n in range(3)
    ]
    DagRun.objects.update(decide_at=clock.now())
    tick(loop, clock)
    assert [DagRun.objects.get(pk=pk).state for pk in pks] == ["running", "queued", "queued"]

    clearing.mark_run(pks[0], RunState.SUCCESS, actor="ada", now=clock.now())
    tick(loop, clock)

    assert [DagRun.objects.get(pk=pk).state for pk in pks] == ["success", "running", "queued"]


def test_a_raised_max_active_runs_lets_runs_start_that_wait_with_an_older_version(
    loop: SchedulerLoop, clock: TestClock
) -> None:
    narrow = DagSpec(dag_id="one", file="d.py", max_active_runs=1, tasks=(WORK,))
    version = save_dag(narrow, clock.now())
    pks = [
        runs.create_run(new_run("one", version, f"r{n}", clock.now() + timedelta(seconds=n)), now=clock.now())
        for n in range(3)
    ]
    DagRun.objects.update(decide_at=clock.now())
    tick(loop, clock)
    assert [DagRun.objects.get(pk=pk).state for pk in pks] == ["running", "queued", "queued"]
    assert DagRun.objects.get(pk=pks[1]).reason == "As many runs are running as the DAG's max_active_runs allows (1)."

    wider = FileResult(file="d.py", dags=(msgspec.structs.replace(narrow, max_active_runs=2),))
    dag_versions.save_files("dags", "b" * 64, [wider], paused_at_creation=False, now=clock.now())
    tick(loop, clock)

    assert [DagRun.objects.get(pk=pk).state for pk in pks] == ["running", "running", "queued"]
    assert DagRun.objects.get(pk=pks[1]).dag_version_id == version.pk
    assert DagRun.objects.get(pk=pks[2]).reason == "As many runs are running as the DAG's max_active_runs allows (2)."


def test_a_later_run_that_waits_for_an_earlier_one_is_decided_when_that_ends(
    loop: SchedulerLoop, clock: TestClock
) -> None:
    task = TaskSpec(task_id="t", operator="BashOperator", depends_on_past=True)
    version = save_dag(DagSpec(dag_id="one", file="d.py", tasks=(task,)), clock.now())
    pks = [
        runs.create_run(new_run("one", version, f"r{n}", clock.now() + timedelta(seconds=n)), now=clock.now())
        for n in range(2)
    ]
    DagRun.objects.update(decide_at=clock.now())
    for _ in range(3):
        tick(loop, clock)
    later = TaskInstance.objects.get(dagrun_id=pks[1])
    assert later.state == "none"
    # It would look again by itself only tomorrow, for another task's retry.
    DagRun.objects.filter(pk=pks[1]).update(decide_at=clock.now() + timedelta(days=1))

    earlier = TaskInstance.objects.get(dagrun_id=pks[0])
    clearing.mark_instances([earlier.pk], TaskState.SUCCESS, actor="ada", now=clock.now())
    tick(loop, clock)
    tick(loop, clock)

    later.refresh_from_db()
    assert later.state == "queued"


def test_a_paused_dag_starts_nothing_until_it_goes_on(loop: SchedulerLoop, clock: TestClock) -> None:
    save_dag(DagSpec(dag_id="one", file="d.py", tasks=(WORK,)), clock.now())
    dag_actions.pause(ADA, "one", clock=clock)
    dag_actions.trigger(ADA, "one", run_id="by-hand", clock=clock)
    tick(loop, clock)
    assert (DagRun.objects.get().state, DagRun.objects.get().reason) == ("queued", "The DAG is paused.")

    dag_actions.unpause(ADA, "one", clock=clock)
    tick(loop, clock)

    assert DagRun.objects.get().state == "running"
    assert TaskInstance.objects.get().state == "queued"


def test_an_unpause_that_commits_while_a_run_is_read_is_not_missed(
    loop: SchedulerLoop, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL a run that waited for the unpause's lock is read anew, but the DAG beside it is not."""
    save_dag(DagSpec(dag_id="one", file="d.py", tasks=(WORK,)), clock.now())
    dag_actions.pause(ADA, "one", clock=clock)
    dag_actions.trigger(ADA, "one", run_id="by-hand", clock=clock)
    real = runs.lock_due_run

    @contextmanager
    def with_an_old_dag(now: datetime) -> Iterator[runs.LockedRun | None]:
        with real(now) as run:
            dag_actions.unpause(ADA, "one", clock=clock)
            yield run

    monkeypatch.setattr(runs, "lock_due_run", with_an_old_dag)
    assert loop.decide_one(clock.now())

    assert (DagRun.objects.get().state, DagRun.objects.get().reason) == ("running", "")


def test_a_queue_decides_which_executor_launches_unless_the_task_names_its_own(clock: TestClock, db: None) -> None:
    identity(clock.now())
    options = SchedulerOptions(default_executor="local", queue_executors={"gpu": "kubernetes"})
    loop = SchedulerLoop(options, Calendar(), clock, "scheduler")
    tasks = (
        WORK,
        TaskSpec(task_id="by_queue", operator="BashOperator", queue="gpu"),
        TaskSpec(task_id="by_name", operator="BashOperator", queue="gpu", executor="sequential"),
    )
    version = save_dag(DagSpec(dag_id="one", file="d.py", tasks=tasks), clock.now())
    runs.create_run(new_run("one", version, "r", clock.now()), now=clock.now())
    DagRun.objects.update(decide_at=clock.now())

    tick(loop, clock)

    found = dict(Attempt.objects.values_list("task_id", "executor"))
    assert found == {"t": "local", "by_queue": "kubernetes", "by_name": "sequential"}
