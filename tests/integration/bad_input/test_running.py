"""Faults that show only when a task is to run: `attempts explain`, the attempt page and the log say what it was."""

from __future__ import annotations

import html
from typing import Any

from tests.integration.bad_input.conftest import Deployed
from tests.parts.eventually import eventually

Errors = dict[str, dict[str, Any]]


def _told(deployed: Deployed, attempt: dict[str, Any], *sentences: str) -> str:
    """The sentences stand in `attempts explain` and on the attempt's page."""
    told = deployed.standalone.run("attempts", "explain", str(attempt["id"]))
    page = html.unescape(deployed.standalone.get(f"/attempts/{attempt['id']}"))
    for sentence in sentences:
        assert sentence in told
        assert sentence in page
    assert "Traceback" not in told
    return told


def test_an_undefined_template_variable_is_named_with_its_field(deployed: Deployed, errors: Errors) -> None:
    attempt = deployed.attempt("undefined_variable")
    assert attempt["state"] == "failed"
    _told(
        deployed,
        attempt,
        "Field 'bash_command' of task 'one': A template uses a name that does not exist: 'no_such_thing' is undefined.",
        "Correct the name",
    )


def test_a_missing_template_file_is_named_with_where_it_was_looked_for(deployed: Deployed, errors: Errors) -> None:
    attempt = deployed.attempt("template_file_missing")
    assert attempt["state"] == "failed"
    _told(
        deployed,
        attempt,
        "Field 'bash_command' of task 'one': The template file 'not_there.sh' is not there; looked in",
        "Put it beside the DAG file or in template_searchpath",
    )


def test_a_module_that_only_the_task_misses_is_named_with_where_to_put_it(deployed: Deployed, errors: Errors) -> None:
    attempt = deployed.attempt("module_missing_in_task")
    assert attempt["state"] == "failed"
    _told(
        deployed,
        attempt,
        "The task failed (ModuleNotFoundError: No module named 'only_on_the_laptop').",
        "The module is not where the task ran: install it in the worker's image",
    )


def test_a_file_that_imports_only_in_the_parser_says_what_the_worker_misses(deployed: Deployed, errors: Errors) -> None:
    (deployed.marks / "flag").touch()
    attempt = deployed.attempt("module_missing_in_worker")
    assert attempt["state"] == "failed"
    _told(
        deployed,
        attempt,
        "module_missing_in_worker.py, line 11: there is no module 'only_where_files_are_parsed' here.",
        "Install it where DAG files are parsed and run",
    )


def test_a_pool_that_does_not_exist_is_why_the_task_waits(deployed: Deployed, errors: Errors) -> None:
    deployed.standalone.run("dags", "trigger", "no_such_pool")
    attempt = deployed.wait_for_attempt("no_such_pool", state="queued")
    sentence = "The pool swimming does not exist: create it, or name another in the DAG file."
    eventually(
        lambda: sentence in deployed.standalone.run("attempts", "explain", str(attempt["id"])),
        15,
        interval_seconds=0.3,
    )
    _told(deployed, attempt, sentence)


def test_a_conf_that_does_not_fit_a_param_starts_nothing(deployed: Deployed, errors: Errors) -> None:
    standalone = deployed.standalone
    for conf, problem in (
        ('{"count": 99}', "99 is greater than the maximum of 9"),
        ('{"count": "many"}', "'many' is not of type 'integer'"),
    ):
        told = standalone.run("dags", "trigger", "param_to_fit", "--conf", conf, ok=False)
        assert f"execplane: The param count does not fit: {problem}." in told
        assert "`execplane dags show DAG_ID` lists them." in told
    assert standalone.json("runs", "list", "param_to_fit") == []


def test_ids_and_labels_beyond_ascii_run_and_show(deployed: Deployed, errors: Errors) -> None:
    attempt = deployed.attempt("tägliche_Übung")
    assert attempt["state"] == "success"
    assert "schöne Grüße" in deployed.standalone.get(f"/attempts/{attempt['id']}/log.txt")
    assert "tägliche_Übung.schön_日本" in _told(deployed, attempt)
    page = deployed.standalone.get("/")
    assert "tägliche_Übung" in page
    assert "größe" in page


def test_ids_of_250_characters_run_and_show(deployed: Deployed, errors: Errors) -> None:
    attempt = deployed.attempt("d" * 250)
    assert attempt["state"] == "success"
    assert "a long name" in deployed.standalone.get(f"/attempts/{attempt['id']}/log.txt")
    assert f"{'d' * 250}.{'t' * 250}" in _told(deployed, attempt)


def test_a_run_goes_on_when_its_file_is_deleted_and_then_the_dag_is_removed(deployed: Deployed, errors: Errors) -> None:
    standalone = deployed.standalone
    standalone.run("dags", "trigger", "deleted_while_running", "--run-id", "alive")
    eventually((deployed.marks / "started").exists, 30, on_failure=standalone.tail)

    (deployed.dags / "deleted_while_running.py").unlink()
    standalone.run("dags", "refresh")
    eventually(
        lambda: "deleted_while_running" in standalone.run("dags", "list", "--status", "removed"),
        30,
        interval_seconds=0.5,
    )
    (deployed.marks / "go_on").touch()

    attempt = deployed.wait_for_attempt("deleted_while_running", state="success", task_id="second")
    assert "the file is gone and I ran" in standalone.get(f"/attempts/{attempt['id']}/log.txt")
    refused = standalone.run("dags", "trigger", "deleted_while_running", ok=False)
    assert "execplane: " in refused
    assert "deleted_while_running" in refused
    assert "Traceback" not in refused
