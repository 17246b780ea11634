"""The house's walls: who writes states, who imports whom, how long a file may grow."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "execplane"
MAY_WRITE_STATES = (
    PACKAGE / "store" / "transitions",
    PACKAGE / "store" / "retention.py",
    PACKAGE / "store" / "retention",
)
STATE_TABLES = {"Attempt", "TaskInstance", "DagRun", "AttemptEvent"}
STATE_RELATIONS = {"attempts", "task_instances", "runs"}
WRITES = {
    "save", "update", "delete", "create", "get_or_create", "update_or_create", "bulk_create", "bulk_update",
    "_raw_delete",
    "asave", "aupdate", "adelete", "acreate", "abulk_create", "abulk_update", "raw",
}  # fmt: skip
STATE_SQL = ("execplane_attempt", "execplane_taskinstance", "execplane_dagrun", "store_attempt", "store_dagrun")
MOST_LINES = 450


def sources() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "migrations" not in path.parts and "__pycache__" not in path.parts:
            yield path


def forbidden_writes(tree: ast.AST) -> Iterator[str]:
    """Writes to state tables, by name: directly on the model, through what was assigned from it, by raw SQL."""
    tainted = set(_tainted_names(tree))
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in WRITES and _touches_state(called.value, tainted):
            yield f"line {called.lineno}: .{called.attr}("
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.lower()
            if any(table in text for table in STATE_SQL) and any(
                verb in text for verb in ("insert ", "update ", "delete ")
            ):
                yield f"line {node.lineno}: raw SQL"


def _tainted_names(tree: ast.AST) -> Iterator[str]:
    names: set[str] = set()
    for _ in range(3):  # assignments from assignments
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and _touches_state(node.value, names):
                for target in node.targets:
                    names |= {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}
            elif isinstance(node, ast.For) and _touches_state(node.iter, names):
                names |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
    yield from names


def _touches_state(node: ast.AST, tainted: set[str]) -> bool:
    """Whether the chain of calls and attributes begins at a state table, or goes over a relation to one."""
    while True:
        if isinstance(node, ast.Name):
            return node.id in STATE_TABLES or node.id in tainted
        if isinstance(node, ast.Attribute):
            if node.attr in STATE_TABLES | STATE_RELATIONS:
                return True
            node = node.value
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                return node.func.id in STATE_TABLES or (
                    node.func.id == "list" and any(_touches_state(arg, tainted) for arg in node.args)
                )
            node = node.func
        elif isinstance(node, (ast.Subscript, ast.Starred, ast.Await)):
            node = node.value
        else:
            return False


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_transitions_write_states(path: Path) -> None:
    if any(path.is_relative_to(place) for place in MAY_WRITE_STATES):
        return
    assert list(forbidden_writes(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        "Attempt.objects.filter(pk=1).update(state='x')",
        "models.Attempt.objects.all().delete()",
        "rows = Attempt.objects.filter(pk=1)\nrows.exclude(pk=2).update(state='x')",
        "row = DagRun.objects.get(pk=1)\nrow.state = 'x'\nrow.save()",
        "for row in TaskInstance.objects.all():\n    row.save()",
        "TaskInstance(pk=1).save()",
        "run.task_instances.update(state='x')",
        "cursor.execute('UPDATE execplane_attempt SET state = 1')",
        "Attempt.objects.bulk_update(rows, ['state'])",
    ],
)
def test_a_planted_write_is_found(line: str) -> None:
    assert list(forbidden_writes(ast.parse(line))) != []


def test_reading_states_is_free() -> None:
    harmless = (
        "rows = Attempt.objects.filter(pk=1).values_list('pk')\nseen = {}\nseen.update(rows)\nDag.objects.update(x=1)"
    )
    assert list(forbidden_writes(ast.parse(harmless))) == []


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    count = len(path.read_text().splitlines())
    # One table of rows, a row a parameter: nothing in it is read in one go.
    assert count <= MOST_LINES or path == PACKAGE / "sdk" / "parameters.py", f"{count} lines"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_contract_loads_neither_the_sdk_nor_django() -> None:
    modules = (
        "states, keys, dag, messages, workload, observations, executor, loops, logs, errors, clock, process, blobs"
    )
    loaded = loaded_by(f"import execplane.contract\nfrom execplane.contract import {modules}")

    assert not [name for name in loaded if name.split(".")[0] in ("django", "kubernetes", "pydantic", "psycopg")]
    assert not [name for name in loaded if name.startswith("execplane.") and not name.startswith("execplane.contract")]


def test_the_package_itself_loads_nothing_of_ours() -> None:
    loaded = loaded_by("import execplane")

    assert [name for name in loaded if name.startswith("execplane.")] == []
    assert "django" not in loaded


def test_a_dag_author_gets_the_sdk_from_the_package() -> None:
    loaded = loaded_by("from execplane import DAG")

    assert "execplane.sdk" in loaded
    assert "django" not in loaded


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("contract/keys.py", "import execplane.store.database"),
        ("store/audit.py", "from execplane.actions import dags"),
        ("sdk/log.py", "from execplane import config"),
        ("worker/endings.py", "import django"),
        ("executors/sequential.py", "from execplane.store import launch_rows"),
        ("pods/fields.py", "import kubernetes"),
        ("scheduler/weights.py", "from execplane.store.models import Attempt"),
        ("web/words.py", "from execplane.api.worker import tokens"),
    ],
)
def test_a_planted_forbidden_import_is_found(tmp_path: Path, module: str, line: str) -> None:
    copy = tmp_path / "execplane"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "static", "templates", "migrations"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    target = copy / module
    future = "from __future__ import annotations\n"
    assert future in target.read_text()
    target.write_text(target.read_text().replace(future, f"{future}\n{line}\n", 1))

    done = lint_imports(tmp_path)

    assert done.returncode != 0, done.stdout
    assert "BROKEN" in done.stdout, done.stdout + done.stderr


def test_every_room_is_under_a_contract() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    layers = config["importlinter:contract:rooms"]["layers"]
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}

    named = {word.split(".")[1] for word in layers.replace("|", " ").replace(":", " ").split() if "." in word}
    # The sdk and the worker run in another process and have contracts of their own.
    assert rooms - named - {"sdk", "worker"} <= {"metrics"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
