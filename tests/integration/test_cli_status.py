"""`execplane status`: what is wrong is named, part by part, and the exit code tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from execplane.config import current
from execplane.config_kubernetes import Cluster
from execplane.contract.clock import SystemClock
from execplane.contract.errors import Unavailable
from execplane.logs.files import FileLogStore
from execplane.store.models import ImportErrorRow, Lease, LoopStatus
from tests.integration.cli_runner import execplane, save_attempt, save_dag, save_run
from tests.parts.ports import free_ports

pytestmark = pytest.mark.django_db


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def say_where(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    config = current().model_copy(update={"web": current().web.model_copy(update={"url": url})})
    monkeypatch.setattr("execplane.compose.current", lambda: config)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server that answers /healthz, where the configuration says it is."""
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    say_where(monkeypatch, url)
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def say_alive(*names: str, state: str = "running", silent_seconds: float = 0.0) -> None:
    now = SystemClock().now()
    for name in names:
        LoopStatus.objects.update_or_create(
            process="host:1",
            name=name,
            defaults={
                "version": "0.1.0",
                "state": state,
                "started_at": now,
                "last_tick_at": now,
                "last_error": "ValueError: odd" if state == "failing" else "",
                "seen_at": now - timedelta(seconds=silent_seconds),
            },
        )


def test_all_is_well_when_every_part_answers_and_every_loop_is_heard_of(web: str) -> None:
    say_alive("scheduler", "parsing", "driver:local")
    now = SystemClock().now()
    Lease.objects.create(name="driver:local", holder="host:1", token=3, expires_at=now + timedelta(seconds=30))
    said = execplane("status")
    assert (said.code, said.err) == (0, "")
    assert "All is well." in said.out
    as_json = execplane("status", "-o", "json").json
    assert as_json["healthy"]
    assert [(part["name"], part["ok"]) for part in as_json["parts"]] == [
        ("database", True),
        ("web server", True),
        ("log store", True),
    ]
    assert [(lease["name"], lease["held"]) for lease in as_json["leases"]] == [("driver:local", True)]


def test_queue_age_and_last_create_and_success_are_told(web: str) -> None:
    pk = save_run(save_dag())
    now = SystemClock().now()
    save_attempt(pk, "extract", launched_at=now - timedelta(seconds=9), ended_at=now - timedelta(seconds=5))
    save_attempt(pk, "load", state="queued")
    as_json = execplane("status", "-o", "json").json
    (queue,) = as_json["queues"]
    assert (queue["executor"], queue["states"]) == ("local", {"queued": 1})
    assert 29 < queue["oldest_queued_seconds"] < 60
    assert as_json["last_create_at"] is not None
    assert as_json["last_success_at"] > as_json["last_create_at"]
    assert as_json["active_runs"] == {"queued": 1}


def test_attempts_whose_executor_is_gone_from_the_settings_are_named_with_what_to_do(web: str) -> None:
    say_alive("scheduler", "parsing", "driver:local")
    pk = save_run(save_dag())
    save_attempt(pk, "extract", state="running", executor="kubernetes")
    save_attempt(pk, "load", state="stopping", executor="kubernetes")
    (problem,) = execplane("status", "-o", "json").json["problems"]
    assert "2 attempts (1 running, 1 stopping) of the executor kubernetes" in problem
    assert "EXECPLANE_EXECUTORS" in problem
    assert "execplane tasks mark" in problem


def test_a_web_server_that_is_down_is_named_and_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    say_where(monkeypatch, f"http://127.0.0.1:{free_ports(1)[0]}")
    say_alive("scheduler", "parsing", "driver:local")
    said = execplane("status", "-o", "json")
    assert said.code == 1
    assert said.json["problems"] == ["The web server has a problem: It does not answer: Connection refused."]


def test_a_loop_that_is_missing_silent_or_failing_is_a_problem(web: str) -> None:
    say_alive("scheduler", state="failing")
    say_alive("parsing", silent_seconds=120)
    said = execplane("status", "-o", "json")
    assert said.code == 1
    assert said.json["problems"] == [
        "No process runs the loop parsing.",
        "No process runs the loop driver:local.",
        "The loop scheduler of host:1 fails: ValueError: odd",
    ]
    assert {loop["name"]: loop["state"] for loop in said.json["loops"]} == {"parsing": "silent", "scheduler": "failing"}


