"""Every page as a logged-in person gets it, what stands on it, and what it costs."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.sdk import xcom
from execplane.store.models import Attempt, DagRun, TaskInstance, User, XCom
from execplane.web import wiring
from tests.conftest import TestClock
from tests.integration import web_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def parts(clock: TestClock) -> wiring.Parts:
    return wiring.Parts(clock=clock, executors=("kubernetes",), dags_folders=("/srv/dags",))


def text(client: Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, (path, answer.status_code)
    return answer.content.decode()


def addresses(attempt: Attempt) -> list[str]:
    dag, run = attempt.dag_id, attempt.run_id
    return [
        reverse("dags"),
        *(reverse(name, args=[dag]) for name in ("dag", "dag-graph", "dag-runs", "dag-code", "dag-details")),
        *(reverse(name, args=[dag, run]) for name in ("run", "run-graph", "run-details")),
        reverse("task", args=[dag, run, "check.sums"]),
        reverse("task", args=[dag, run, "mapped"]),
        reverse("mapped-task", args=[dag, run, "mapped", 1]),
        reverse("task-attempts", args=[dag, run, attempt.task_id]),
        reverse("mapped-task-attempts", args=[dag, run, "mapped", 1]),
        *(reverse(f"attempt{tab}", args=[attempt.pk]) for tab in ("", "-timeline", "-pod", "-rendered", "-xcoms")),
        *(
            reverse(name)
            for name in (
                "runs",
                "pods",
                "drift",
                "pools",
                "import-errors",
                "loops",
                "audit",
                "variables",
                "connections",
            )
        ),
        reverse("pods") + "?view=ended&state=failed",
        reverse("dags") + "?q=sal&status=failed&tag=nightly",
        reverse("dag", args=[dag]) + "?runs=50&type=scheduled&state=failed&before=999999",
    ]


def test_every_page_answers_whole_and_as_a_fragment(staff: Client, world: Attempt) -> None:
    for path in addresses(world):
        whole = text(staff, path)
        part = text(staff, path, **{"HX-Request": "true"})
        assert whole.startswith("<!doctype html>"), path
        assert "<html" not in part, path
        heading = re.search(r"<h1.*?</h1>", whole, re.DOTALL)
        assert heading, path
        assert heading[0] in part, path


def test_a_fragment_that_did_not_change_is_not_sent_again(staff: Client, world: Attempt, clock: TestClock) -> None:
    path = reverse("run", args=[world.dag_id, world.run_id])
    first = staff.get(path, headers={"HX-Request": "true"})
    clock.advance(90)  # relative times move on; that is no change

    same = staff.get(path, headers={"HX-Request": "true", "X-Have": first["X-Digest"]})
    TaskInstance.objects.filter(dagrun_id=DagRun.objects.get(run_id=world.run_id).pk).update(state="success")
    changed = staff.get(path, headers={"HX-Request": "true", "X-Have": first["X-Digest"]})

    assert same.status_code == 204
    assert changed.status_code == 200


def test_pages_ask_for_a_login_and_come_back_to_where_one_wanted_to_go(client: Client, world: Attempt) -> None:
    path = reverse("run", args=[world.dag_id, world.run_id])

    answer = client.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login?next=/dags/sales/runs/")


def test_a_wrong_password_is_refused_in_words(client: Client, db: None) -> None:
    answer = client.post(reverse("login"), {"username": "ada", "password": "nope"})

    assert "do not match" in answer.content.decode()


def test_a_reader_sees_no_verbs_and_may_carry_out_none(reader: Client, world: Attempt) -> None:
    run = reverse("run", args=[world.dag_id, world.run_id])

    page = text(reader, run)
    answers = [
        reader.get(reverse("dag-trigger", args=["sales"])),
        reader.post(reverse("dag-pause", args=["sales"]), {"paused": "1"}),
        reader.post(reverse("run-stop", args=[world.dag_id, world.run_id])),
        reader.post(reverse("attempt-cancel", args=[world.pk])),
    ]

    assert "Clear</a>" not in page
    assert [answer.status_code for answer in answers] == [403] * 4
    assert "Ask an administrator" in answers[0].content.decode()


def test_pages_allow_only_our_own_files_and_no_inline_code(staff: Client, world: Attempt) -> None:
    for path in addresses(world):
        answer = staff.get(path)
        policy = answer["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        body = answer.content.decode()
        assert " style=" not in body, path
        assert " onclick=" not in body, path
        assert "<script>" not in body, path


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/dags/nope", 404, "The DAG nope does not exist."),
        ("/dags/sales/runs/nope", 404, "The run nope of DAG sales does not exist."),
        ("/attempts/99999", 404, "The attempt 99999 does not exist."),
        ("/nowhere", 404, "There is no page at this address."),
    ],
)
def test_what_does_not_exist_is_a_page_that_says_so(
    staff: Client, world: Attempt, path: str, status: int, words: str
) -> None:
    answer = staff.get(path)

    assert answer.status_code == status
    assert words in answer.content.decode()


def test_a_form_without_its_token_is_refused_with_a_page(world: Attempt) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("eve", is_staff=True))

    answer = client.post(reverse("dag-pause", args=["sales"]), {"paused": "1"})

    assert answer.status_code == 403
    assert "This form is too old" in answer.content.decode()


def test_an_empty_deployment_says_what_to_do(staff: Client, db: None) -> None:
    assert "/srv/dags" in text(staff, reverse("dags"))
    assert "Every file imports" in text(staff, reverse("import-errors"))
    assert "execplane standalone" in text(staff, reverse("loops"))
    assert "No runs yet" in text(staff, reverse("runs"))
    assert "Nothing is running" in text(staff, reverse("pods"))


def test_the_attempt_shows_its_reason_its_pod_and_the_yaml_that_was_sent(staff: Client, world: Attempt) -> None:
    page = text(staff, reverse("attempt-pod", args=[world.pk]))
    yaml = staff.get(reverse("attempt-pod-yaml", args=[world.pk])).content.decode()

    assert "ran out of memory" in page
    assert "Raise its memory limit." in page
    assert f"kubectl -n jobs describe pod {world.pod_name}" in page
    assert yaml.startswith("apiVersion: v1\nkind: Pod\n")
    assert "'yes'" in yaml


def test_an_xcom_is_downloaded_whole_and_never_shown_as_a_page_of_ours(
    staff: Client, world: Attempt, clock: TestClock, tmp_path: Path
) -> None:
    store = FileBlobStore(FileBlobOptions(folder=tmp_path))
    large = b'"' + b"x" * 3_000_000 + b'"'
    wiring.wire(wiring.Parts(clock=clock, blobs=store))
    XCom.objects.create(ti=world.ti, key="a/large <one>", attempt_no=1, blob_sha256=store.put(large), at=clock.now())

    page = text(staff, reverse("attempt-xcoms", args=[world.pk]))
    links = re.findall(r'href="([^"]+/xcoms/value[^"]+)"', page)
    answers: list[Any] = [staff.get(link) for link in links]

    assert "2.9 MiB" in page
    assert [answer.getvalue() for answer in answers] == [large, b'{"rows": 3}']
    for answer in answers:
        assert answer["Content-Disposition"].startswith('attachment; filename="sales.t000.')
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["X-Content-Type-Options"] == "nosniff"
    assert Client().get(links[0]).status_code == 302


def test_an_xcom_is_told_as_people_read_it_and_kept_in_reach_as_it_is_stored(
    staff: Client, world: Attempt, clock: TestClock
) -> None:
    at = xcom.encode({"at": clock.now(), "data": b"\x00\x01"})
    XCom.objects.create(ti=world.ti, key="when", attempt_no=1, value=at, size_bytes=len(at), at=clock.now())

    page = html.unescape(text(staff, reverse("attempt-xcoms", args=[world.pk])))

    told, _, stored = page.partition('id="xcom-2"')[2].partition("As it is stored")
    assert f'"at": {clock.now().isoformat(" ")}' in told
    assert '"data": 2 bytes: 00 01' in told
    assert "__type__" not in told
    assert '"__type__": "datetime"' in stored
    assert page.count("As it is stored") == 1, "what has no tags is stored as it reads"


def test_an_xcom_that_is_gone_is_said_to_be(staff: Client, world: Attempt, clock: TestClock, tmp_path: Path) -> None:
    wiring.wire(wiring.Parts(clock=clock, blobs=FileBlobStore(FileBlobOptions(folder=tmp_path))))
    XCom.objects.create(ti=world.ti, key="large", attempt_no=1, blob_sha256="0" * 64, at=clock.now())
    value = reverse("attempt-xcom-value", args=[world.pk])

    assert "no longer in the blob store" in text(staff, reverse("attempt-xcoms", args=[world.pk]))
    assert staff.get(value + "?key=large").status_code == 404
    assert staff.get(value + "?key=nope").status_code == 404


def test_documentation_is_rendered_where_its_dag_and_task_are_shown(staff: Client, clock: TestClock) -> None:
    one = web_rows.spec("told")
    documented = TaskSpec(task_id="t000", operator="BashOperator", doc_md="Reads **orders**.")
    one = msgspec.structs.replace(one, doc_md="# Sales\n\nAsk *ada*.<script>x()</script>", tasks=(documented,))
    runs = web_rows.make_runs(web_rows.make_dag(one, clock.now()), 1, clock.now())
    web_rows.make_cells(runs, one)
    attempt = web_rows.make_attempt(TaskInstance.objects.get(), clock.now())

    dag, task = text(staff, "/dags/told"), text(staff, reverse("attempt", args=[attempt.pk]))

    assert "<h3>Sales</h3>" in dag
    assert "<em>ada</em>" in dag
    assert "x()" not in dag
    assert "Reads <strong>orders</strong>." in task


def test_a_task_that_never_started_says_why(staff: Client, world: Attempt) -> None:
    page = text(staff, reverse("task", args=[world.dag_id, world.run_id, "check.sums"]))

    assert "A task before it failed" in page


def test_a_failed_run_leads_straight_to_the_tasks_that_failed(staff: Client, world: Attempt) -> None:
    graph = text(staff, reverse("run-graph", args=[world.dag_id, world.run_id]))

    for page in (text(staff, reverse("run", args=[world.dag_id, world.run_id])), graph):
        found = page.partition("Failed:")[2].partition("</p>")[0]
        assert re.findall(r'href="([^"]+)"', found) == [
            reverse("task", args=[world.dag_id, world.run_id, "t000"]),
            reverse("task", args=[world.dag_id, world.run_id, "mapped"]) + "?state=failed",
        ]
        assert len(re.findall("failed: ?", page, re.IGNORECASE)) == 1, "what failed is said once"
    assert "failed · BashOperator" in graph


def test_a_run_that_failed_for_another_reason_says_it_and_what_failed(staff: Client, world: Attempt) -> None:
    DagRun.objects.filter(run_id=world.run_id).update(reason="marked failed by ada")

    page = text(staff, reverse("run", args=[world.dag_id, world.run_id]))

    assert "<p>marked failed by ada</p><p>Failed: " in page


def test_a_task_that_waits_for_its_retry_says_when_it_is_due(staff: Client, world: Attempt, clock: TestClock) -> None:
    due = clock.now() + timedelta(minutes=5)
    TaskInstance.objects.filter(pk=world.ti_id).update(state="up_for_retry", eligible_at=due)

    page = text(staff, reverse("attempt", args=[world.pk]))

    assert "The next try is due" in page
    assert "in 5 min" in page


def test_a_task_s_address_leads_to_its_newest_attempt(staff: Client, world: Attempt, clock: TestClock) -> None:
    second = web_rows.make_attempt(world.ti, clock.now(), state="success", number=2)

    answer = staff.get(reverse("task", args=[world.dag_id, world.run_id, world.task_id]))

    assert answer["Location"] == reverse("attempt", args=[second.pk])


def test_unsafe_names_are_escaped_everywhere(staff: Client, clock: TestClock) -> None:
    evil = '"><img src=x>'
    one = DagSpec(dag_id="evil", file="evil.py", tasks=(TaskSpec(task_id=evil, operator=evil, label=evil),))
    version = web_rows.make_dag(one, clock.now(), tags=(evil,))
    runs = web_rows.make_runs(version, 1, clock.now())
    web_rows.make_cells(runs, one)

    for path in ("/dags", "/dags/evil", "/dags/evil/graph", "/dags/evil/details", f"/dags/evil/runs/{runs[0].run_id}"):
        assert "<img" not in text(staff, path), path


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/dags", 9),
        ("/dags/sales", 9),
        ("/dags/sales/graph", 8),
        ("/dags/sales/runs", 7),
        ("/runs", 4),
        ("/pods", 6),
        ("/pods?view=ended", 6),
        ("/drift", 6),
        ("/holds", 5),
        ("/loops", 7),
        ("/import-errors", 4),
        ("/audit", 4),
        ("/variables", 4),
        ("/connections", 4),
    ],
)
def test_a_list_costs_a_fixed_number_of_queries(
    staff: Client,
    world: Attempt,
    clock: TestClock,
    path: str,
    most: int,
    django_assert_max_num_queries: Callable[[int], CaptureQueriesContext],
) -> None:
    for number in range(10):
        one = web_rows.spec(f"more{number}")
        found = web_rows.make_runs(web_rows.make_dag(one, clock.now()), 3, clock.now())
        web_rows.make_cells(found, one)
    for number in range(2, 12):
        web_rows.make_attempt(world.ti, clock.now(), number=number)

    staff.get(path)  # A version is decoded once per process: not what is counted here.
    with django_assert_max_num_queries(most):
        text(staff, path)


def test_lists_continue_where_the_page_ended(staff: Client, clock: TestClock) -> None:
    version = web_rows.make_dag(web_rows.spec("sales"), clock.now())
    web_rows.make_runs(version, 60, clock.now())

    first: Any = staff.get("/dags/sales/runs")
    oldest = first.content.decode().rsplit("?before=", 1)[1].split('"')[0]
    second = text(staff, f"/dags/sales/runs?before={oldest}")

    assert second.count('id="run-') == 10
    assert "Newest" in second


def test_the_types_to_filter_by_are_those_that_a_run_can_have(reader: Client, world: Attempt) -> None:
    for path in ("/dags/sales", "/dags/sales/runs", "/runs"):
        assert re.findall(r"<option(?: selected)?>(\w+)</option>", text(reader, path)) == ["scheduled", "manual"], path
