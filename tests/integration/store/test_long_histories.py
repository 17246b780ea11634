"""What is read of a DAG's past walks an index made for it, however many runs there are, and stops somewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from execplane.contract.states import TaskState
from execplane.store import run_rows, worker_rows
from execplane.store.database import write
from execplane.store.models import Dag, DagRun, TaskInstance
from execplane.store.queries import cli_status, runs
from execplane.store.transitions import runs as transitions
from tests.conftest import TestClock
from tests.integration import web_rows
from tests.integration.plans import name_of, plans

START = TestClock().now()
LAST = START - timedelta(minutes=1)
"""The logical date of each DAG's newest run."""


@pytest.fixture
def history(db: None, clock: TestClock) -> None:
    """`failing` has 400 scheduled runs, of which only the first succeeded; `by_hand` has only manual ones."""
    version = web_rows.make_dag(web_rows.spec("failing"), clock.now())
    web_rows.make_runs(version, 400, clock.now(), "failed")
    DagRun.objects.filter(pk=DagRun.objects.filter(dag="failing").earliest("pk").pk).update(state="success")
    web_rows.make_runs(web_rows.make_dag(web_rows.spec("by_hand"), clock.now()), 400, clock.now())
    DagRun.objects.filter(dag="by_hand").update(run_type="manual")
    Dag.objects.filter(pk="failing").update(next_run_at=clock.now())


def _recheck(dag_id: str) -> None:
    with write():
        transitions.recheck_dag(dag_id, START)


# Of few rows PostgreSQL may as well read the newest by their key.
READS: dict[str, tuple[Callable[[], Any], str]] = {
    "the last success before a run": (lambda: worker_rows.previous_success("failing", LAST), "dagrun_success"),
    "the last scheduled run": (lambda: run_rows.last_scheduled("by_hand"), "dagrun_scheduled"),
    "the run before": (
        lambda: run_rows.past("failing", LAST, ["t000"], scheduled_only=False),
        "dagrun_logical_date_once",
    ),
    "the scheduled run before": (
        lambda: run_rows.past("by_hand", LAST, ["t000"], scheduled_only=True),
        "dagrun_scheduled",
    ),
    "a task that the run before lacks": (
        lambda: run_rows.past("failing", LAST, ["new"], scheduled_only=False),
        "task_instance_once",
    ),
    "whether a run is active": (lambda: run_rows.any_active_run("failing"), "dagrun_active"),
    "later runs that wait": (
        lambda: run_rows.later_runs_waiting("failing", LAST - timedelta(days=300), LAST),
        "dagrun_active",
    ),
    "DAGs with room for a run": (lambda: run_rows.due_dags(START, limit=5), "dagrun_active"),
    "runs of a type": (lambda: runs.list_runs(run_type="backfill"), "dagrun_unscheduled"),
    "runs of a type of a DAG": (
        lambda: runs.list_runs(dag_id="failing", run_type="manual"),
        "dagrun_dag_unscheduled|execplane_dagrun_pkey",
    ),
    "ended runs of a DAG": (
        lambda: runs.list_runs(dag_id="by_hand", state="failed"),
        "dagrun_ended|execplane_dagrun_pkey",
    ),
    "active runs of a DAG": (lambda: runs.list_runs(dag_id="failing", state="running"), "dagrun_active"),
    "the active runs that are decided again": (lambda: _recheck("failing"), "dagrun_active"),
    "the last launch": (cli_status.last_create, "attempt_active"),
    "the last attempt that ended well": (cli_status.last_success, "attempt_state"),
}


def test_each_read_of_the_past_walks_its_index(history: None) -> None:
    found = {name: (indexes, plans(read)) for name, (read, indexes) in READS.items()}

    scanned = {
        name: plan for name, (indexes, plan) in found.items() if not any(name_of(i) in plan for i in indexes.split("|"))
    }
    assert scanned == {}


def test_the_last_success_is_found_behind_all_the_failures(history: None) -> None:
    found = worker_rows.previous_success("failing", LAST)

    assert found is not None
    assert found.logical_date == LAST - timedelta(days=399)
    assert run_rows.last_scheduled("by_hand") is None


def test_a_dag_whose_active_runs_are_as_many_as_it_allows_gets_no_further_one(history: None) -> None:
    DagRun.objects.filter(dag="failing", pk__in=DagRun.objects.filter(dag="failing")[:2]).update(state="queued")
    assert [due.dag_id for due in run_rows.due_dags(START, limit=5)] == ["failing"]

    Dag.objects.filter(pk="failing").update(max_active_runs=2)
    assert run_rows.due_dags(START, limit=5) == []


def test_runs_that_wait_for_an_earlier_one_are_the_next_running_ones(history: None) -> None:
    newest = list(DagRun.objects.filter(dag="failing").order_by("-logical_date")[:4])
    DagRun.objects.filter(pk__in=[run.pk for run in newest]).update(state="running")
    DagRun.objects.filter(pk=newest[0].pk).update(decide_at=START - timedelta(hours=1))
    after = newest[3].logical_date
    assert after is not None

    waiting = run_rows.later_runs_waiting("failing", after, START)

    assert waiting == [newest[2].pk, newest[1].pk], "in order, without the one that is about to be decided"


def test_a_task_is_looked_for_in_earlier_runs_but_not_in_all_of_them(
    history: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = DagRun.objects.filter(dag="failing", logical_date__lt=LAST).order_by("-logical_date")
    TaskInstance.objects.create(dagrun=older[0], task_id="kept", state=TaskState.SUCCESS)
    TaskInstance.objects.create(dagrun=older[2], task_id="dropped", state=TaskState.SUCCESS)

    def seen() -> set[str]:
        row = run_rows.past("failing", LAST, ["kept", "dropped", "new"], scheduled_only=True)
        assert row is not None
        assert row.states == {"kept": [TaskState.SUCCESS]}
        return set(row.seen)

    assert seen() == {"kept", "dropped"}
    monkeypatch.setattr(run_rows, "_LOOKED_BACK", 2)
    assert seen() == {"kept"}
