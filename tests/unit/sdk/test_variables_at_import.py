"""What a DAG file asks for while it is imported, and what of it must not be shown."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from execplane.sdk import masking, services
from execplane.sdk.loader import literal_names, load_file, parse_file

HEAD = "from execplane import DAG\nfrom execplane.sdk.variables import Variable\n"


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    masking.forget()
    yield
    masking.forget()


def file(folder: Path, text: str) -> Path:
    path = folder / "asking.py"
    path.write_text(HEAD + text)
    return path


def test_what_it_got_and_what_it_lacked_is_told(tmp_path: Path) -> None:
    path = file(tmp_path, "A = Variable.get('a')\nB = Variable.get('b', None)\nwith DAG(A): pass\n")
    parsed = parse_file(path, tmp_path, {"a": "found"})
    assert ([dag.dag_id for dag in parsed.dags], parsed.variables) == (["found"], ("a", "b"))


def test_one_that_ends_at_the_first_it_lacks_tells_the_others_too(tmp_path: Path) -> None:
    path = file(tmp_path, "A = Variable.get('a')\nB = Variable.get('b')\n")
    parsed = parse_file(path, tmp_path)
    assert "Variable 'a' does not exist" in parsed.error
    assert parsed.variables == ("a", "b")


def test_names_in_tasks_are_none_of_the_imports_business() -> None:
    tree = ast.parse("""
Variable.get("top")
models.Variable.get("served", default_var=1)
Variable.get(computed)
if x:
    Variable.get("inside")
@dag(schedule=None)
def pipeline():
    Variable.get("in_dag")
    @task
    def work():
        Variable.get("in_task")
def later():
    Variable.get("in_function")
later = lambda: Variable.get("in_lambda")
""")
    assert literal_names(tree) == {"top", "served", "inside", "in_dag"}


def test_a_secret_does_not_stand_in_the_import_error_of_parser_or_worker(tmp_path: Path) -> None:
    path = file(tmp_path, "raise ValueError('cannot log in with ' + Variable.get('db_password'))\n")
    with services.use(services.ImportServices({"db_password": "opensesame"})):
        loaded = load_file(path, tmp_path)
    assert "cannot log in with ***" in loaded.error
    assert "opensesame" not in loaded.error + loaded.traceback
