"""Verbs of people: what a clear takes with it, what it leaves, who may."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from execplane.actions import dags as dag_actions
from execplane.actions import runs as run_actions
from execplane.actions import tasks
from execplane.actions.actor import Actor
from execplane.contract.dag import DagSpec, ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.contract.errors import Conflict, Forbidden, InvalidInput, NotFound
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Audit, DagRun, TaskInstance
from execplane.store.transitions import runs
from tests.conftest import TestClock
from tests.integration.store.conftest import new_run, save_dag
from tests.integration.store.play import ADA

MAPPED = MappedSpec(args=(ExpandArg(name="x", refs=(XComRef(task_id="rows"),)),))
SPEC = DagSpec(
    dag_id="orders",
    file="orders.py",
    tasks=(
        TaskSpec(task_id="each", operator="@task", upstream=("rows",), mapped=MAPPED),
        TaskSpec(task_id="rows", operator="@task"),
        TaskSpec(task_id="sum", operator="@task", upstream=("each",)),
    ),
)


@pytest.fixture
def ended(db: None, clock: TestClock) -> list[int]:
    """Three days' runs, all ended: `each` has three instances, the second of the second day failed."""
    identity(clock.now())
    version = save_dag(SPEC, clock.now())
    pks = []
    for day in range(3):
        when = clock.now() + timedelta(days=day)
        pk = runs.create_run(new_run("orders", version, f"day{day}", when), now=clock.now())
        pks.append(pk)
        for task_id, index in (("rows", -1), ("each", 0), ("each", 1), ("each", 2), ("sum", -1)):
            state = "failed" if (day, task_id, index) == (1, "each", 1) else "success"
            if (day, task_id) == (1, "sum"):
                state = "upstream_failed"
            TaskInstance.objects.create(
                dagrun_id=pk, task_id=task_id, map_index=index, state=state, ended_at=clock.now(), map_length=3
            )
    DagRun.objects.update(state="success", ended_at=clock.now())
    return pks


def states(run_pk: int) -> dict[tuple[str, int], str]:
    rows = TaskInstance.objects.filter(dagrun_id=run_pk)
    return {(task_id, index): state for task_id, index, state in rows.values_list("task_id", "map_index", "state")}


def test_a_clear_of_what_failed_leaves_what_succeeded(ended: list[int], clock: TestClock) -> None:
    cleared = run_actions.clear(ADA, "orders", "day1", only_failed=True, clock=clock)

    assert {(key.task_id, key.map_index) for key in cleared} == {("each", 1), ("sum", -1)}
    assert states(ended[1]) == {
        ("rows", -1): "success",
        ("each", 0): "success",
        ("each", 1): "none",
        ("each", 2): "success",
        ("sum", -1): "none",
    }


def test_a_mapped_task_cleared_with_its_input_is_expanded_anew(ended: list[int], clock: TestClock) -> None:
    tasks.clear(ADA, "orders", "day0", ["rows"], downstream=True, future=True, clock=clock)

    for pk in ended:
        assert states(pk) == {
            ("rows", -1): "none",
            ("each", 0): "none",
            ("each", 1): "removed",
            ("each", 2): "removed",
            ("sum", -1): "none",
        }
    assert set(DagRun.objects.values_list("state", flat=True)) == {"queued"}


def test_past_and_future_take_the_other_days_with_them(ended: list[int], clock: TestClock) -> None:
    def days(*, past: bool = False, future: bool = False) -> set[str]:
        found = tasks.clear(ADA, "orders", "day1", ["sum"], past=past, future=future, dry_run=True, clock=clock)
        return {key.run_id for key in found}

    assert days() == {"day1"}
    assert days(past=True) == {"day0", "day1"}
    assert days(future=True) == {"day1", "day2"}
    assert days(past=True, future=True) == {"day0", "day1", "day2"}
    assert states(ended[1])[("sum", -1)] == "upstream_failed", "a dry run changes nothing"
    assert not Audit.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_preview_of_a_clear_waits_for_nobody(ended: list[int], clock: TestClock) -> None:
    def preview() -> int:
        try:
            return len(run_actions.clear(ADA, "orders", "day1", dry_run=True, clock=clock))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads, write():
        DagRun.objects.select_for_update().get(pk=ended[1])
        assert threads.submit(preview).result(timeout=10) == 5


def test_one_instance_of_a_mapped_task_can_be_cleared_alone(ended: list[int], clock: TestClock) -> None:
    tasks.clear(ADA, "orders", "day0", ["each"], map_indexes=[2], clock=clock)

    assert [state for key, state in sorted(states(ended[0]).items()) if key[0] == "each"] == [
        "success",
        "success",
        "none",
    ]


def test_whoever_may_not_act_changes_nothing(ended: list[int], clock: TestClock) -> None:
    eve = Actor(name="eve")
    with pytest.raises(Forbidden):
        tasks.clear(eve, "orders", "day0", [], clock=clock)
    with pytest.raises(Forbidden):
        tasks.mark(eve, "orders", "day0", "rows", -1, "failed", clock=clock)
    with pytest.raises(Forbidden):
        dag_actions.trigger(eve, "orders", clock=clock)
    assert DagRun.objects.filter(state="success").count() == 3


def test_what_there_is_not_is_named(ended: list[int], clock: TestClock) -> None:
    with pytest.raises(NotFound, match="no run never"):
        tasks.clear(ADA, "orders", "never", [], clock=clock)
    with pytest.raises(NotFound, match="no task nothing"):
        tasks.clear(ADA, "orders", "day0", ["nothing"], clock=clock)
    with pytest.raises(InvalidInput, match="not running"):
        tasks.mark(ADA, "orders", "day0", "rows", -1, "running", clock=clock)
    with pytest.raises(NotFound, match="Did you mean orders"):
        dag_actions.trigger(ADA, "order", clock=clock)


def test_a_trigger_that_is_repeated_makes_one_run(ended: list[int], clock: TestClock) -> None:
    dag_actions.trigger(ADA, "orders", run_id="by-hand", logical_date=clock.now() - timedelta(days=9), clock=clock)

    with pytest.raises(Conflict, match="already has a run by-hand"):
        dag_actions.trigger(ADA, "orders", run_id="by-hand", clock=clock)

    assert DagRun.objects.filter(run_id="by-hand").count() == 1
    assert Audit.objects.filter(action="trigger").count() == 1
