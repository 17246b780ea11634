"""The command's words, answers and exit codes, over a real database."""

from __future__ import annotations

import shutil
import threading
from datetime import timedelta

import pytest
import yaml

from execplane.compose import Deployment
from execplane.config import current
from execplane.contract.clock import SystemClock
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.logs import LogRecord
from execplane.store.models import (
    Attempt,
    AttemptEvent,
    Audit,
    Dag,
    DagRun,
    ImportErrorRow,
    TaskInstance,
    WaitingReason,
)
from tests.integration.cli_runner import execplane, save_attempt, save_dag, save_run
from tests.parts.eventually import eventually

pytestmark = pytest.mark.django_db


def test_dags_are_listed_as_a_table_as_json_and_as_yaml() -> None:
    save_dag()
    listed = execplane("dags", "list")
    assert listed.code == 0
    assert (
        " ".join(listed.out.split("\n")[0].split()) == "DAG ID SCHEDULE PAUSED LAST RUN STATE NEXT RUN AT OWNERS FILE"
    )
    assert listed.out.splitlines()[1].split() == ["orders", "no", "ann", "orders.py"]
    as_json = execplane("dags", "list", "-o", "json").json
    assert [(dag["dag_id"], dag["paused"], dag["tags"]) for dag in as_json] == [("orders", False, ["sales"])]
    assert yaml.safe_load(execplane("dags", "list", "--output", "yaml").out) == as_json


def test_an_empty_list_is_empty_json_and_a_hint_for_people() -> None:
    assert execplane("dags", "list", "-o", "json").json == []
    said = execplane("dags", "list")
    assert (said.code, said.out) == (0, "")
    assert "There are no DAGs." in said.err


def test_dags_are_found_by_tag_and_text() -> None:
    save_dag()
    assert len(execplane("dags", "list", "--tag", "sales", "-o", "json").json) == 1
    assert execplane("dags", "list", "--tag", "other", "-o", "json").json == []
    assert execplane("dags", "list", "--search", "nothing", "-o", "json").json == []
    assert execplane("dags", "list", "--status", "lost").code == 2


def test_a_dag_is_shown_with_its_tasks_params_and_runs() -> None:
    save_run(save_dag())
    shown = execplane("dags", "show", "orders", "-o", "json").json
    assert [(task["task_id"], task["upstream"]) for task in shown["tasks"]] == [("extract", []), ("load", ["extract"])]
    assert shown["params"] == {"table": "all"}
    assert [run["run_id"] for run in shown["recent_runs"]] == ["r1"]
    assert "extract" in execplane("dags", "show", "orders").out


def test_triggering_makes_a_run_in_the_name_of_the_shell_user() -> None:
    save_dag()
    said = execplane("dags", "trigger", "orders", "--conf", '{"table": "may"}', "--run-id", "mine", "-o", "json")
    assert said.code == 0
    assert said.json == {"dag_id": "orders", "run_id": "mine", "state": "queued", "paused": False}
    run = DagRun.objects.get(run_id="mine")
    assert run.conf == {"table": "may"}
    assert run.triggered_by.endswith("(cli)")


def test_a_run_id_that_is_taken_is_refused_with_code_3() -> None:
    save_run(save_dag())
    said = execplane("dags", "trigger", "orders", "--run-id", "r1")
    assert said.code == 3
    assert "r1" in said.err
    assert DagRun.objects.count() == 1


def test_a_misspelt_dag_gets_the_nearest_name() -> None:
    save_dag()
    said = execplane("dags", "trigger", "order")
    assert said.code == 3
    assert "Did you mean orders?" in said.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--conf", "{nope"], "not JSON"),
        (["--conf", "[1]"], "JSON object"),
        (["--conf", '{"table": 1}'], "table"),
        (["--conf", "@/nowhere/conf.json"], "/nowhere/conf.json"),
        (["--logical-date", "yesterday"], "yesterday"),
        (["--run-id", " "], "run id"),
    ],
)
def test_bad_words_are_named_with_code_2_and_make_no_run(words: list[str], named: str) -> None:
    save_dag()
    said = execplane("dags", "trigger", "orders", *words)
    assert said.code == 2
    assert named in said.err
    assert not DagRun.objects.exists()


