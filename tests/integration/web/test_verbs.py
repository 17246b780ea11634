"""What pages change: forms and dialogs that end in a verb, and refusals that are shown in words."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import reverse

from execplane.store.models import Attempt, Audit, Dag, DagRun, TaskInstance

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def test_the_switch_pauses_and_activates_and_is_audited(staff: Client, world: Attempt) -> None:
    path = reverse("dag-pause", args=["sales"])

    answer = staff.post(path, {"paused": "1"}, headers=HTMX)

    assert answer.status_code == 204
    assert "is paused" in json.loads(answer["HX-Trigger"])["toast"]["text"]
    assert Dag.objects.get(pk="sales").paused
    staff.post(path, {"paused": "0"})
    assert not Dag.objects.get(pk="sales").paused
    assert list(Audit.objects.order_by("id").values_list("actor", "action")) == [("ada", "pause"), ("ada", "unpause")]


def test_the_trigger_form_makes_a_run_with_typed_params(staff: Client, world: Attempt) -> None:
    path = reverse("dag-trigger", args=["sales"])
    form = staff.get(path).content.decode()
    assert 'name="param.limit"' in form
    assert 'type="number"' in form

    fields = {"param.limit": "42", "param.region": '"us"', "run_id": "by-hand", "conf": '{"more": [1]}'}
    answer = staff.post(path, fields)

    assert answer["Location"] == reverse("run", args=["sales", "by-hand"])
    run = DagRun.objects.get(run_id="by-hand")
    assert run.conf == {"limit": 42, "region": "us", "more": [1]}
    assert run.triggered_by == "ada"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"param.limit": "many", "param.region": '"eu"'}, "not a whole number"),
        ({"param.limit": "", "param.region": '"eu"'}, "A value is needed."),
        ({"param.limit": "500", "param.region": '"eu"'}, "500 is greater than the maximum of 100"),
        ({"param.limit": "5", "param.region": '"eu"', "conf": "{"}, "Not valid JSON"),
        ({"param.limit": "5", "param.region": '"eu"', "conf": "[1]"}, "must be a JSON object"),
        ({"param.limit": "5", "param.region": '"eu"', "logical_date": "soon"}, "Not a date and time"),
    ],
)
def test_a_refused_trigger_keeps_what_was_typed_and_says_what_is_wrong(
    staff: Client, world: Attempt, fields: dict[str, str], words: str
) -> None:
    answer = staff.post(reverse("dag-trigger", args=["sales"]), fields)

    body = answer.content.decode()
    assert answer.status_code == 422
    assert words in body.replace("&#x27;", "'")
    assert f'value="{fields["param.limit"]}"' in body
    assert not DagRun.objects.filter(run_type="manual").exists()


def test_clearing_first_shows_what_it_hits_and_follows_the_options(staff: Client, world: Attempt) -> None:
    path = reverse("task-clear", args=[world.dag_id, world.run_id, "t001"])

    with_downstream = staff.get(path).content.decode()
    alone = staff.get(path + "?asked=1").content.decode()
    with_past = staff.get(path + "?asked=1&past=1").content.decode()

    assert "3 task instances" in with_downstream
    assert "check.sums" in with_downstream
    assert "1 task instance<" in alone
    assert "3 task instances" in with_past
    assert TaskInstance.objects.get(dagrun__run_id=world.run_id, task_id="t001").state == "success"


def test_clearing_a_task_sets_it_back_and_says_how_many(staff: Client, world: Attempt) -> None:
    path = reverse("task-clear", args=[world.dag_id, world.run_id, "t000"])

    answer = staff.post(path, {"asked": "1", "next": "/dags/sales"}, headers=HTMX)

    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/dags/sales")
    assert TaskInstance.objects.get(dagrun__run_id=world.run_id, task_id="t000").state == "none"
    assert "Cleared 1 task instance." in staff.get("/dags/sales").content.decode()


def test_marking_asks_first_and_then_marks(staff: Client, world: Attempt) -> None:
    path = reverse("task-mark", args=[world.dag_id, world.run_id, "t000", "success"])

    assert "Mark t000 as success" in staff.get(path).content.decode()
    staff.post(path)

    assert TaskInstance.objects.get(dagrun__run_id=world.run_id, task_id="t000").state == "success"


def test_a_mapped_task_is_marked_whole_from_its_page(staff: Client, world: Attempt) -> None:
    names = [world.dag_id, world.run_id, "mapped"]
    path = reverse("task-mark", args=[*names, "success"])
    assert f'href="{path}"' in staff.get(reverse("task", args=names)).content.decode()

    asked = staff.get(path).content.decode()
    answer = staff.post(path, headers=HTMX)

    assert "Mark all of mapped as success" in asked
    assert "8 task instances" in asked
    assert "mapped[7]" in asked
    assert answer["HX-Redirect"] == reverse("task", args=names)
    assert set(TaskInstance.objects.filter(task_id="mapped").values_list("state", flat=True)) == {"success"}
    assert "Marked mapped (8 instances) as success." in staff.get("/dags").content.decode()


def test_a_single_index_is_marked_alone_and_one_that_is_not_there_is_not_found(staff: Client, world: Attempt) -> None:
    names = [world.dag_id, world.run_id, "mapped"]
    asked = staff.get(reverse("mapped-task-mark", args=[*names, 1, "success"])).content.decode()
    beyond = staff.get(reverse("mapped-task-mark", args=[*names, 99, "success"]))

    assert "Mark mapped[1] as success" in asked
    assert "1 task instance<" in asked
    assert beyond.status_code == 404
    assert "it has 0 to 7" in beyond.content.decode()


def test_a_refused_verb_is_a_toast_with_its_hint(staff: Client, world: Attempt) -> None:
    answer = staff.post(reverse("attempt-cancel", args=[world.pk]), headers=HTMX)

    toast = json.loads(answer["HX-Trigger"])["toast"]
    assert toast["level"] == "error"
    assert "ended already" in toast["text"]
    assert toast["hint"] == "Clear the task to run it again."


def test_a_verb_leads_nowhere_else(staff: Client, world: Attempt) -> None:
    for target in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
        answer = staff.post(reverse("dag-pause", args=["sales"]), {"paused": "1", "next": target})
        assert answer["Location"] == reverse("dag", args=["sales"])


def test_verbs_are_not_links(staff: Client, world: Attempt) -> None:
    assert staff.get(reverse("dag-pause", args=["sales"])).status_code == 405
    assert staff.get(reverse("run-stop", args=[world.dag_id, world.run_id])).status_code == 200
    assert DagRun.objects.get(run_id=world.run_id).state == "failed"


@pytest.mark.parametrize("ticked", [True, False])
def test_triggering_a_paused_dag_unpauses_it_where_the_box_is_ticked(
    staff: Client, world: Attempt, ticked: bool
) -> None:
    Dag.objects.filter(pk="sales").update(paused=True)
    path = reverse("dag-trigger", args=["sales"])
    assert 'name="unpause" value="1" checked' in staff.get(path).content.decode()

    fields = {"param.limit": "5", "param.region": '"eu"'} | ({"unpause": "1"} if ticked else {})
    staff.post(path, fields)

    assert Dag.objects.get(pk="sales").paused is not ticked


def test_a_run_that_waits_for_its_paused_dag_says_so_at_once_and_offers_to_unpause(
    staff: Client, world: Attempt
) -> None:
    words = "The DAG is paused, so its runs wait."
    pages = [reverse("dag", args=["sales"]), reverse("run", args=["sales", world.run_id])]
    Dag.objects.filter(pk="sales").update(paused=True)
    assert not any(words in staff.get(page).content.decode() for page in pages)

    DagRun.objects.filter(run_id=world.run_id).update(state="queued", reason="")

    for page in pages:
        body = staff.get(page).content.decode()
        assert words in body
        assert "Unpause the DAG" in body


def test_a_form_on_a_page_of_its_own_answers_in_that_page(staff: Client, world: Attempt) -> None:
    forms = [
        reverse("dag-trigger", args=["sales"]),
        reverse("variable-set"),
        reverse("task-clear", args=[world.dag_id, world.run_id, "t000"]),
        reverse("task-mark", args=[world.dag_id, world.run_id, "t000", "success"]),
        reverse("attempt-cancel", args=[world.pk]),
    ]
    for path in forms:
        assert "hx-post" in staff.get(path, headers=HTMX).content.decode()
        own_page = staff.get(path).content.decode()
        assert "hx-post" not in own_page
        # Else the live part would fetch the form a second time.
        assert f'hx-get="{path}" hx-trigger="nudge"' not in own_page
