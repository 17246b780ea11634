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
from execplane.store.database import is_postgresql, write
from execplane.store.deployment import identity
from execplane.store.models import Audit, DagRun, TaskInstance
from execplane.store.transitions import runs
from tests.conftest import TestClock
from tests.integration.cli_runner import execplane
from tests.integration.store.conftest import new_run, save_dag
from tests.integration.store.play import ADA
from tests.integration.web_rows import make_attempt
from tests.parts.eventually import eventually

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


def each_of(run_pk: int) -> list[str]:
    return [state for (task_id, _), state in sorted(states(run_pk).items()) if task_id == "each"]


def test_a_mapped_task_of_which_an_instance_is_not_cleared_keeps_the_others(ended: list[int], clock: TestClock) -> None:
    tasks.clear(ADA, "orders", "day0", ["each"], map_indexes=[1], clock=clock)

    tasks.clear(ADA, "orders", "day0", ["rows", "each"], map_indexes=[-1, 2], clock=clock)

    assert each_of(ended[0]) == ["success", "none", "none"]


def test_a_mapped_task_of_which_an_instance_is_still_in_flight_keeps_the_others(
    ended: list[int], clock: TestClock
) -> None:
    instance = TaskInstance.objects.get(dagrun_id=ended[0], task_id="each", map_index=0)
    TaskInstance.objects.filter(pk=instance.pk).update(state="running")
    make_attempt(instance, clock.now(), state="running")

    tasks.clear(ADA, "orders", "day0", ["rows"], downstream=True, clock=clock)

    assert each_of(ended[0]) == ["restarting", "none", "none"]


def test_a_mapped_task_marked_without_an_index_is_marked_whole_in_one_action(
    ended: list[int], clock: TestClock
) -> None:
    TaskInstance.objects.create(dagrun_id=ended[1], task_id="each", map_index=3, state="removed")

    preview = tasks.mark(ADA, "orders", "day1", "each", -1, "success", dry_run=True, clock=clock)
    assert each_of(ended[1])[1] == "failed"
    marked = tasks.mark(ADA, "orders", "day1", "each", -1, "success", clock=clock)

    assert [key.map_index for key in marked] == [0, 1, 2] == [key.map_index for key in preview]
    assert each_of(ended[1]) == ["success", "success", "success", "removed"]
    assert states(ended[1])[("sum", -1)] == "none", "what failed for want of it goes on"
    row = Audit.objects.get()
    assert (row.object, row.after) == ("task:orders/day1/each[-1]", {"instances": 3})


@pytest.mark.django_db(transaction=True)
def test_what_a_mapped_task_expands_to_while_it_is_marked_is_marked_too(ended: list[int], clock: TestClock) -> None:
    def mark() -> int:
        try:
            return len(tasks.mark(ADA, "orders", "day0", "each", -1, "skipped", clock=clock))
        finally:
            connection.close()

    def waits() -> bool:
        if not is_postgresql():  # One writer at a time: it cannot begin before we end.
            return True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            return cursor.fetchone() is not None

    with ThreadPoolExecutor(1) as threads:
        with write():
            DagRun.objects.select_for_update().get(pk=ended[0])
            marking = threads.submit(mark)
            eventually(waits, 20)
            TaskInstance.objects.create(dagrun_id=ended[0], task_id="each", map_index=3, state="none")
        assert marking.result(timeout=20) == 4


def test_the_command_without_a_map_index_marks_a_mapped_task_whole(ended: list[int]) -> None:
    said = execplane("tasks", "mark", "orders", "day0", "each", "skipped")

    assert (said.code, said.out) == (0, "Marked each (3 instances) of day0 as skipped.\n")
    assert each_of(ended[0]) == ["skipped"] * 3
    assert "it has 0 to 2" in execplane("tasks", "mark", "orders", "day0", "each", "failed", "--map-index", "9").err


def test_one_instance_of_a_mapped_task_can_be_marked_alone(ended: list[int], clock: TestClock) -> None:
    tasks.mark(ADA, "orders", "day0", "each", 1, "skipped", clock=clock)

    assert each_of(ended[0]) == ["success", "skipped", "success"]
    assert Audit.objects.get().after is None


def test_more_instances_than_the_most_are_not_marked(
    ended: list[int], clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MOST_AT_ONCE", 2)

    with pytest.raises(InvalidInput, match="would mark more than 2"):
        tasks.mark(ADA, "orders", "day0", "each", -1, "failed", clock=clock)
    assert each_of(ended[0]) == ["success"] * 3


def test_a_map_index_that_is_not_there_is_answered_with_those_that_are(ended: list[int], clock: TestClock) -> None:
    with pytest.raises(NotFound, match="no map index 7 in the run day0 of orders: it has 0 to 2") as told:
        tasks.mark(ADA, "orders", "day0", "each", 7, "success", clock=clock)
    assert "all its instances" in told.value.hint
    with pytest.raises(NotFound, match="rows has no map indexes") as told:
        tasks.mark(ADA, "orders", "day0", "rows", 0, "success", clock=clock)
    assert "Leave the map index out" in told.value.hint
    with pytest.raises(NotFound, match="has no task nothing"):
        tasks.mark(ADA, "orders", "day0", "nothing", -1, "success", clock=clock)


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


@pytest.mark.parametrize(
    ("run_id", "wrong"),
    [
        ("a?b", "'?'"),
        ("a#b", "'#'"),
        ("a/b", "'/'"),
        ("a\\b", r"'\\\\'"),
        ("a\tb", r"U\+0009"),
        ("..", "folder's name"),
    ],
)
def test_a_run_id_that_is_refused_is_told_what_is_wrong_with_it(
    ended: list[int], clock: TestClock, run_id: str, wrong: str
) -> None:
    with pytest.raises(InvalidInput, match=wrong) as told:
        dag_actions.trigger(ADA, "orders", run_id=run_id, clock=clock)
    assert "letters, digits and -_.:+" in told.value.hint


def test_a_trigger_that_is_repeated_makes_one_run(ended: list[int], clock: TestClock) -> None:
    dag_actions.trigger(ADA, "orders", run_id="by-hand", logical_date=clock.now() - timedelta(days=9), clock=clock)

    with pytest.raises(Conflict, match="already has a run by-hand"):
        dag_actions.trigger(ADA, "orders", run_id="by-hand", clock=clock)

    assert DagRun.objects.filter(run_id="by-hand").count() == 1
    assert Audit.objects.filter(action="trigger").count() == 1
