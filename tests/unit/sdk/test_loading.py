from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from execplane.contract.dag import decode_dag, encode_dag
from execplane.contract.errors import DagImportError, NotFound
from execplane.sdk import xcom
from execplane.sdk.loader import load_file, module_name, parse_file
from execplane.sdk.options import Defaults
from tests.unit.sdk.building import loaded, parsed, result, run_task, write

REPOSITORY = Path(__file__).parents[3]
HEAD = """
# the bodies below start at line 6
from datetime import datetime
from execplane import DAG, dag, task
from execplane.sdk import EmptyOperator, Param
"""


def test_dags_are_found_by_name_by_block_and_by_decorator(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        HEAD
        + """
named = DAG("named", schedule=None)
EmptyOperator(task_id="t", dag=named)
def build():
    DAG("lost", schedule=None)
    with DAG("block", schedule=None):
        EmptyOperator(task_id="t")
    with DAG("not_registered", schedule=None, auto_register=False):
        pass
build()
@dag(schedule=None)
def decorated(size=3):
    "What it does."
    @task
    def one(n): return n
    one(size)
decorated()
""",
    )
    assert found.error == ""
    assert sorted(found.dags) == ["block", "decorated", "named"]
    decorated = found.dag("decorated")
    assert decorated.doc_md == "What it does."
    assert result(run_task(decorated, "one")) == 3
    with pytest.raises(NotFound, match=r"no DAG 'lost'.*It has: block, decorated, named"):
        found.dag("lost")


def test_the_files_own_modules_are_found(tmp_path: Path) -> None:
    (tmp_path / "shared_by_dags").mkdir()
    (tmp_path / "shared_by_dags" / "names.py").write_text("NAME = 'from_module'")
    (tmp_path / "team").mkdir()
    found = loaded(tmp_path, HEAD + "from shared_by_dags.names import NAME\nd = DAG(NAME, schedule=None)", "team/x.py")
    assert sorted(found.dags) == ["from_module"]
    assert found.file == "team/x.py"


def test_a_file_that_mentions_no_dag_is_not_imported(tmp_path: Path) -> None:
    found = loaded(tmp_path, "raise RuntimeError('imported')")
    assert (found.is_dag_file, found.error, found.dags) == (False, "", {})


