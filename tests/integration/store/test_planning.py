"""One DAG that cannot be planned, a run that was forgotten, a limit that was raised: the others go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from execplane.contract.dag import DagSpec, TaskSpec, TimetableSpec
from execplane.contract.errors import InvalidInput
from execplane.scheduler.calendar import Calendar
from execplane.store import run_rows
from execplane.store.models import Dag, DagRun, ImportErrorRow
from execplane.store.transitions import runs
from tests.integration.store.conftest import Ledger, save_dag

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_dag_whose_next_run_cannot_be_computed_says_so_and_the_others_get_theirs(ledger: Ledger) -> None:
    tasks = (TaskSpec(task_id="one", operator="BashOperator"),)
    endless = TimetableSpec(kind="delta", delta_seconds=2920000 * 86400.0)
    daily = TimetableSpec(kind="cron", expression="0 0 * * *")
    save_dag(DagSpec(dag_id="endless", file="e.py", timetable=endless, start_date=START, tasks=tasks), ledger.now)
    save_dag(DagSpec(dag_id="fine", file="f.py", timetable=daily, start_date=START, tasks=tasks), ledger.now)

    Calendar().create_due_runs(ledger.now)
    Calendar().create_due_runs(ledger.now)

    assert "cannot be planned" in ImportErrorRow.objects.get(file="e.py").message
    assert Dag.objects.get(pk="endless").next_run_at is None
    assert DagRun.objects.filter(dag_id="fine").count() == 1


def test_a_tick_that_passed_just_before_its_dag_was_planned_is_not_lost_by_a_busy_scheduler(ledger: Ledger) -> None:
    tasks = (TaskSpec(task_id="one", operator="BashOperator"),)
    often = TimetableSpec(kind="cron", expression="*/5 * * * *", semantics="instant")
    planned_at = datetime(2026, 3, 1, 12, 0, 29, tzinfo=UTC)
    save_dag(DagSpec(dag_id="often", file="o.py", timetable=often, tasks=tasks), planned_at)
    with mock.patch.object(run_rows, "due_dags", return_value=[]):
        Calendar().create_due_runs(planned_at)
    assert Dag.objects.get(pk="often").next_run_at == datetime(2026, 3, 1, 12, tzinfo=UTC)

    Calendar().create_due_runs(planned_at + timedelta(seconds=3))

    assert DagRun.objects.get(dag_id="often").logical_date == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert Dag.objects.get(pk="often").next_run_at == datetime(2026, 3, 1, 12, 5, tzinfo=UTC)


def test_a_run_that_nobody_woke_is_looked_at_again(ledger: Ledger) -> None:
    DagRun.objects.filter(pk=ledger.run_pk).update(decide_at=None)

    assert runs.recheck_forgotten(ledger.now) == 1
    assert ledger.run().decide_at == ledger.now


@pytest.mark.parametrize("run_id", ["backfill/2026/01", "..", "a\x00b", "what?", "a#b"])
def test_a_run_id_that_no_address_can_hold_is_refused(ledger: Ledger, run_id: str) -> None:
    from execplane.actions import dags
    from execplane.actions.actor import Actor

    with pytest.raises(InvalidInput):
        dags.trigger(Actor(name="ada", may_act=True), "orders", run_id=run_id)


def test_a_clear_can_move_the_run_to_the_newest_version(ledger: Ledger) -> None:
    from execplane.actions import tasks
    from execplane.actions.actor import Actor
    from execplane.store.models import DagVersion, TaskInstance

    ada = Actor(name="ada", may_act=True)
    old = ledger.run().dag_version_id
    newer = DagVersion.objects.create(
        dag_id="orders", number=2, hash="n" * 64, blob_id=DagVersion.objects.get(pk=old).blob_id, created_at=ledger.now
    )
    Dag.objects.filter(pk="orders").update(latest_version=newer)
    TaskInstance.objects.filter(dagrun_id=ledger.run_pk).update(state="failed")

    tasks.clear(ada, "orders", "r1", ["extract"])
    assert ledger.run().dag_version_id == old
    TaskInstance.objects.filter(dagrun_id=ledger.run_pk).update(state="failed")
    tasks.clear(ada, "orders", "r1", ["extract"], latest=True)
    assert ledger.run().dag_version_id == newer.pk
