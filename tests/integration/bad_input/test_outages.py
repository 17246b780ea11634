"""What execplane needs goes away while it works: it says so where one looks, and afterwards nothing is lost."""

from __future__ import annotations

import html
import json
import os
import sqlite3
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.integration.bad_input import dag_files
from tests.integration.bad_input.gate import Gate
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.postgres import Postgres
from tests.parts.standalone import Standalone

OUTAGE_SECONDS = float(os.environ.get("EXECPLANE_TEST_OUTAGE_SECONDS", "3"))
"""Stands for a minute of the database and five of the API: several retries of every loop and worker."""


@contextmanager
def _running(one: Standalone) -> Iterator[Standalone]:
    one.start()
    try:
        yield one
    finally:
        one.stop()


def _with_dags(folder: Path, home: Path | None = None, **settings: str) -> Standalone:
    marks = {"STARTED": folder / "started", "GO_ON": folder / "go_on"}
    dag_files.write(folder / "dags", places=marks, waits=dag_files.WAITS, good=dag_files.GOOD)
    return Standalone(home or folder / "home", folder / "dags", worker__heartbeat_seconds="1", **settings)


def _trigger_waiting(one: Standalone, folder: Path) -> None:
    """A run whose task has begun and waits for GO_ON."""
    eventually(lambda: "waits" in one.run("dags", "list"), 30, on_failure=one.tail, interval_seconds=0.5)
    one.run("dags", "trigger", "waits", "--run-id", "through-it")
    eventually((folder / "started").exists, 30, on_failure=one.tail)


def _ended(one: Standalone, dag_id: str) -> dict[str, Any]:
    """The DAG's only attempt once its run ended."""

    def done() -> list[dict[str, Any]] | None:
        found = one.json("runs", "list", dag_id)
        return found if found and found[0]["state"] in ("success", "failed") else None

    eventually(done, 60, on_failure=one.tail, interval_seconds=0.5)
    (attempt,) = one.json("attempts", "list", dag_id)
    return dict(attempt)


def _not_before(seconds: float) -> None:
    """An outage lasts this long, whatever happens meanwhile."""
    deadline = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= deadline, seconds + 5)


def _unharmed(one: Standalone, folder: Path) -> None:
    """The task that ran through it ended well in its first attempt, and new runs start."""
    attempt = _ended(one, "waits")
    assert (attempt["state"], attempt["attempt_no"]) == ("success", 1)
    assert "went on" in one.get(f"/attempts/{attempt['id']}/log.txt")
    one.run("dags", "trigger", "good", "--wait", "--timeout", "60")
    eventually(lambda: "All is well." in one.run("status", ok=False), 40, on_failure=one.tail, interval_seconds=1)


def test_sqlite_locked_by_another_process_costs_nothing(tmp_path: Path) -> None:
    with _running(_with_dags(tmp_path, database_url=f"sqlite:///{tmp_path}/x.sqlite3?timeout=1")) as one:
        _trigger_waiting(one, tmp_path)
        with closing(sqlite3.connect(tmp_path / "x.sqlite3", isolation_level=None)) as intruder:
            intruder.execute("PRAGMA busy_timeout = 10000")
            intruder.execute("BEGIN EXCLUSIVE")
            (tmp_path / "go_on").touch()
            told = one.run("dags", "trigger", "good", ok=False)
            assert "execplane: The database did not take the change: database is locked." in told
            assert "Traceback" not in told
            _not_before(OUTAGE_SECONDS)
            intruder.execute("COMMIT")
        _unharmed(one, tmp_path)
        assert "database is locked" in one.log.read_text()
        assert "Traceback" not in one.log.read_text()


def test_postgresql_gone_for_a_while_costs_nothing(tmp_path: Path, postgres: Postgres) -> None:
    url = urlsplit(postgres.create_database(f"gone_{os.getpid()}"))
    assert url.hostname is not None
    with Gate(url.hostname, url.port or 5432) as gate:
        gate.open()
        user = f"{url.username}@" if url.password is None else f"{url.username}:{url.password}@"
        through = urlunsplit(url._replace(netloc=f"{user}127.0.0.1:{gate.port}"))
        with _running(_with_dags(tmp_path, database_url=through)) as one:
            _trigger_waiting(one, tmp_path)
            assert "waits" in one.get("/dags")
            gate.shut()
            (tmp_path / "go_on").touch()
            status = one.run("status", ok=False)
            assert "! The database has a problem: The database does not answer: connection" in status
            told = one.run("dags", "trigger", "good", ok=False)
            assert "execplane: The database does not answer: connection" in told
            assert "`execplane status` tells which part is down." in told
            assert "Traceback" not in told
            page = _page_of_an_outage(one)
            assert "The database does not answer, so no page can be shown. Running tasks go on meanwhile." in page
            assert "<code>execplane status</code> tells which part is down." in page
            _not_before(OUTAGE_SECONDS)
            gate.open()
            _unharmed(one, tmp_path)


def test_a_task_that_ends_while_execplane_is_away_loses_neither_result_nor_log(tmp_path: Path) -> None:
    with _running(_with_dags(tmp_path)) as one:
        _trigger_waiting(one, tmp_path)
        one.stop()
        (tmp_path / "go_on").touch()
        _not_before(OUTAGE_SECONDS)
        one.start()
        _unharmed(one, tmp_path)