def test_a_dataclass_of_a_dag_file_comes_back_in_another_process(tmp_path: Path) -> None:
    source = HEAD + "from dataclasses import dataclass\n@dataclass\nclass Row:\n    x: int\n"
    path = write(tmp_path, source + "d = DAG('d', schedule=None)")
    load_file(path, tmp_path)
    data = xcom.encode(sys.modules[module_name("example.py")].Row(5))
    code = (
        "import sys; from execplane.sdk import xcom, loader\n"
        f"loader.load_file({str(path)!r}, {str(tmp_path)!r})\n"
        "print(xcom.decode(sys.stdin.buffer.read()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, cwd=REPOSITORY, check=True)
    assert b"Row(x=5)" in shown.stdout


BROKEN: list[tuple[str, str, str]] = [
    ("a syntax error", "d = DAG('d' schedule=None)", r"example\.py, line 6: syntax error"),
    ("sys.exit", "import sys\nsys.exit(3)", r"line 7: the file calls sys\.exit\(3\) while it is imported"),
    ("an exception", "x = 1 / 0", r"line 6: ZeroDivisionError: division by zero"),
    ("a missing module", "import no_such_module_here", r"line 6: there is no module 'no_such_module_here'"),
    (
        "a cron that is none",
        "DAG('d', schedule='61 * * * *', start_date=datetime(2024, 1, 1))",
        r"'61 \* \* \* \*' is not a cron",
    ),
    ("a preset that is none", "DAG('d', schedule='@fortnightly')", "no preset '@fortnightly'"),
    ("a date that never comes", "DAG('d', schedule='0 0 30 2 *', start_date=datetime(2024, 1, 1))", "30 2"),
    ("a trigger rule that is none", "EmptyOperator(task_id='t', trigger_rule='never')", "trigger_rule takes one of"),
    ("no start date", "DAG('d', schedule='@daily')", "needs a start_date"),
    ("a param that is no JSON", "DAG('d', schedule=None, params={'p': object()})", "param 'p' cannot be stored"),
    (
        "a default that does not fit",
        "DAG('d', schedule='@daily', start_date=datetime(2024, 1, 1), params={'p': Param('x', type='integer')})",
        "param 'p' has a default that does not fit: 'x' is not of type integer",
    ),
    (
        "a scheduled param without default",
        "DAG('d', schedule='@daily', start_date=datetime(2024, 1, 1), params={'p': Param(type='integer')})",
        "param 'p' has no default",
    ),
    (
        "a cycle",
        "with DAG('d', schedule=None):\n a, b = EmptyOperator(task_id='a'), EmptyOperator(task_id='b')\n a >> b >> a",
        "cycle: a >> b >> a",
    ),
    (
        "a task id twice",
        "with DAG('d', schedule=None):\n EmptyOperator(task_id='a')\n EmptyOperator(task_id='a')",
        r"line 8: The task id 'a' is used twice in DAG 'd'.*first is at line 7",
    ),
    (
        "a dag_id twice",
        "with DAG('d', schedule=None): pass\nwith DAG('d', schedule=None): pass",
        r"line 7: the dag_id 'd' is used twice in this file \(first at line 6\)",
    ),
    ("continuous", "DAG('d', schedule='@continuous', start_date=datetime(2024, 1, 1))", "needs max_active_runs=1"),
]


@pytest.mark.parametrize(("what", "body", "message"), BROKEN, ids=[what for what, _, _ in BROKEN])
def test_bad_files_get_one_sentence_with_file_and_line(tmp_path: Path, what: str, body: str, message: str) -> None:
    if body.startswith("DAG("):
        body = "d = " + body
    found = parsed(tmp_path, HEAD + body)
    assert found.dags == ()
    assert re.search(message, found.error), found.error
    assert "example.py, line" in found.error
    assert "\n" not in found.error
    assert found.traceback


def test_the_traceback_shows_the_authors_lines_only(tmp_path: Path) -> None:
    (tmp_path / "helping.py").write_text("def check(x):\n    return x['missing']\n")
    found = parsed(tmp_path, HEAD + "from helping import check\ncheck({})\n")
    assert 'example.py", line 7' in found.traceback
    assert 'helping.py", line 2' in found.traceback
    assert "execplane/sdk" not in found.traceback


def test_a_broken_file_says_so_when_a_worker_wants_its_dag(tmp_path: Path) -> None:
    with pytest.raises(DagImportError, match=r"example\.py cannot be imported: .*ZeroDivisionError"):
        loaded(tmp_path, HEAD + "1 / 0").dag("d")


def test_a_failed_import_leaves_nothing_for_the_next_file(tmp_path: Path) -> None:
    loaded(tmp_path, HEAD + "with DAG('broken', schedule=None):\n    1 / 0")
    found = loaded(tmp_path, HEAD + "d = DAG('fine', schedule=None)\nEmptyOperator(task_id='alone')", "second.py")
    assert sorted(found.dags) == ["fine"]
    assert found.dag("fine").task_dict == {}


def test_a_missing_schedule_is_a_warning(tmp_path: Path) -> None:
    found = parsed(tmp_path, HEAD + "d = DAG('d')")
    assert found.error == ""
    assert found.dags[0].timetable.kind == "none"
    assert "runs only by hand" in found.warnings[0]
    assert "example.py, line 6" in found.warnings[0]


def test_catchup_and_semantics_come_from_the_dag_and_else_from_the_deployment(tmp_path: Path) -> None:
    source = HEAD + (
        "start = datetime(2024, 1, 1)\n"
        "a = DAG('a', schedule='@daily', start_date=start)\n"
        "b = DAG('b', schedule='@daily', start_date=start, catchup=False, timetable_semantics='interval')\n"
        "c = DAG('c', schedule='@daily', start_date=start, catchup=True, timetable_semantics='instant')\n"
    )

    def seen(defaults: Defaults) -> dict[str, tuple[bool, str]]:
        specs = parsed(tmp_path, source, defaults=defaults).dags
        return {spec.dag_id: (spec.catchup, spec.timetable.semantics) for spec in specs}

    assert seen(Defaults()) == {"a": (False, "interval"), "b": (False, "interval"), "c": (True, "instant")}
    changed = Defaults(catchup=True, timetable_semantics="instant")
    assert seen(changed) == {"a": (True, "instant"), "b": (False, "interval"), "c": (True, "instant")}


def test_deployment_defaults_are_read_from_the_environment() -> None:
    assert Defaults.from_environment({}) == Defaults()
    given = {"EXECPLANE_TIMETABLE_SEMANTICS": "instant", "EXECPLANE_CATCHUP_BY_DEFAULT": "true"}
    assert Defaults.from_environment(given) == Defaults(timetable_semantics="instant", catchup=True)


def test_equal_files_give_equal_bytes_in_processes_with_other_hash_seeds() -> None:
    files = sorted(str(path) for path in (REPOSITORY / "examples").glob("*.py") if "k8s" not in path.name)
    code = (
        "import sys; from execplane.sdk.loader import parse_file; from execplane.contract.dag import encode_dag\n"
        "from execplane.sdk.options import Defaults\n"
        "for file in sys.argv[1:]:\n"
        f"    found = parse_file(file, {str(REPOSITORY / 'examples')!r}, defaults=Defaults())\n"
        "    sys.stdout.buffer.write(b''.join(encode_dag(spec) + b'\\n' for spec in found.dags))\n"
    )
    outputs = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code, *files], capture_output=True, cwd=REPOSITORY, env=env, check=True
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == len(files)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_a_dag_file_that_can_be_stored(path: Path) -> None:
    found = parse_file(path, REPOSITORY / "examples", defaults=Defaults())
    assert (found.error, found.warnings) == ("", ())
    assert len(found.dags) == 1
    spec = found.dags[0]
    assert spec.dag_id == path.stem
    assert spec.file == path.name
    assert spec.tasks
    assert decode_dag(encode_dag(spec)) == spec
    assert all(task.line > 0 for task in spec.tasks)


def test_the_article_dags_pod_override_is_the_pod_the_api_server_takes() -> None:
    path = REPOSITORY / "examples" / "k8s_executor_example.py"
    spec = parse_file(path, path.parent, defaults=Defaults()).dags[0]
    assert spec.tasks[0].executor_config == {
        "pod_override": {
            "metadata": {"labels": {"purpose": "pod-override-example"}},
            "spec": {"containers": [{"name": "base", "env": [{"name": "STATE", "value": "wa"}]}]},
        }
    }
    assert (spec.timetable.description, spec.catchup) == ("@daily", False)


def test_the_slides_dag_reads_as_in_airflow() -> None:
    path = REPOSITORY / "examples" / "example_dag_two.py"
    spec = parse_file(path, path.parent, defaults=Defaults()).dags[0]
    assert (spec.max_active_runs, spec.timetable.delta_seconds) == (3, 300.0)
    assert [(task.task_id, task.owner, task.retries, task.retry_delay_seconds) for task in spec.tasks] == [
        ("echo_env", "schnie", 1, 300.0),
        ("print_date2", "schnie", 1, 300.0),
    ]
