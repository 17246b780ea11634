"""Two schedulers on one database: no run is made twice, no attempt is launched twice, and everything ends."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from execplane.contract.clock import SystemClock
from execplane.contract.dag import DagSpec, TaskSpec, TimetableSpec
from execplane.scheduler.calendar import Calendar
from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions
from execplane.store.deployment import identity
from execplane.store.models import Attempt, Dag, DagRun, TaskInstance
from execplane.store.transitions import runs
from tests.integration.deployment_part import lines, logs, process
from tests.integration.store.conftest import new_run, save_dag
from tests.integration.store.invariants import violations
from tests.parts.eventually import eventually

pytestmark = pytest.mark.django_db(transaction=True)

DAGS, RUNS = 20, 3
NOW = SystemClock().now().replace(minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def deployed(transactional_db: None) -> None:
    identity(NOW)


def hourly(number: int, start: datetime | None, *, catchup: bool) -> DagSpec:
    return DagSpec(
        dag_id=f"dag_{number:02}",
        file="dags.py",
        timetable=TimetableSpec(kind="delta", delta_seconds=3600),
        start_date=start,
        end_date=None if start is None else start + timedelta(hours=RUNS - 1),
        catchup=catchup,
        tasks=(
            TaskSpec(task_id="extract", operator="BashOperator"),
            TaskSpec(task_id="load", operator="BashOperator", upstream=("extract",)),
        ),
    )


def test_two_processes_double_no_run_and_no_attempt(tmp_path: Path) -> None:
    for number in range(DAGS):
        save_dag(hourly(number, NOW - timedelta(hours=RUNS), catchup=True), NOW)

    with ExitStack() as both:
        for _ in range(2):
            both.enter_context(process("deployment", tmp_path))
        eventually(lambda: ended() == DAGS * RUNS, 90, on_failure=lambda: f"{standing()}\n{logs(tmp_path)}")

    made = Counter(DagRun.objects.values_list("dag_id", "logical_date"))
    assert len(made) == DAGS * RUNS
    assert set(made.values()) == {1}
    assert standing() == {"success": DAGS * RUNS}
    # A launch may be asked for twice when a driver loses its lease in its midst; under one name, so that the second
    # finds the first. The fence is passed once for each task.
    launched = {line["name"] for line in lines(tmp_path, "launches")}
    assert launched == set(Attempt.objects.values_list("pod_name", flat=True))
    assert len(launched) == DAGS * RUNS * 2
    keys = Counter(line["key"] for line in lines(tmp_path, "fence") if line["code"] == "running")
    assert len(keys) == DAGS * RUNS * 2
    assert set(keys.values()) == {1}
    assert violations() == []


def ended() -> int:
    return DagRun.objects.filter(ended_at__isnull=False).count()


def standing() -> dict[str, int]:
    return dict(Counter(DagRun.objects.values_list("state", flat=True)))


def together(action: object, count: int = 4) -> list[BaseException]:
    """The action in that many threads, begun at one moment, each with a connection of its own."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            barrier.wait(20)
            action()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_a_run_whose_date_is_the_moment_it_is_made_is_made_once() -> None:
    """Without a start date and without catchup each scheduler would name its own moment."""
    for number in range(10):
        save_dag(hourly(number, None, catchup=False), NOW)

    def create() -> None:
        for _ in range(3):
            Calendar().create_due_runs(SystemClock().now())

    assert together(create) == []

    assert Counter(DagRun.objects.values_list("dag_id", flat=True)) == dict.fromkeys(
        Dag.objects.values_list("dag_id", flat=True), 1
    )


def test_two_schedulers_start_no_more_runs_than_max_active_runs() -> None:
    limited = DagSpec(dag_id="limited", file="dags.py", max_active_runs=2, tasks=(TaskSpec(task_id="t", operator="X"),))
    version = save_dag(limited, NOW)
    for number in range(12):
        runs.create_run(new_run("limited", version, f"r{number}", NOW + timedelta(seconds=number)), now=NOW)
    DagRun.objects.update(decide_at=NOW)

    def decide() -> None:
        loop = SchedulerLoop(SchedulerOptions(default_executor="local"), Calendar(), SystemClock(), "s")
        while loop.decide_one(SystemClock().now()):
            pass

    assert together(decide) == []

    assert DagRun.objects.filter(dag_id="limited", state="running").count() == 2
    assert set(DagRun.objects.filter(state="queued").values_list("reason", flat=True)) == {
        "As many runs are running as the DAG's max_active_runs allows (2)."
    }


def test_runs_of_one_dag_that_end_at_once_wait_for_no_deadlock() -> None:
    spec = DagSpec(dag_id="ending", file="dags.py", max_active_runs=6, tasks=(TaskSpec(task_id="t", operator="X"),))
    version = save_dag(spec, NOW)
    for number in range(24):
        runs.create_run(new_run("ending", version, f"r{number}", NOW + timedelta(seconds=number)), now=NOW)
    DagRun.objects.update(decide_at=NOW)

    def work() -> None:
        loop = SchedulerLoop(SchedulerOptions(default_executor="local"), Calendar(), SystemClock(), "s")
        for _ in range(400):
            loop.decide_one(SystemClock().now())
            # Whatever is queued is done: only the runs' own rows are of interest here.
            if done := list(TaskInstance.objects.filter(state="queued").values_list("pk", flat=True)[:3]):
                Attempt.objects.filter(ti_id__in=done).update(state="success", ended_at=NOW)
                TaskInstance.objects.filter(pk__in=done).update(state="success", ended_at=NOW)
                DagRun.objects.filter(task_instances__in=done).update(decide_at=NOW)
            if not DagRun.objects.filter(ended_at=None).exists():
                return

    assert together(work) == []

    assert standing() == {"success": 24}