def test_a_log_store_that_does_not_answer_is_named(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, key: object) -> bool:
        raise Unavailable("The bucket does not answer.")

    say_alive("scheduler", "parsing", "driver:local")
    monkeypatch.setattr(FileLogStore, "has", refuse)
    said = execplane("status", "-o", "json")
    assert said.code == 1
    assert said.json["problems"] == ["The log store has a problem: The bucket does not answer."]


def test_a_part_that_hangs_costs_its_timeout_and_no_more(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(self: object, key: object) -> bool:
        return over.wait(60)

    monkeypatch.setattr(FileLogStore, "has", hang)
    said = execplane("status", "-o", "json", "--timeout", "0.5")
    over.set()
    assert said.code == 1
    assert "The log store has a problem: No answer within 0.5 s." in said.json["problems"]


def test_an_api_server_that_cannot_be_reached_is_named(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = current().model_copy(update={"web": current().web.model_copy(update={"url": web})})
    kubernetes = config.kubernetes.model_copy(update={"kubeconfig": "/nowhere/kubeconfig"})
    changed = config.model_copy(update={"executor": "kubernetes", "kubernetes": kubernetes})
    monkeypatch.setattr("execplane.compose.current", lambda: changed)
    said = execplane("status", "-o", "json")
    assert said.code == 1
    assert any("API server" in problem and "/nowhere/kubeconfig" in problem for problem in said.json["problems"])


def test_each_clusters_api_server_and_each_rules_template_is_looked_at(
    web: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rule = {"tag": "gpu", "pod_template_file": str(tmp_path / "none.yaml")}
    clusters = {
        "far": Cluster.model_validate({"kubeconfig": "/nowhere/far", "rules": [rule]}),
        "farther": Cluster.model_validate({"kubeconfig": "/nowhere/farther"}),
    }
    changed = current().model_copy(update={"clusters": clusters, "web": current().web.model_copy(update={"url": web})})
    monkeypatch.setattr("execplane.compose.current", lambda: changed)
    parts = {part["name"]: part["said"] for part in execplane("status", "-o", "json").json["parts"]}
    assert "/nowhere/far" in parts["API server of far"]
    assert "/nowhere/farther" in parts["API server of farther"]
    assert "none.yaml cannot be read" in parts["pod template of far"]
    assert "pod template of farther" not in parts


def test_secrets_never_print(monkeypatch: pytest.MonkeyPatch) -> None:
    config = current().model_copy(
        update={
            "secret_key": SecretStr("hush-hush"),
            "fernet_keys": [SecretStr("hush-too")],
            "database_url": SecretStr("postgresql://u:hush@db/x"),
        }
    )
    monkeypatch.setattr("execplane.config.current", lambda: config)
    for words in (["list"], ["list", "-o", "json"], ["explain", "fernet_keys"], ["explain", "database_url"]):
        said = execplane("config", *words)
        assert said.code == 0
        assert "hush" not in said.out + said.err
        assert "••••" in said.out


def save_errors(count: int) -> None:
    now = SystemClock().now()
    ImportErrorRow.objects.bulk_create(
        ImportErrorRow(bundle_name="dags", file=f"broken{n}.py", message="oops", first_seen_at=now, seen_at=now)
        for n in range(count)
    )


@pytest.mark.parametrize(("count", "files"), [(1, "1 DAG file does not"), (120, "120 DAG files do not")])
def test_status_counts_what_import_errors_lists(web: str, count: int, files: str) -> None:
    say_alive("scheduler", "parsing", "driver:local")
    save_errors(count)

    said = execplane("status")

    # They are their authors' to mend: the deployment is healthy.
    assert said.code == 0
    assert said.out.endswith(f"All is well, but {files} import: `execplane dags import-errors` lists them.\n")
    assert execplane("status", "-o", "json").json["import_errors"] == count
    assert len(execplane("dags", "import-errors", "-o", "json").json) == count


def test_beside_problems_the_files_are_named_as_well(web: str) -> None:
    save_errors(2)

    said = execplane("status")

    assert said.code == 1
    assert "All is well" not in said.out
    assert "2 DAG files do not import: `execplane dags import-errors` lists them." in said.out