def test_triggering_a_paused_dag_says_that_the_run_waits() -> None:
    save_dag(paused=True)
    said = execplane("dags", "trigger", "orders")
    assert said.code == 0
    assert "paused" in said.err
    assert "dags unpause orders" in said.err


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("state", "code"), [("success", 0), ("failed", 1)])
def test_waiting_follows_the_run_to_its_end(state: str, code: int) -> None:
    save_dag()

    def end() -> None:
        from django.db import connection

        eventually(lambda: DagRun.objects.filter(run_id="r").exists(), 20)
        DagRun.objects.filter(run_id="r").update(state=state, ended_at=SystemClock().now(), reason="because")
        connection.close()

    other = threading.Thread(target=end)
    other.start()
    said = execplane("dags", "trigger", "orders", "--run-id", "r", "--wait")
    other.join()
    assert (said.code, f"The run ended: {state}. (because)" in said.out) == (code, True)


def test_waiting_gives_up_after_its_timeout_and_the_run_goes_on() -> None:
    save_dag()
    said = execplane("dags", "trigger", "orders", "--run-id", "r", "--wait", "--timeout", "0.05", "-o", "json")
    assert (said.code, said.json["state"]) == (1, "queued")
    assert "it goes on" in said.err


def test_dags_are_paused_and_unpaused_and_it_is_audited() -> None:
    save_dag()
    assert execplane("dags", "pause", "orders").code == 0
    assert Dag.objects.get().paused
    assert execplane("dags", "unpause", "orders").code == 0
    assert not Dag.objects.get().paused
    assert list(Audit.objects.order_by("id").values_list("action", flat=True)) == ["pause", "unpause"]
    assert execplane("dags", "pause", "nope").code == 3


def test_refresh_says_when_nobody_is_there_to_hear_it() -> None:
    said = execplane("dags", "refresh")
    assert said.code == 0
    assert "is execplane running?" in said.err


def test_import_errors_end_with_code_1_so_that_ci_can_ask() -> None:
    assert execplane("dags", "import-errors").code == 0
    now = SystemClock().now()
    ImportErrorRow.objects.create(
        bundle_name="dags", file="bad.py", message="line 3: oops", traceback="Trace", first_seen_at=now, seen_at=now
    )
    said = execplane("dags", "import-errors", "--traceback")
    assert said.code == 1
    assert said.out == "bad.py: line 3: oops\nTrace\n\n"
    assert execplane("dags", "import-errors", "-o", "json").json[0]["message"] == "line 3: oops"


def test_runs_are_listed_and_shown_with_their_tasks() -> None:
    pk = save_run(save_dag())
    save_attempt(pk, "extract")
    listed = execplane("runs", "list", "orders", "-o", "json").json
    assert [(run["run_id"], run["state"]) for run in listed] == [("r1", "queued")]
    assert execplane("runs", "list", "--state", "failed", "-o", "json").json == []
    shown = execplane("runs", "show", "orders", "r1", "-o", "json").json
    assert {task["task_id"]: task["state"] for task in shown["tasks"]} == {"extract": "success", "load": "none"}
    assert "extract  success" in execplane("runs", "show", "orders", "r1").out
    assert execplane("runs", "show", "orders", "r2").code == 3
    assert execplane("runs", "list", "nope").code == 3
    assert execplane("runs", "list", "--state", "odd").code == 2


def test_a_dry_clear_shows_what_a_clear_then_does() -> None:
    pk = save_run(save_dag())
    save_attempt(pk, "extract")
    dry = execplane("tasks", "clear", "orders", "r1", "extract", "--downstream", "--dry-run")
    assert "Would clear 1 task instance." in dry.out
    assert TaskInstance.objects.get(task_id="extract").state == "success"
    done = execplane("tasks", "clear", "orders", "r1", "extract", "-o", "json")
    assert [key["task_id"] for key in done.json] == ["extract"]
    assert TaskInstance.objects.get(task_id="extract").state == "none"
    assert execplane("tasks", "clear", "orders", "r1", "nope").code == 3


def test_a_task_is_marked_by_hand() -> None:
    save_run(save_dag())
    assert execplane("tasks", "mark", "orders", "r1", "extract", "success").code == 0
    assert TaskInstance.objects.get(task_id="extract").state == "success"
    assert execplane("tasks", "mark", "orders", "r1", "extract", "running").code == 2
    assert execplane("tasks", "mark", "orders", "r1", "extract", "success", "--map-index", "3").code == 3


