"""The public REST API v1 as its users meet it: over HTTP, through the whole stack of middleware."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from execplane.contract.clock import SystemClock
from execplane.store.models import Audit, Dag, DagRun, LoopStatus
from tests.integration.cli_runner import save_attempt, save_dag, save_run
from tests.integration.public_api.conftest import API, basic, get, patch, post

pytestmark = pytest.mark.django_db


def test_without_a_login_there_is_401_and_how_to_log_in() -> None:
    for answer in (Client().get(f"{API}/dags"), Client().get(f"{API}/dags", headers=basic("ann", "wrong"))):
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Basic")
        assert set(answer.json()) == {"message", "hint"}


def test_a_browser_with_a_session_may_read_and_needs_a_csrf_token_to_change() -> None:
    save_dag()
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username="ann", password="a-pass")
    assert browser.get(f"{API}/dags").status_code == 200
    refused = browser.post(f"{API}/dags/refresh", "{}", content_type="application/json")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["message"]
    assert not Audit.objects.exists()


def test_who_is_not_staff_reads_and_changes_nothing() -> None:
    save_dag()
    bob = basic("bob", "b-pass")
    assert Client().get(f"{API}/dags", headers=bob).status_code == 200
    for refused in (
        post("/dags/refresh", headers=bob),
        post("/dags/orders/dagRuns", headers=bob),
        patch("/dags/orders", {"is_paused": True}, headers=bob),
    ):
        assert refused.status_code == 403
        assert "bob may not" in refused.json()["message"]
    assert not Dag.objects.get().paused
    assert not DagRun.objects.exists()


def test_a_webhook_asks_for_a_look_at_the_folders() -> None:
    answer = post("/dags/refresh")
    assert answer.status_code == 202
    assert Audit.objects.get().action == "refresh"
    assert Client().post(f"{API}/dags/refresh", headers=basic()).status_code == 202, "without a body, too"
    assert post("/dags/refresh", {"ref": "refs/heads/main"}).status_code == 202, "whatever the sender tells of itself"


def test_dags_come_in_pages() -> None:
    version = save_dag()
    for number in range(4):
        Dag.objects.create(
            dag_id=f"other{number}",
            bundle_name="b",
            file="f.py",
            created_at=SystemClock().now(),
            latest_version=version,
        )
    first = get("/dags", limit=3).json()
    rest = get("/dags", limit=3, after=first["next"]).json()
    assert [dag["dag_id"] for dag in first["dags"] + rest["dags"]] == ["orders", *(f"other{n}" for n in range(4))]
    assert (first["total_entries"], rest["next"]) == (5, None)
    assert [dag["dag_id"] for dag in get("/dags", tag="sales").json()["dags"]] == ["orders"]
    assert [dag["dag_id"] for dag in get("/dags", paused="false").json()["dags"]] == ["orders"]


def test_a_dag_is_paused_and_unpaused() -> None:
    save_dag()
    assert patch("/dags/orders", {"is_paused": True}).json()["is_paused"] is True
    assert Dag.objects.get().paused
    assert patch("/dags/orders", {"is_paused": False}).json()["is_paused"] is False
    assert patch("/dags/nope", {"is_paused": True}).status_code == 404
    for wrong in ({}, {"is_paused": "perhaps"}, {"is_paused": True, "schedule": "@daily"}):
        assert patch("/dags/orders", wrong).status_code == 400


def test_a_run_is_triggered_in_airflows_shape() -> None:
    save_dag()
    answer = post(
        "/dags/orders/dagRuns",
        {"dag_run_id": "mine", "conf": {"table": "may"}, "logical_date": "2026-01-02T03:04:05+01:00"},
    )
    assert answer.status_code == 200
    run = answer.json()
    assert (run["dag_id"], run["dag_run_id"], run["state"], run["conf"]) == (
        "orders",
        "mine",
        "queued",
        {"table": "may"},
    )
    assert run["logical_date"] == "2026-01-02T02:04:05Z"
    assert DagRun.objects.get().triggered_by == "ann"
    assert get("/dags/orders/dagRuns/mine").json() == run


def test_a_run_may_be_triggered_with_nothing_but_its_dag() -> None:
    save_dag()
    assert post("/dags/orders/dagRuns").json()["dag_run_id"].startswith("manual__")


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"conf": {"table": 5}}, 400, "table"),
        ({"conf": [1]}, 400, "conf"),
        ({"conf": {"note": "a\x00b"}}, 400, "NUL"),
        ({"conf": {"note": "\\\x00"}}, 400, "NUL"),
        ({"logical_date": "soon"}, 400, "logical_date"),
        ({"dag_run_id": "r1"}, 409, "r1"),
        ({"note": "x"}, 400, "note"),
        ("{nope", 400, "JSON"),
        ("[]", 400, "JSON object"),
        ("[" * 100_000, 400, "nested"),
        (" " * (3 << 20), 400, "bytes"),
    ],
)
def test_a_bad_body_is_named_and_makes_no_run(body: Any, status: int, named: str) -> None:
    save_run(save_dag())
    answer = post("/dags/orders/dagRuns", body)
    assert answer.status_code == status
    assert named in answer.json()["message"]
    assert DagRun.objects.count() == 1


def test_a_backslash_before_u0000_is_text_and_no_nul() -> None:
    save_dag()
    assert post("/dags/orders/dagRuns", {"conf": {"note": "\\u0000"}}).status_code == 200


def test_a_dag_that_does_not_exist_is_404_with_the_nearest_name() -> None:
    save_dag()
    answer = post("/dags/order/dagRuns")
    assert answer.status_code == 404
    assert answer.json()["hint"] == "Did you mean orders?"
    for path in ("/dags/nope", "/dags/nope/dagRuns", "/dags/orders/dagRuns/nope", "/nope", "/dags/orders/nope"):
        answer = get(path)
        assert (answer.status_code, set(answer.json())) == (404, {"message", "hint"}), path


def test_runs_come_in_pages_newest_first_and_by_state() -> None:
    version = save_dag()
    for number in range(1, 4):
        save_run(version, f"r{number}")
    DagRun.objects.filter(run_id="r2").update(state="failed")
    first = get("/dags/orders/dagRuns", limit=2).json()
    rest = get("/dags/orders/dagRuns", limit=2, after=first["next"]).json()
    assert [run["dag_run_id"] for run in first["dag_runs"] + rest["dag_runs"]] == ["r3", "r2", "r1"]
    assert rest["next"] is None
    assert [r["dag_run_id"] for r in get("/dags/orders/dagRuns", state="failed").json()["dag_runs"]] == ["r2"]
    assert len(get("/dags/~/dagRuns").json()["dag_runs"]) == 3
    for wrong in ({"state": "odd"}, {"after": "x"}, {"limit": "0"}, {"offset": "3"}):
        assert get("/dags/orders/dagRuns", **wrong).status_code == 400


def test_task_instances_come_in_pages_with_null_for_no_state() -> None:
    pk = save_run(save_dag())
    save_attempt(pk, "extract")
    first = get("/dags/orders/dagRuns/r1/taskInstances", limit=1).json()
    rest = get("/dags/orders/dagRuns/r1/taskInstances", limit=1, after=first["next"]).json()
    found = first["task_instances"] + rest["task_instances"]
    assert [(task["task_id"], task["state"]) for task in found] == [("extract", "success"), ("load", None)]
    assert rest["next"] is None
    assert get("/dags/orders/dagRuns/r1/taskInstances", after="x").status_code == 400


def test_a_run_id_with_a_slash_is_reachable() -> None:
    save_run(save_dag(), "a/b c")
    assert get("/dags/orders/dagRuns/a/b c").json()["dag_run_id"] == "a/b c"
    assert get("/dags/orders/dagRuns/a/b c/taskInstances").status_code == 200


def test_health_needs_no_login_and_knows_the_scheduler() -> None:
    answer = Client().get(f"{API}/health")
    assert answer.status_code == 200
    assert answer.json()["scheduler"]["status"] == "unhealthy"
    now = SystemClock().now()
    LoopStatus.objects.create(process="p", name="scheduler", version="1", state="running", started_at=now, seen_at=now)
    health = Client().get(f"{API}/health").json()
    assert health["metadatabase"] == {"status": "healthy"}
    assert health["scheduler"]["status"] == "healthy"


def test_probes_answer_without_login_under_any_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/healthz", "/readyz"):
        answer = Client().get(path, headers={"Host": "10.0.0.7"})
        assert (answer.status_code, answer.content) == (200, b"ok\n")
    monkeypatch.setattr("execplane.api.public.probes.reachable", lambda: "The database does not answer.")
    assert Client().get("/readyz").status_code == 503
    assert Client().get("/healthz").status_code == 200, "a database outage restarts no web server"


def test_a_failure_of_ours_is_json_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("execplane.api.public.views.dags.get_dag", fail)
    answer = get("/dags/orders")
    assert answer.status_code == 500
    assert "secret detail" not in answer.content.decode()
    assert "secret detail" in caplog.text


def test_a_database_that_fails_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    closed: list[bool] = []

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr("execplane.api.public.views.dags.get_dag", fail)
    monkeypatch.setattr("execplane.api.public.errors.connection.close", lambda: closed.append(True), raising=False)
    answer = get("/dags/orders")
    assert (answer.status_code, closed) == (503, [True])
    assert answer.json()["hint"]
