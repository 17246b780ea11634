"""Bad DAG files: each shows one sentence that names the file, the line, the fault and what to do, and costs nobody
else anything."""

from __future__ import annotations

import html
from typing import Any

import pytest

from tests.integration.bad_input import dag_files
from tests.integration.bad_input.conftest import Deployed, import_errors
from tests.parts.eventually import eventually

LONG = "d" * 251

CASES = {
    "syntax_error": ["syntax_error.py, line 9: syntax error: '(' was never closed."],
    "endless_loop": [
        "endless_loop.py, line 8, was still being imported after 2 s",
        "EXECPLANE_PARSING__TIMEOUT_SECONDS",
        "Move slow work from the top level of the file into a task.",
    ],
    "too_much_memory": [
        "too_much_memory.py, line 8, asked for more memory than the 1024 MiB",
        "EXECPLANE_PARSING__MEMORY_BYTES",
        "Move large data",
    ],
    "sys_exit": [
        "sys_exit.py, line 9: the file calls sys.exit('no DAGs today') while it is imported.",
        "Remove the call",
    ],
    "twice_b": [
        "The DAG 'twice' is already defined in twice_a.py (dags), so the one in twice_b.py (dags) is left out.",
        "Rename one of them.",
    ],
    "cycle": [
        "cycle.py, line 9: DAG 'cycle': its tasks form a cycle: a >> b >> c >> a.",
        "Remove one of these dependencies.",
    ],
    "params_not_json": [
        "params_not_json.py, line 8: DAG 'params_not_json': the param 'where' cannot be stored: its default is no JSON",
        "Use text, numbers, lists and dicts.",
    ],
    "invalid_cron": [
        "invalid_cron.py, line 8: DAG 'invalid_cron': '61 * * * *' is not a cron expression (Bad minute).",
        "Write five fields: minute, hour, day of month, month, day of week.",
    ],
    "unsupported_import": [
        "unsupported_import.py, line 8: execplane does not have airflow.providers.google.cloud.operators.bigquery.",
        "Call the vendor's own client library from a @task",
    ],
    "prints_much": ["prints_much.py printed more than 8 MiB", "Remove the prints from the top level of the file."],
    "too_long_dag_id": [f"too_long_dag_id.py, line 8: DAG '{LONG}': dag_id takes at most 250 characters, not 251."],
    "bad_dag_id": [
        "bad_dag_id.py, line 8: DAG 'a dag/with slashes': dag_id takes letters, digits, dashes, dots and underscores"
    ],
    "unknown_executor": [
        "unknown_executor.py, line 9: DAG 'unknown_executor': the task 'one' names the executor 'kubernets'",
        "which this deployment does not run.",
        "Name one of local, or have it added with EXECPLANE_EXECUTORS.",
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_shows_its_message(deployed: Deployed, errors: dict[str, dict[str, Any]], name: str) -> None:
    message = errors[f"{name}.py"]["message"]
    for words in CASES[name]:
        assert words in message
    assert "Traceback" not in message
    assert "\n" not in message


def test_the_page_shows_the_same_messages(deployed: Deployed, errors: dict[str, dict[str, Any]]) -> None:
    page = html.unescape(deployed.standalone.get("/import-errors"))
    for name in CASES:
        assert errors[f"{name}.py"]["message"] in page


def test_the_command_prints_a_line_per_file_and_ends_with_1(
    deployed: Deployed, errors: dict[str, dict[str, Any]]
) -> None:
    told = deployed.standalone.run("dags", "import-errors", ok=False).strip().splitlines()
    assert {line.partition(":")[0] for line in told} == {f"{name}.py" for name in CASES}


def test_status_counts_the_broken_files(deployed: Deployed, errors: dict[str, dict[str, Any]]) -> None:
    assert f"{len(CASES)} DAG files do not import" in deployed.standalone.run("status")


def test_nothing_else_is_broken(deployed: Deployed, errors: dict[str, dict[str, Any]]) -> None:
    assert set(errors) == {f"{name}.py" for name in CASES}


def test_the_good_file_beside_them_runs(deployed: Deployed, errors: dict[str, dict[str, Any]]) -> None:
    attempt = deployed.attempt("good")
    assert attempt["state"] == "success"
    assert "hello from the good one" in deployed.standalone.get(f"/attempts/{attempt['id']}/log.txt")


def test_the_first_of_two_files_with_one_dag_id_runs(deployed: Deployed, errors: dict[str, dict[str, Any]]) -> None:
    attempt = deployed.attempt("twice")
    assert attempt["state"] == "success"
    assert "from the first file" in deployed.standalone.get(f"/attempts/{attempt['id']}/log.txt")


def test_a_file_that_breaks_keeps_its_dag_and_one_that_is_mended_loses_its_error(
    deployed: Deployed, errors: dict[str, dict[str, Any]]
) -> None:
    standalone = deployed.standalone
    dag_files.write(deployed.dags, breaks=dag_files.GOOD.replace('"good"', '"breaks"'))
    eventually(lambda: "breaks" in standalone.run("dags", "list"), 30, interval_seconds=0.5)

    dag_files.write(deployed.dags, breaks=dag_files.GOOD.replace('"good"', '"breaks"') + "\nraise ValueError('no')\n")
    message = eventually(lambda: import_errors(standalone).get("breaks.py"), 30, interval_seconds=0.5)["message"]
    assert message.startswith("breaks.py, line 11: ValueError: no")
    assert "breaks" in standalone.run("dags", "list")

    dag_files.write(deployed.dags, breaks=dag_files.GOOD.replace('"good"', '"breaks"'))
    eventually(lambda: "breaks.py" not in import_errors(standalone), 30, interval_seconds=0.5)
    assert deployed.attempt("breaks")["state"] == "success"
    (deployed.dags / "breaks.py").unlink()