def _page_of_an_outage(one: Standalone) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        one.get("/dags")
    assert refused.value.code == 503
    return refused.value.read().decode()


def test_a_full_disk_is_said_and_costs_nothing_once_there_is_room(tmp_path: Path) -> None:
    with _small_disk(tmp_path) as (disk, fill):
        one = _with_dags(tmp_path, disk)
        with _running(one):
            _trigger_waiting(one, tmp_path)
            free = fill()
            told = one.run("dags", "trigger", "good", ok=False)
            assert "execplane: The database did not take the change: database or disk is full." in told
            assert "Traceback" not in told
            (tmp_path / "go_on").touch()
            _not_before(OUTAGE_SECONDS)
            free()
            _unharmed(one, tmp_path)
            assert "Traceback" not in one.log.read_text()


@contextmanager
def _small_disk(folder: Path) -> Iterator[tuple[Path, Callable[[], Callable[[], None]]]]:
    """A disk of a few MiB, and a function that fills it and gives the one that empties it again."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)

    def fill() -> Callable[[], None]:
        filler = disk / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)) == 4096:
                    pass
        except OSError:
            pass
        return filler.unlink

    try:
        yield disk, fill
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_attempts_wait_for_the_api_server_and_for_a_pod_template_and_then_run(
    tmp_path: Path, cluster: Cluster, namespace: str, worker_image: str
) -> None:
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    server = config["clusters"][0]["cluster"]
    target = urlsplit(server["server"])
    dag_files.write(tmp_path / "dags", bad_override=dag_files.BAD_OVERRIDE)
    template = tmp_path / "template.yaml"
    template.write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")
    with Gate(str(target.hostname), target.port or 443) as gate:
        server["server"] = f"https://127.0.0.1:{gate.port}"
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        one = Standalone(
            tmp_path / "home",
            tmp_path / "dags",
            executor="kubernetes",
            web__host="0.0.0.0",
            kubernetes__kubeconfig=str(kubeconfig),
            kubernetes__namespace=namespace,
            kubernetes__image=worker_image,
            kubernetes__pod_template_file=str(template),
            kubernetes__delete_worker_pods="false",
        )
        one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{one.port}"
        with _running(one):
            _judge_cluster_faults(one, gate, template)


def _judge_cluster_faults(one: Standalone, gate: Gate, template: Path) -> None:
    eventually(lambda: "bad_override" in one.run("dags", "list"), 30, on_failure=one.tail, interval_seconds=0.5)
    one.run("dags", "trigger", "bad_override", "--run-id", "waits-for-the-cluster")

    _waits_because(one, f"127.0.0.1:{gate.port}", "Connection refused")
    status = one.run("status", ok=False)
    assert "! The API server has a problem: " in status
    assert "! The pod template has a problem: " in status

    gate.open()
    not_a_pod = f"The pod template ({template}) is not a Pod: apiVersion is 'apps/v1'."
    _waits_because(one, not_a_pod, "Write `apiVersion: v1`")
    assert "! The API server has a problem" not in one.run("status", ok=False)

    template.unlink()
    _waits_because(one, f"Pod template {template} cannot be read", "Check pod_template_file")

    template.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {labels: {from: template}}\nspec: {containers: [{name: base}]}\n"
    )
    run = eventually(
        lambda: [run for run in one.json("runs", "list", "bad_override") if run["state"] in ("success", "failed")],
        120,
        on_failure=one.tail,
        interval_seconds=1,
    )
    assert run[0]["state"] == "failed"
    attempts = {row["task_id"]: row for row in one.json("attempts", "list", "bad_override")}
    assert (attempts["right"]["state"], attempts["right"]["attempt_no"]) == ("success", 1)
    assert "the right one ran" in one.get(f"/attempts/{attempts['right']['id']}/log.txt")
    told = one.run("attempts", "explain", str(attempts["misspelt"]["id"]))
    page = html.unescape(one.get(f"/attempts/{attempts['misspelt']['id']}"))
    for words in (
        "spec.containers[0].resources.limit is not a field of ResourceRequirements.",
        "Did you mean 'limits'?",
    ):
        assert words in told
        assert words in page
    assert "Traceback" not in told
    assert "All is well." in one.run("status")


def _waits_because(one: Standalone, *words: str) -> None:
    """Both attempts wait, and say why on the command line and on their page."""

    def said() -> list[dict[str, Any]] | None:
        rows = one.json("attempts", "list", "bad_override")
        fit = [row for row in rows if row["state"] == "queued" and all(word in row["reason"] for word in words)]
        return fit if len(fit) == 2 else None

    rows = eventually(said, 40, on_failure=lambda: f"{one.run('attempts', 'list')}\n{one.tail()}", interval_seconds=0.5)
    for row in rows:
        told = one.run("attempts", "explain", str(row["id"]))
        assert "Not launched yet: " in told
        assert words[0] in told
        assert words[0] in html.unescape(one.get(f"/attempts/{row['id']}"))
