"""A start that cannot succeed ends at once, with one or two lines: what is wrong, and what to do."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.integration.bad_input import dag_files
from tests.parts.eventually import eventually, scaled
from tests.parts.standalone import COMMAND, Standalone


@pytest.fixture
def one(tmp_path: Path) -> Standalone:
    """A deployment that was not started."""
    dag_files.write(tmp_path / "dags", good=dag_files.GOOD)
    return Standalone(tmp_path / "home", tmp_path / "dags")


def _refused(one: Standalone, *words: str, code: int, prefix: tuple[str, ...] = (), **settings: str) -> list[str]:
    """What `execplane standalone` (or WORDS…) prints when it refuses, line by line."""
    environment = {**one.environment, **{f"EXECPLANE_{name.upper()}": value for name, value in settings.items()}}
    done = subprocess.run(
        [*prefix, COMMAND, *(words or ("standalone",))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "serves http" not in done.stdout
    return done.stderr.strip().splitlines()


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        (
            "web__prot",
            "1",
            "execplane: Unknown setting EXECPLANE_WEB__PROT in the environment.",
            "  Did you mean web.port (EXECPLANE_WEB__PORT)?",
        ),
        (
            "web__port",
            "http",
            "execplane: The setting web.port (EXECPLANE_WEB__PORT) is not valid: Input should be a valid integer",
            "  `execplane config explain web.port` tells what it takes.",
        ),
        (
            "executor",
            "kubernets",
            (
                "execplane: The setting executor (EXECPLANE_EXECUTOR) is not valid: there is no executor 'kubernets'. "
                "Did you mean kubernetes?"
            ),
            "  `execplane config explain executor` tells what it takes.",
        ),
        (
            "queue_executors",
            '{"gpu": "slurm"}',
            (
                "execplane: The setting queue_executors (EXECPLANE_QUEUE_EXECUTORS) is not valid: there is no executor "
                "'slurm'. There are local, sequential, kubernetes."
            ),
            "  `execplane config explain queue_executors` tells what it takes.",
        ),
        (
            "database_url",
            "mysql://somewhere/x",
            "execplane: EXECPLANE_DATABASE_URL has the unknown scheme 'mysql'.",
            "  Use postgresql://user:password@host:5432/name or sqlite:////absolute/path.sqlite3.",
        ),
        (
            "database_url",
            "sqlite:////tmp/x.sqlite3?cache=shared",
            "execplane: EXECPLANE_DATABASE_URL has the options 'cache=shared', and SQLite takes only timeout.",
            "  For example sqlite:////absolute/path.sqlite3?timeout=20 (seconds).",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(
    one: Standalone, name: str, value: str, message: str, hint: str
) -> None:
    one.environment[f"EXECPLANE_{name.upper()}"] = value
    first, second = _refused(one, code=2)
    assert first.startswith(message)
    assert second == hint


def test_a_taken_port_is_named_with_the_setting(one: Standalone) -> None:
    with socket.create_server(("127.0.0.1", one.port)):
        assert _refused(one, code=2) == [
            f"execplane: The address 127.0.0.1:{one.port} cannot be listened on: Address already in use.",
            "  Choose another with EXECPLANE_WEB__PORT, or stop what listens there.",
        ]


def test_a_second_standalone_on_one_home_names_the_first_which_goes_on(one: Standalone, tmp_path: Path) -> None:
    one.start()
    try:
        assert one.process is not None
        assert _refused(one, code=2, web__port="0") == [
            f"execplane: Another execplane standalone (process {one.process.pid}) serves {one.home}.",
            "  Stop it first, or give this one a home of its own with EXECPLANE_HOME.",
        ]
        eventually(lambda: "good" in one.run("dags", "list"), 30, interval_seconds=0.5)
        one.run("dags", "trigger", "good", "--wait", "--timeout", "60")
    finally:
        one.stop()


def test_a_database_that_does_not_answer_is_said_without_its_driver_s_traceback(one: Standalone) -> None:
    first, second = _refused(one, code=4, database_url="postgresql://someone:hidden@127.0.0.1:1/x")
    assert first.startswith("execplane: The database does not answer: connection")
    assert "Connection refused" in first
    assert second == "  `execplane status` tells which part is down."
    assert "hidden" not in first + second


def test_a_file_that_is_no_database_is_said_so(one: Standalone) -> None:
    path = one.home.parent / "notes.sqlite3"
    path.write_text("these are my notes, not a database\n" * 40)
    first, second = _refused(one, code=4, database_url=f"sqlite:///{path}")
    assert "file is not a database" in first
    assert second
    assert path.read_text().startswith("these are my notes")


def test_a_kubeconfig_that_is_not_there_is_named_with_the_setting(one: Standalone) -> None:
    missing = str(one.home.parent / "nowhere.kubeconfig")
    lines = _refused(one, code=2, executor="kubernetes", kubernetes__kubeconfig=missing)
    assert lines[0].startswith(f"execplane: No usable Kubernetes configuration in {missing}")
    assert lines[1] == "  Mend it, set EXECPLANE_KUBERNETES__KUBECONFIG, or run in a pod with a service account."


def test_a_dags_folder_that_is_not_there_is_an_import_error(tmp_path: Path) -> None:
    one = Standalone(tmp_path / "home", tmp_path / "nowhere")
    one.start()
    try:
        sentence = (
            f"The DAG folder {tmp_path / 'nowhere'} does not exist. "
            "Make it, or name another with EXECPLANE_DAGS_FOLDERS."
        )
        eventually(
            lambda: sentence in one.run("dags", "import-errors", ok=False),
            30,
            on_failure=one.tail,
            interval_seconds=0.5,
        )
        assert str(tmp_path / "nowhere") in one.get("/import-errors")
    finally:
        one.stop()


def test_attempts_of_an_executor_that_was_taken_out_of_the_settings_are_told_by_status(one: Standalone) -> None:
    dag_files.write(one.home.parent / "dags", taken_out=dag_files.EXECUTOR_TAKEN_OUT)
    one.environment["EXECPLANE_EXECUTORS"] = "sequential"
    one.start()
    try:
        eventually(lambda: "executor_taken_out" in one.run("dags", "list"), 30, interval_seconds=0.5)
        one.run("dags", "trigger", "executor_taken_out")
        eventually(lambda: one.json("attempts", "list", "executor_taken_out"), 30, interval_seconds=0.5)
    finally:
        one.stop()
    del one.environment["EXECPLANE_EXECUTORS"]
    assert (
        "! 1 attempt (1 queued) of the executor sequential, which this deployment does not run: put it back with "
        "EXECPLANE_EXECUTORS, or end them with `execplane tasks mark`"
    ) in one.run("status", ok=False)


def test_a_home_on_a_read_only_disk_is_named(one: Standalone) -> None:
    home = one.home
    home.mkdir()
    assert _refused(one, code=2, prefix=_with_mount(f"mount -t tmpfs -o ro tmpfs {home}")) == [
        f"execplane: The folder {home} cannot be used as home: Read-only file system.",
        "  Make it writable, or set EXECPLANE_HOME to a folder that is.",
    ]


def test_a_database_on_a_read_only_disk_is_named(one: Standalone) -> None:
    folder = one.home.parent / "database"
    folder.mkdir()
    with sqlite3.connect(folder / "x.sqlite3") as database:
        database.execute("CREATE TABLE older (id INTEGER)")
    database.close()
    first, second = _refused(
        one,
        code=4,
        prefix=_with_mount(f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"),
        database_url=f"sqlite:///{folder}/x.sqlite3",
    )
    assert first.startswith("execplane: The database cannot be written: ")
    assert "Make its disk and folder writable" in second


def test_a_command_whose_user_may_not_write_the_home_is_told_that(one: Standalone) -> None:
    home = one.home
    one.run("migrate")
    read_only = _with_mount(f"mount --bind {home} {home} && mount -o remount,bind,ro {home}")
    for words in (("dags", "list"), ("dags", "trigger", "good")):
        lines = _refused(one, *words, code=4, prefix=read_only)
        assert lines[-2:] == [
            "execplane: The database file cannot be opened: unable to open database file.",
            "  SQLite writes beside its file even to read it: file and folder must be writable by this user.",
        ]


def _with_mount(command: str) -> tuple[str, ...]:
    """Words before a command that give it mounts of its own, without root, too."""
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", "--mount", *user, "sh", "-c", f'{command} && exec "$@"', "sh")
