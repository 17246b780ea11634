"""The command as a process of its own, with a home and a SQLite database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from execplane.loops.wake import DatagramTransport, WakeBus
from tests.parts.eventually import eventually

ROOT = Path(__file__).parents[2]
DAG_FILE = """
from execplane import DAG
from execplane.sdk.operators.python import PythonOperator

with DAG("orders", schedule=None):
    PythonOperator(task_id="t", python_callable=lambda: print("hello from the task"))
"""


def run(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("EXECPLANE_")}
    return subprocess.run(
        [sys.executable, "-m", "execplane.cli", *words],
        cwd=ROOT,
        env={**environ, "EXECPLANE_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_home_without_tables_is_told_to_migrate_and_then_works(tmp_path: Path) -> None:
    before = run(tmp_path, "dags", "list")
    assert before.returncode == 4
    assert "execplane migrate" in before.stderr
    assert "Traceback" not in before.stderr
    assert run(tmp_path, "status").returncode == 4
    assert run(tmp_path, "migrate").returncode == 0
    after = run(tmp_path, "dags", "list", "-o", "json")
    assert (after.returncode, after.stdout) == (0, "[]\n")


def test_variables_and_connections_are_set_and_deleted_in_a_fresh_process(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").returncode == 0
    for words in (
        ("variables", "set", "table", "orders"),
        ("connections", "set", "db", "postgres://u:p@host/orders"),
        ("variables", "delete", "table"),
        ("connections", "delete", "db"),
    ):
        said = run(tmp_path, *words)
        assert (said.returncode, said.stderr) == (0, ""), words


def test_a_database_that_is_gone_ends_status_with_code_4(tmp_path: Path) -> None:
    url = "postgresql://nobody:hush@127.0.0.1:9/none"
    said = run(tmp_path, "status", EXECPLANE_DATABASE_URL=url)
    assert said.returncode == 4
    assert "database" in said.stdout
    listed = run(tmp_path, "dags", "list", EXECPLANE_DATABASE_URL=url)
    assert listed.returncode == 4
    assert "does not answer" in listed.stderr
    assert "hush" not in said.stdout + said.stderr + listed.stdout + listed.stderr


def test_what_a_command_changes_wakes_the_running_server(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").returncode == 0
    heard: set[str] = set()
    bus = WakeBus()
    bus.subscribe(heard.add)
    transport = DatagramTransport(bus, tmp_path / "wake")
    try:
        assert run(tmp_path, "dags", "refresh").returncode == 0
        eventually(lambda: "refresh" in heard, 10)
    finally:
        transport.close()
    assert list((tmp_path / "wake").iterdir()) == []


def test_an_unknown_setting_stops_every_command_and_names_the_nearest(tmp_path: Path) -> None:
    said = run(tmp_path, "dags", "list", EXECPLANE_KUBERNETES__NAMESPCE="jobs")
    assert said.returncode == 2
    assert "EXECPLANE_KUBERNETES__NAMESPCE" in said.stderr
    assert "Did you mean kubernetes.namespace (EXECPLANE_KUBERNETES__NAMESPACE)?" in said.stderr


def test_help_and_wrong_words_cost_neither_django_nor_settings(tmp_path: Path) -> None:
    code = (
        "import sys; from execplane.cli import main; from execplane.cli.main import app;"
        "from execplane.cli import commands; commands.register(app);"
        "heavy = {'django', 'pydantic', 'kubernetes', 'rest_framework', 'yaml', 'execplane.sdk'} & set(sys.modules);"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert run(tmp_path, "dags", "--help", EXECPLANE_NONSENSE="1").returncode == 0


def test_a_dag_is_tested_by_its_id_without_a_database(tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "orders.py").write_text(DAG_FILE)
    said = run(tmp_path, "dags", "test", "orders", EXECPLANE_DAGS_FOLDERS=str(folder))
    assert said.returncode == 0, said.stderr
    assert "hello from the task" in said.stdout
    assert "The run ended: success." in said.stdout
    assert not (tmp_path / "execplane.sqlite3").exists()


def test_ctrl_c_kills_the_task_that_is_tested_and_ends_with_130(tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    file = tmp_path / "slow.py"
    file.write_text(
        "from pathlib import Path\n"
        "from execplane import DAG\n"
        "from execplane.sdk.operators.python import PythonOperator\n"
        "class Slow(PythonOperator):\n"
        f"    def on_kill(self): Path({str(marker)!r}).touch()\n"
        "def wait():\n"
        "    import threading\n"
        "    print('started', flush=True)\n"
        "    threading.Event().wait(60)\n"
        "with DAG('slow', schedule=None):\n"
        "    Slow(task_id='t', python_callable=wait)\n"
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith("EXECPLANE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "execplane.cli", "dags", "test", str(file)],
        cwd=ROOT,
        env={**environ, "EXECPLANE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    assert process.stdout is not None
    with process.stdout as out:
        for line in out:
            if "started" in line:
                process.send_signal(2)
                break
        out.read()
    assert process.wait(timeout=60) == 130
    guard.cancel()
    guard.join()
    assert marker.exists()


@pytest.mark.parametrize("name", ["execplane.toml", "named.toml"])
def test_the_settings_file_is_read_from_home_or_where_it_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('[kubernetes]\nnamespace = "jobs"\n')
    more = {} if name == "execplane.toml" else {"EXECPLANE_CONFIG": str(tmp_path / name)}
    said = run(tmp_path, "config", "list", "--changed", "-o", "yaml", **more)
    assert said.returncode == 0
    assert "value: jobs" in said.stdout
    assert f"source: {tmp_path / name}" in said.stdout
