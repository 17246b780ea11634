"""`execplane dags test`: a run in this process, decided by the real scheduler, with the real SDK."""

from __future__ import annotations

from pathlib import Path

import pytest

from execplane.config import current
from tests.integration.cli_runner import Said, execplane

BRANCHES = """
from execplane import DAG, dag, task

@dag(schedule=None, params={"rows": 2})
def pipeline():
    @task
    def rows(params=None):
        print("printed by the task")
        return list(range(params["rows"]))

    @task
    def double(n):
        return n * 2

    @task
    def total(values):
        assert sum(values) == 2, values
        return sum(values)

    @task.branch
    def choose(n):
        return "small" if n < 10 else "large"

    @task
    def small(): ...

    @task
    def large(): ...

    choose(total(double.expand(n=rows()))) >> [small(), large()]

pipeline()
"""

RETRIES = """
from datetime import timedelta
from execplane import DAG
from execplane.sdk.exceptions import AirflowFailException
from execplane.sdk.operators.python import PythonOperator

def third(ti):
    if ti.try_number < 3:
        raise ValueError("too early")

def never():
    raise AirflowFailException("no use")

with DAG("patient", schedule=None):
    PythonOperator(task_id="third", python_callable=third, retries=2, retry_delay=timedelta(days=1))

with DAG("hopeless", schedule=None):
    first = PythonOperator(task_id="first", python_callable=never, retries=5)
    first >> PythonOperator(task_id="second", python_callable=print)
"""


def try_out(folder: Path, source: str, *words: str) -> Said:
    file = folder / "file_under_test.py"
    file.write_text(source)
    return execplane("dags", "test", str(file), *words)


def states(said: Said) -> dict[str, str]:
    return {f"{task['task_id']}[{task['map_index']}]": task["state"] for task in said.json["tasks"]}


def test_xcoms_mapping_params_and_branches_work_as_in_a_real_run(tmp_path: Path) -> None:
    said = try_out(tmp_path, BRANCHES, "-o", "json")
    assert said.code == 0, said.err
    assert said.json["state"] == "success"
    assert states(said) == {
        "rows[-1]": "success",
        "double[0]": "success",
        "double[1]": "success",
        "total[-1]": "success",
        "choose[-1]": "success",
        "small[-1]": "success",
        "large[-1]": "skipped",
    }
    assert "printed by the task" in said.err, "what tasks print must not stand in the JSON"


def test_other_dags_and_other_runs_have_pushed_nothing(tmp_path: Path) -> None:
    said = try_out(
        tmp_path,
        """
from execplane import dag, task

@dag(schedule=None)
def alone():
    @task
    def push():
        return 7

    @task
    def pull(ti):
        assert ti.xcom_pull("push") == 7
        assert ti.xcom_pull("push", dag_id="alone") == 7
        assert ti.xcom_pull("push", dag_id="another") is None
        assert ti.xcom_pull("push", run_id="another") is None

    push() >> pull()

alone()
""",
    )
    assert said.code == 0, said.err


def test_variables_come_from_the_environment_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from execplane import DAG
from execplane.sdk import Variable
from execplane.sdk.operators import EmptyOperator

with DAG(Variable.get("name", "unnamed"), schedule=None):
    EmptyOperator(task_id="t")
"""
    said = try_out(tmp_path, source, "-o", "json")
    assert said.json["dag_id"] == "unnamed"
    assert "reads Variables (name): here they come from AIRFLOW_VAR_… only" in said.err
    monkeypatch.setenv("AIRFLOW_VAR_NAME", "named")
    assert try_out(tmp_path, source, "-o", "json").json["dag_id"] == "named"


def test_the_conf_reaches_the_params_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    assert try_out(tmp_path, BRANCHES, "--conf", '{"rows": 3}').code == 1, "0 + 2 + 4 is not 2"
    assert try_out(tmp_path, BRANCHES, "--conf", '{"rows": ').code == 2


def test_retries_come_at_once_however_long_their_delay(tmp_path: Path) -> None:
    said = try_out(tmp_path, RETRIES, "--dag-id", "patient", "-o", "json")
    assert said.code == 0, said.err
    assert [task["try_number"] for task in said.json["tasks"]] == [3]


def test_a_failure_ends_with_code_1_and_stops_what_comes_after(tmp_path: Path) -> None:
    said = try_out(tmp_path, RETRIES, "--dag-id", "hopeless", "-o", "json")
    assert said.code == 1
    assert states(said) == {"first[-1]": "failed", "second[-1]": "upstream_failed"}
    assert said.json["tasks"][0]["try_number"] == 1, "AirflowFailException is not retried"
    assert "no use" in said.json["tasks"][0]["reason"]


def test_tasks_named_by_a_pattern_are_not_run_and_count_as_success(tmp_path: Path) -> None:
    said = try_out(tmp_path, RETRIES, "--dag-id", "hopeless", "--mark-success", "^first$", "-o", "json")
    assert said.code == 0, said.err
    assert set(states(said).values()) == {"success"}
    assert try_out(tmp_path, RETRIES, "--dag-id", "hopeless", "--mark-success", "(").code == 2


def test_the_log_stands_on_standard_output_for_people(tmp_path: Path) -> None:
    said = try_out(tmp_path, RETRIES, "--dag-id", "patient")
    assert "ValueError: too early" in said.out
    assert "The run ended: success." in said.out


@pytest.mark.parametrize(
    ("source", "words", "code", "named"),
    [
        ("from execplane import DAG\nwith DAG(", (), 1, "syntax error"),
        ("from execplane import DAG\nimport nowhere_to_be_found\n", (), 1, "nowhere_to_be_found"),
        ("from execplane import DAG\n", (), 3, "defines no DAG"),
        (RETRIES, (), 2, "hopeless, patient"),
        (RETRIES, ("--dag-id", "other"), 3, "no DAG 'other'"),
    ],
)
def test_a_file_that_cannot_be_tested_says_why(
    tmp_path: Path, source: str, words: tuple[str, ...], code: int, named: str
) -> None:
    said = try_out(tmp_path, source, *words)
    assert said.code == code
    assert named in said.err


def test_a_file_or_an_id_that_does_not_exist_is_named() -> None:
    assert execplane("dags", "test", "/nowhere/dag.py").code == 3
    said = execplane("dags", "test", "no_such_dag")
    assert said.code == 3
    assert "no_such_dag" in said.err


def test_an_id_whose_file_cannot_be_imported_is_answered_with_the_error_its_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "zoo.py").write_text("from execplane import DAG\nimport nowhere_to_be_found\nDAG('lost')\n")
    for number in range(7):
        (folder / f"other{number}.py").write_text("from execplane import DAG\nDAG(\n")
    config = current().model_copy(update={"dags_folders": [folder]})
    monkeypatch.setattr("execplane.config.current", lambda: config)

    said = execplane("dags", "test", "lost")

    first, *others, more, answer, hint = said.err.splitlines()
    assert said.code == 3
    assert first.startswith(f"{folder / 'zoo.py'}: zoo.py, line 2: there is no module 'nowhere_to_be_found' here.")
    assert len(others) == 4
    assert all("line 2: syntax error" in line for line in others)
    assert more == "… and 3 more."
    assert "defines the DAG lost, unless it is one of the files above, which cannot be imported." in answer
    assert "execplane dags test FILE" in hint
