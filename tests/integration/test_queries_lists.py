"""The read side: what lists contain, how they are paged, and which index each of them walks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext

from execplane.contract.errors import NotFound
from execplane.contract.keys import TaskKey
from execplane.store.models import Attempt, TaskInstance
from execplane.store.queries import attempts, audit, dags, runs, system, tasks, versions, xcoms
from execplane.store.queries.latency import DIMENSIONS, latency
from execplane.store.queries.paging import COUNT_CAP
from tests.conftest import TestClock
from tests.integration import web_rows
from tests.integration.plans import name_of, plans

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(clock: TestClock) -> Attempt:
    return web_rows.make_world(clock.now())


@pytest.fixture
def history(clock: TestClock) -> None:
    web_rows.make_history(clock.now())


def test_dags_page_by_id_and_carry_their_newest_runs_oldest_first(clock: TestClock) -> None:
    for name in ("a", "b", "c"):
        web_rows.make_runs(web_rows.make_dag(web_rows.spec(name), clock.now()), 20, clock.now())

    first = dags.list_dags(dags.DagFilter(), limit=2)
    second = dags.list_dags(dags.DagFilter(), after=first.next_key, limit=2)

    assert [row.dag_id for row in first.rows] == ["a", "b"]
    assert [row.dag_id for row in second.rows] == ["c"]
    assert second.next_key is None
    marks = first.rows[0].recent
    assert len(marks) == dags.RECENT
    assert [mark.id for mark in marks] == sorted(mark.id for mark in marks)
    assert marks[-1].run_after == clock.now() - timedelta(minutes=1)


def test_a_dag_with_fewer_runs_than_shown_carries_all_of_them(clock: TestClock) -> None:
    web_rows.make_runs(web_rows.make_dag(web_rows.spec("a"), clock.now()), 3, clock.now())
    web_rows.make_dag(web_rows.spec("b"), clock.now())

    rows = dags.list_dags(dags.DagFilter()).rows

    assert [len(row.recent) for row in rows] == [3, 0]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (dags.DagFilter(search="FAIL"), ["failing"]),
        (dags.DagFilter(tag="nightly"), ["running"]),
        (dags.DagFilter(status="paused"), ["paused"]),
        (dags.DagFilter(status="active"), ["failing", "running"]),
        (dags.DagFilter(status="running"), ["running"]),
        (dags.DagFilter(status="failed"), ["failing"]),
        (dags.DagFilter(status="removed"), []),
    ],
)
def test_dags_are_filtered(clock: TestClock, wanted: dags.DagFilter, expected: list[str]) -> None:
    now = clock.now()
    web_rows.make_runs(web_rows.make_dag(web_rows.spec("failing"), now), 1, now, "failed")
    web_rows.make_runs(web_rows.make_dag(web_rows.spec("running"), now, tags=("nightly",)), 1, now, "running")
    web_rows.make_dag(web_rows.spec("paused"), now, paused=True)

    assert [row.dag_id for row in dags.list_dags(wanted).rows] == expected
    assert dags.count_dags(wanted).n == len(expected)


def test_the_list_of_dags_asks_as_often_for_one_dag_as_for_thirty(
    clock: TestClock, django_assert_num_queries: Callable[[int], CaptureQueriesContext]
) -> None:
    for number in range(30):
        web_rows.make_runs(web_rows.make_dag(web_rows.spec(f"d{number}"), clock.now()), 2, clock.now())

    with django_assert_num_queries(3):
        rows = dags.list_dags(dags.DagFilter()).rows

    assert len(rows) == 30


def test_runs_page_backwards_by_id(clock: TestClock) -> None:
    web_rows.make_runs(web_rows.make_dag(web_rows.spec("a"), clock.now()), 5, clock.now())

    first = runs.list_runs(dag_id="a", limit=3)
    second = runs.list_runs(dag_id="a", before=first.next_key, limit=3)

    ids = [row.id for row in (*first.rows, *second.rows)]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert second.next_key is None
    assert runs.newer_run("a", second.rows[0].id) == first.rows[-1].run_id
    assert runs.older_run("a", first.rows[-1].id) == second.rows[0].run_id


def test_mapped_instances_become_one_cell_whose_state_is_the_worst(world: Attempt) -> None:
    run = runs.get_run(world.dag_id, world.run_id)

    cell = tasks.cells([run.id])[run.id]["mapped"]

    assert cell.total == len(web_rows.STATES)
    assert cell.state == "failed"
    assert cell.states["running"] == 1


def test_a_grid_costs_two_queries_whatever_its_size(
    clock: TestClock, django_assert_num_queries: Callable[[int], CaptureQueriesContext]
) -> None:
    one = web_rows.spec("wide", tasks=20)
    found = web_rows.make_runs(web_rows.make_dag(one, clock.now()), 10, clock.now())
    web_rows.make_cells(found, one)

    with django_assert_num_queries(2):
        grid = tasks.cells([run.pk for run in found])

    assert sum(len(cells) for cells in grid.values()) == 200


def test_counts_stop_at_their_cap(clock: TestClock) -> None:
    one = web_rows.spec("wide", tasks=2)
    found = web_rows.make_runs(web_rows.make_dag(one, clock.now()), 1, clock.now())
    TaskInstance.objects.bulk_create(
        TaskInstance(dagrun=found[0], task_id="m", map_index=number) for number in range(COUNT_CAP + 5)
    )
    from execplane.store.queries.paging import count

    counted = count(TaskInstance.objects.all())

    assert (counted.n, counted.capped, str(counted)) == (COUNT_CAP, True, "1000+")


def test_what_does_not_exist_is_named(db: None) -> None:
    with pytest.raises(NotFound, match="DAG nope"):
        dags.get_dag("nope")
    with pytest.raises(NotFound, match="run r of DAG nope"):
        runs.get_run("nope", "r")
    with pytest.raises(NotFound, match="attempt 7"):
        attempts.get_attempt(7)
    with pytest.raises(NotFound, match=r"t\[3\]"):
        tasks.get_task("nope", "r", "t", 3)


def test_a_version_gives_its_dag_and_its_source(world: Attempt) -> None:
    row = dags.get_dag("sales")
    assert row.version_id is not None

    assert versions.spec(row.version_id).dag_id == "sales"
    assert versions.source(row.version_id) == "from execplane import DAG\n"


def test_attempts_and_what_they_left_are_read_back(world: Attempt) -> None:
    row = attempts.get_attempt(world.pk)

    assert str(row.key) == f"sales/{world.run_id}/t000#1"
    assert [event.to_state for event in attempts.events(row.id)] == ["queued", "claimed", "launched"]
    assert xcoms.xcoms_of(row.ti_id)[0].text == '{"rows": 3}'
    assert [one.id for one in attempts.attempts_of(row.ti_id)] == [row.id]
    assert [one.id for one in attempts.ended_attempts(node="node-1").rows] == [row.id]
    assert attempts.active_attempts(executors=["kubernetes"]).rows == ()


MOMENT = TestClock().now()
# With few rows a planner may as well take another index that begins with the same column.
WALKS: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("dagrun_recent|dagrun_logical_date_once", lambda: runs.list_runs(dag_id="dag3")),
    ("dagrun_by_state", lambda: runs.list_runs(state="failed")),
    ("dagrun_recent|dagrun_logical_date_once", lambda: runs.recent_marks({"dag3": 150, "dag7": 310})),
    ("dagrun_recent", lambda: runs.newer_run("sales", 1)),
    ("task_instance_once", lambda: tasks.cells([1, 2])),
    ("task_instance_once", lambda: tasks.mapped_instances(1, "mapped")),
    ("attempt_once", lambda: attempts.attempts_of(1)),
    ("attempt_once", lambda: attempts.stopped_attempts(1)),
    ("attempt_event_story", lambda: attempts.events(1)),
    ("attempt_active", lambda: attempts.active_attempts(executors=["local"])),
    ("attempt_active", lambda: attempts.active_by_pool(["local"])),
    ("attempt_state", lambda: attempts.ended_attempts(state="cancelled")),
    ("attempt_dag", lambda: attempts.ended_attempts(dag_id="dag3")),
    ("attempt_category", lambda: attempts.ended_attempts(category="oom_killed")),
    ("attempt_node", lambda: attempts.ended_attempts(node="node-1")),
    ("attempt_node", lambda: latency("node", value="node-1")),
    ("attempt_image", lambda: latency("image", value="sha256:a")),
    ("attempt_template", lambda: latency("template", value="t/1")),
    ("secret_access_once", lambda: attempts.secret_accesses(1)),
    ("xcom_once", lambda: xcoms.xcoms_of(1)),
    ("audit_object|execplane_audit_pkey", lambda: audit.changes(objects=["run:a/b", "attempt:1"])),
    ("audit_object", lambda: audit.was_marked(TaskKey(dag_id="a", run_id="b", task_id="c"), MOMENT)),
)


def test_each_list_walks_its_index(history: None) -> None:
    found = [(index, plans(ask)) for index, ask in WALKS]

    scanned = {index: plan for index, plan in found if not any(name_of(name) in plan for name in index.split("|"))}
    assert scanned == {}


def test_latency_reads_the_newest_attempts_by_their_key_and_sorts_nothing(history: None) -> None:
    for by in DIMENSIONS:
        plan = plans(partial(latency, by))
        assert "execplane_attempt_pkey" in plan or "SCAN execplane_attempt" in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


def test_the_list_of_dags_walks_the_index_of_runs(history: None) -> None:
    assert "dagrun_recent" in plans(lambda: dags.list_dags(dags.DagFilter()))
    assert "dagrun_active" in plans(lambda: dags.list_dags(dags.DagFilter(status="running")))


def test_loops_leases_pools_and_import_errors_are_listed(world: Attempt) -> None:
    assert [row.name for row in system.loops()] == ["scheduler"]
    assert system.leases()["scheduler"].holder == "host:1"
    assert "default_pool" in [row.name for row in system.pools()]
    assert [row.file for row in system.import_errors().rows] == ["broken.py"]
    assert str(system.count_import_errors()) == "1"