@pytest.fixture(autouse=True)
def _no_logs() -> None:
    """Tests share a home; each begins without logs."""
    shutil.rmtree(current().home / "logs", ignore_errors=True)


def keep_log(attempt_no: int, *offsets: int) -> None:
    key = AttemptKey(task=TaskKey(dag_id="orders", run_id="r1", task_id="extract", map_index=-1), attempt_no=attempt_no)
    at = SystemClock().now()
    records = [LogRecord(offset=n, at=at, message=f"attempt {attempt_no} line {n}") for n in offsets]
    Deployment(current()).logs.append(key, records)


def test_a_log_says_where_lines_are_missing_and_what_is_not_known() -> None:
    pk = save_run(save_dag())
    save_attempt(pk, state="failed", log_offset=5, ended_at=SystemClock().now())
    keep_log(1, 0, 1, 3)
    lines = execplane("tasks", "logs", "orders", "r1", "extract").out.splitlines()
    assert [line.partition("Z] ")[2] or line for line in lines] == [
        "INFO - attempt 1 line 0",
        "INFO - attempt 1 line 1",
        "--- 1 line after line 1 did not arrive.",
        "INFO - attempt 1 line 3",
        "--- 1 line after line 3 did not arrive.",
        "--- What came after this line is not known: the worker ended without a report.",
    ]


def test_a_reported_end_leaves_nothing_unknown_and_following_ends_with_it() -> None:
    pk = save_run(save_dag())
    attempt = save_attempt(pk, log_offset=2, ended_at=SystemClock().now())
    AttemptEvent.objects.create(
        attempt_id=attempt.pk,
        seq=1,
        at=SystemClock().now(),
        from_state="running",
        to_state="success",
        actor="worker ab",
    )
    keep_log(1, 0, 1)
    said = execplane("tasks", "logs", "orders", "r1", "extract", "--follow")
    assert [line.partition("- ")[2] for line in said.out.splitlines()] == ["attempt 1 line 0", "attempt 1 line 1"]


def test_the_log_of_an_earlier_try_is_asked_for_by_its_number() -> None:
    pk = save_run(save_dag())
    for number in (1, 2):
        save_attempt(pk, ended_at=SystemClock().now())
        keep_log(number, 0)
    assert "attempt 2 line 0" in execplane("tasks", "logs", "orders", "r1", "extract").out
    assert "attempt 1 line 0" in execplane("tasks", "logs", "orders", "r1", "extract", "--try", "1", "--json").out
    assert "attempt 1 line 0" in execplane("tasks", "logs", "orders", "r1", "extract", "--attempt", "1").out
    assert execplane("tasks", "logs", "orders", "r1", "extract", "--try", "9").code == 3


def test_the_log_of_a_task_that_has_not_started_says_so() -> None:
    save_run(save_dag())
    said = execplane("tasks", "logs", "orders", "r1", "load")
    assert said.code == 3
    assert "load has not been launched yet: it is none." in said.err


def test_attempts_are_listed_the_living_first() -> None:
    pk = save_run(save_dag())
    save_attempt(pk, "extract", state="failed", category="oom_killed")
    save_attempt(pk, "load", state="queued", not_claimed_reason="pool full")
    states = [row["state"] for row in execplane("attempts", "list", "-o", "json").json]
    assert states == ["queued", "failed"]
    killed = execplane("attempts", "list", "--category", "oom_killed", "-o", "json").json
    assert [row["state"] for row in killed] == ["failed"]
    assert [r["state"] for r in execplane("attempts", "list", "--state", "queued", "-o", "json").json] == ["queued"]
    by_task = execplane("attempts", "list", "orders", "r1", "extract", "-o", "json").json
    assert [row["task_id"] for row in by_task] == ["extract"]
    assert "pool full" in execplane("attempts", "list").out
    assert execplane("attempts", "list", "--state", "odd").code == 2


