"""Every verb that prints a result prints it as JSON and as YAML, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml
from cryptography.fernet import Fernet

from execplane import __version__
from execplane.cli import commands
from execplane.cli.main import app
from execplane.compose import Deployment
from execplane.config import current
from execplane.contract.clock import SystemClock
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.logs import LogRecord
from execplane.store.models import AttemptEvent
from tests.integration.cli_runner import execplane, save_attempt, save_dag, save_run

_WITHOUT = {"standalone", "web", "run", "migrate"}
"""They serve until they are stopped, or prepare for it."""


def _verbs(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _verbs(inner, *path, name)
    else:
        yield " ".join(path), command


def test_every_verb_takes_the_output_option() -> None:
    commands.register(app)
    verbs = dict(_verbs(typer.main.get_command(app)))
    assert set(verbs) >= _WITHOUT | {"version", "dags pause", "rotate-fernet-key"}
    for name, verb in verbs.items():
        if name not in _WITHOUT:
            found = [set(option.opts) for option in verb.params if option.name == "output"]
            assert found == [{"--output", "-o"}], name


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "answer", "line"),
    [
        (("dags", "pause", "orders"), [{"dag_id": "orders", "paused": True}], "Paused orders."),
        (("dags", "unpause", "orders"), [{"dag_id": "orders", "paused": False}], "Unpaused orders."),
        (
            ("dags", "refresh"),
            {"requested": True, "parse_loop_is_heard_of": False},
            "Asked for a look at the DAG folders.",
        ),
        (
            ("tasks", "mark", "orders", "r1", "load", "success"),
            [{"dag_id": "orders", "run_id": "r1", "task_id": "load", "map_index": -1, "state": "success"}],
            "Marked load of r1 as success.",
        ),
        (("variables", "set", "table", "x"), {"key": "table", "set": True}, "The Variable table is set."),
        (("connections", "set", "db", "http://host"), {"conn_id": "db", "set": True}, "The Connection db is set."),
        (
            ("rotate-fernet-key",),
            {"variables": 0, "connections": 0, "already": 0, "lost": []},
            "Encrypted anew: Variables 0, Connections 0; with the newest key already: 0.",
        ),
        (("version",), {"version": __version__}, __version__),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_a_verb_did_is_told_as_a_line_as_json_and_as_yaml(words: tuple[str, ...], answer: Any, line: str) -> None:
    save_run(save_dag())
    assert execplane(*words).out == f"{line}\n"
    assert execplane(*words, "-o", "json").json == answer
    assert yaml.safe_load(execplane(*words, "-o", "yaml").out) == answer


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_was_paused_before_a_dag_that_does_not_exist_is_told(form: str) -> None:
    save_dag()
    said = execplane("dags", "pause", "orders", "nope", "-o", form)
    assert said.code == 3
    assert yaml.safe_load(said.out) == [{"dag_id": "orders", "paused": True}]
    assert execplane("dags", "pause", "nope", "-o", form).out == ""


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["variables", "connections"])
def test_a_deletion_is_told_in_every_form(name: str) -> None:
    for form in ("table", "json", "yaml"):
        execplane(name, "set", "kept", "http://host")
        said = execplane(name, "delete", "kept", "-o", form)
        assert said.code == 0
        assert form == "table" or yaml.safe_load(said.out)["deleted"] is True


@pytest.mark.django_db
def test_a_log_is_one_document_with_its_gaps_and_json_lines_for_a_stream() -> None:
    save_attempt(save_run(save_dag()), state="failed", log_offset=3, ended_at=SystemClock().now())
    key = AttemptKey(task=TaskKey(dag_id="orders", run_id="r1", task_id="extract", map_index=-1), attempt_no=1)
    at = SystemClock().now()
    shutil.rmtree(current().home / "logs", ignore_errors=True)  # tests share a home
    Deployment(current()).logs.append(key, [LogRecord(offset=n, at=at, message=f"line {n}") for n in (0, 2)])
    words = ("tasks", "logs", "orders", "r1", "extract")

    as_json, as_lines, as_yaml = (execplane(*words, *form) for form in (("-o", "json"), ("--json",), ("-o", "yaml")))

    assert [row.get("message", row.get("missing_after")) for row in as_json.json] == ["line 0", 0, "line 2", 2]
    assert [json.loads(line) for line in as_lines.out.splitlines()] == as_json.json
    assert [list(row) for row in yaml.safe_load(as_yaml.out)] == [list(row) for row in as_json.json]
    assert execplane(*words, "--json", "-o", "yaml").code == 2


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_log_without_lines_is_an_empty_document(form: str) -> None:
    attempt = save_attempt(save_run(save_dag()), "load", ended_at=SystemClock().now())
    at = SystemClock().now()
    AttemptEvent.objects.create(
        attempt_id=attempt.pk, seq=1, at=at, from_state="running", to_state="success", actor="worker ab"
    )
    said = execplane("tasks", "logs", "orders", "r1", "load", "-o", form)
    assert (said.out, said.err) == ("[]\n", "The log has no line: success.\n")


def test_a_new_key_is_told_in_every_form() -> None:
    for form in ("table", "json", "yaml"):
        said = execplane("config", "new-fernet-key", "-o", form)
        Fernet(said.out.strip() if form == "table" else yaml.safe_load(said.out)["fernet_key"])
