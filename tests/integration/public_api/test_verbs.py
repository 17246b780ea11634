"""Clear and mark over the public API: Airflow's addresses and bodies; what they cannot mean here is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execplane.contract.dag import ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.store.models import Audit, DagRun, TaskInstance
from tests.integration.cli_runner import SPEC, save_attempt, save_dag, save_run
from tests.integration.public_api.conftest import basic, get, patch, post

pytestmark = pytest.mark.django_db
CLEAR = "/dags/orders/clearTaskInstances"
RUN = "/dags/orders/dagRuns/r1"


@pytest.fixture
def run_pk() -> int:
    """extract succeeded, load failed, each is mapped three times."""
    over = ExpandArg(name="x", refs=(XComRef(task_id="extract"),))
    each = TaskSpec(task_id="each", operator="@task", mapped=MappedSpec(args=(over,)))
    pk = save_run(save_dag(msgspec.structs.replace(SPEC, tasks=(*SPEC.tasks, each))))
    save_attempt(pk, "extract")
    TaskInstance.objects.filter(dagrun_id=pk, task_id="load").update(state="failed")
    for index in range(3):
        TaskInstance.objects.create(dagrun_id=pk, task_id="each", map_index=index, state="success")
    DagRun.objects.update(state="failed")
    return pk


def state(task_id: str, map_index: int = -1) -> str:
    return TaskInstance.objects.get(task_id=task_id, map_index=map_index).state


def hit(answer: Any) -> list[tuple[str, int]]:
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert body["total_entries"] == len(body["task_instances"])
    return [(one["task_id"], one["map_index"]) for one in body["task_instances"]]


def test_a_clear_only_tells_what_it_would_hit_until_it_is_told_to_do_it(run_pk: int) -> None:
    assert hit(post(CLEAR, {"dag_run_id": "r1"})) == [("load", -1)]
    assert state("load") == "failed"
    assert not Audit.objects.exists()

    cleared = post(CLEAR, {"dag_run_id": "r1", "dry_run": False})

    assert hit(cleared) == [("load", -1)]
    assert cleared.json()["task_instances"][0]["dag_run_id"] == "r1"
    assert (state("load"), state("extract")) == ("none", "success")
    assert DagRun.objects.get().state == "queued"
    assert (Audit.objects.get().actor, Audit.objects.get().action) == ("ann", "clear")


def test_a_clear_takes_the_tasks_and_relatives_that_it_names(run_pk: int) -> None:
    body = {"dag_run_id": "r1", "only_failed": False}

    assert hit(post(CLEAR, {**body, "task_ids": ["extract"]})) == [("extract", -1)]
    assert hit(post(CLEAR, {**body, "task_ids": ["extract"], "include_downstream": True})) == [
        ("extract", -1),
        ("load", -1),
    ]
    assert post(CLEAR, {**body, "task_ids": ["nope"]}).status_code == 404
    assert post(CLEAR, {**body, "dag_run_id": "nope"}).status_code == 404


def test_a_clear_of_pairs_takes_single_instances_of_a_mapped_task(run_pk: int) -> None:
    pairs = {"dag_run_id": "r1", "only_failed": False, "dry_run": False, "task_ids": [["each", 0], ["each", 2]]}

    assert hit(post(CLEAR, pairs)) == [("each", 0), ("each", 2)]
    assert [state("each", index) for index in range(3)] == ["none", "success", "none"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"start_date": "2026-01-01T00:00:00Z"}, "start_date"),
        ({"end_date": "2026-01-01T00:00:00Z"}, "end_date"),
        ({"only_running": True}, "only_running"),
        ({"reset_dag_runs": False}, "reset_dag_runs"),
        ({"include_parentdag": True}, "include_parentdag"),
        ({"task_ids": []}, "task_ids"),
        ({"task_ids": ["load", ["each", 1]]}, "task_ids"),
        ({"task_ids": [["each", True]]}, "task_ids"),
        ({"dag_run_id": None}, "dag_run_id"),
    ],
)
def test_what_a_clear_cannot_mean_here_is_refused_by_name(run_pk: int, more: dict[str, Any], named: str) -> None:
    answer = post(CLEAR, {"dag_run_id": "r1", "dry_run": False, **more})

    assert answer.status_code == 400
    assert named in answer.json()["message"]
    assert state("load") == "failed"


def test_airflow_s_whole_body_is_taken_where_it_asks_for_nothing_else(run_pk: int) -> None:
    rest = {"start_date": None, "end_date": None, "only_running": False, "reset_dag_runs": True, "task_ids": None}

    assert hit(post(CLEAR, {"dag_run_id": "r1", **rest})) == [("load", -1)]


@pytest.mark.parametrize("wanted", ["success", "failed"])
def test_a_run_is_marked_and_with_that_stopped(run_pk: int, wanted: str) -> None:
    DagRun.objects.update(state="running")

    answer = patch(RUN, {"state": wanted})

    assert (answer.status_code, answer.json()["state"]) == (200, wanted)
    assert Audit.objects.get().action == f"mark {wanted}"
    assert patch(RUN, {"state": "queued"}).status_code == 400
    assert patch(RUN, {"state": wanted, "note": "x"}).status_code == 400
    assert patch("/dags/orders/dagRuns/nope", {"state": wanted}).status_code == 404


def test_a_task_instance_is_read_and_marked(run_pk: int) -> None:
    assert get(f"{RUN}/taskInstances/load").json()["state"] == "failed"

    answer = patch(f"{RUN}/taskInstances/load", {"new_state": "success"})

    assert hit(answer) == [("load", -1)]
    assert answer.json()["task_instances"][0]["state"] == "success"
    assert get(f"{RUN}/taskInstances/nope").status_code == 404
    assert patch(f"{RUN}/taskInstances/load", {"new_state": "running"}).status_code == 400


def test_a_mapped_task_is_marked_whole_or_by_its_index(run_pk: int) -> None:
    assert hit(patch(f"{RUN}/taskInstances/each/1", {"new_state": "failed"})) == [("each", 1)]
    assert get(f"{RUN}/taskInstances/each/1").json()["state"] == "failed"

    assert hit(patch(f"{RUN}/taskInstances/each", {"new_state": "skipped"})) == [("each", n) for n in range(3)]

    beyond = patch(f"{RUN}/taskInstances/each/9", {"new_state": "success"})
    assert (beyond.status_code, "0 to 2" in beyond.json()["message"]) == (404, True)
    assert Audit.objects.count() == 2


@pytest.mark.parametrize("name", ["include_upstream", "include_downstream", "include_past", "include_future"])
def test_relatives_are_not_marked_along_and_that_is_said(run_pk: int, name: str) -> None:
    path = f"{RUN}/taskInstances/load"

    refused = patch(path, {"new_state": "success", name: True})

    assert (refused.status_code, name in refused.json()["message"]) == (400, True)
    assert state("load") == "failed"
    assert patch(path, {"new_state": "success", name: False}).status_code == 200


def test_who_is_not_staff_clears_and_marks_nothing(run_pk: int) -> None:
    bob = basic("bob", "b-pass")

    for refused in (
        post(CLEAR, {"dag_run_id": "r1"}, headers=bob),
        post(CLEAR, {"dag_run_id": "r1", "dry_run": False}, headers=bob),
        patch(RUN, {"state": "success"}, headers=bob),
        patch(f"{RUN}/taskInstances/load", {"new_state": "success"}, headers=bob),
    ):
        assert (refused.status_code, "bob may not" in refused.json()["message"]) == (403, True)
    assert (state("load"), DagRun.objects.get().state) == ("failed", "failed")
    assert not Audit.objects.exists()