def test_an_attempt_that_waits_is_explained_with_its_reason() -> None:
    pk = save_run(save_dag())
    attempt = save_attempt(pk, state="launched", namespace="jobs", pod_name="orders-extract-1", executor="kubernetes")
    attempt.launched_at = SystemClock().now()
    attempt.save()
    WaitingReason.objects.create(
        attempt_id=attempt.pk, code="no_node", sentence="No node has 64 GiB left.", since=SystemClock().now()
    )
    said = execplane("attempts", "explain", str(attempt.pk))
    assert said.code == 0
    assert "No node has 64 GiB left." in said.out
    assert "kubectl describe pod -n jobs orders-extract-1" in said.out
    as_json = execplane("attempts", "explain", str(attempt.pk), "-o", "json").json
    assert as_json["waiting"] == {"code": "no_node", "sentence": "No node has 64 GiB left."}
    assert execplane("attempts", "explain", "999999").code == 3


def test_pods_are_those_of_executors_that_make_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    pk = save_run(save_dag())
    now = SystemClock().now()
    save_attempt(pk, "extract", state="running", executor="local", pod_name="local-1", launched_at=now)
    save_attempt(
        pk,
        "load",
        state="running",
        executor="kubernetes",
        namespace="jobs",
        pod_name="orders-load-1",
        node="n1",
        launched_at=now,
    )
    assert "No executor makes pods here." in execplane("pods", "list").err
    config = current().model_copy(update={"executor": "kubernetes"})
    monkeypatch.setattr("execplane.compose.current", lambda: config)
    assert [pod["pod_name"] for pod in execplane("pods", "list", "-o", "json").json] == ["orders-load-1"]
    assert execplane("pods", "list", "--node", "n2", "-o", "json").json == []
    assert execplane("pods", "list", "--ended", "-o", "json").json == []


def test_help_has_an_example_for_every_command() -> None:
    for group, commands in {
        "dags": ["list", "show", "trigger", "test", "pause", "unpause", "refresh", "import-errors"],
        "runs": ["list", "show"],
        "tasks": ["clear", "mark", "logs", "why"],
        "attempts": ["list", "explain", "why", "latency", "release"],
        "pods": ["list", "reconcile", "decide", "release"],
        "config": ["list", "explain", "new-fernet-key"],
    }.items():
        for command in commands:
            said = execplane(group, command, "--help")
            assert said.code == 0
            assert "Example:" in said.out, f"{group} {command}"


def test_a_word_that_no_command_knows_ends_with_code_2() -> None:
    assert execplane("dags", "lits").code == 2
    assert execplane("runs", "show", "orders").code == 2
    assert execplane("dags", "list", "-o", "xml").code == 2


def test_a_new_fernet_key_encrypts() -> None:
    from cryptography.fernet import Fernet

    key = execplane("config", "new-fernet-key").out.strip()
    assert Fernet(key).decrypt(Fernet(key).encrypt(b"x"), ttl=int(timedelta(minutes=1).total_seconds())) == b"x"


def test_latency_is_told_of_all_and_of_each_group() -> None:
    pk = save_run(save_dag())
    now = SystemClock().now()
    assert "No attempt has ended yet." in execplane("attempts", "latency").err
    attempt = save_attempt(pk, state="success", namespace="jobs", pod_name="p", executor="kubernetes", node="n1")
    attempt.queued_at, attempt.running_at, attempt.ended_at = now, now + timedelta(seconds=4), now + timedelta(hours=1)
    attempt.save()

    rows = execplane("attempts", "latency", "--by", "node", "--phase", "start", "-o", "json").json

    assert [(row["node"], row["n"], row["p99_seconds"]) for row in rows] == [("(all)", 1, 4.0), ("n1", 1, 4.0)]
    assert execplane("attempts", "latency", "--value", "n2", "-o", "json").json == []
    assert execplane("attempts", "latency", "--by", "moon").code == 2
    assert execplane("attempts", "latency", "--phase", "moon").code == 2


def test_a_held_container_is_released_once() -> None:
    attempt = save_attempt(save_run(save_dag()), state="failed", namespace="jobs", pod_name="p")
    Attempt.objects.filter(pk=attempt.pk).update(held_until=SystemClock().now() + timedelta(hours=1))
    assert "held for debugging" in execplane("attempts", "explain", str(attempt.pk)).out

    assert execplane("attempts", "release", str(attempt.pk)).code == 0

    again = execplane("attempts", "release", str(attempt.pk))
    assert again.code != 0
    assert "is not held" in again.err
