"""Stored Variables at the top level of DAG files: each file gets what it asks for, and follows what changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from execplane.contract.errors import Unavailable
from tests.unit.parsing.conftest import DAG, Watched

CHAIN = "# airflow dag\nkey = '0'\nwhile key: last, key = key, variable(key)\nDAGS = [last]"
READER = "# airflow dag\nDAGS = [variable('name') or 'default']"


def test_a_file_gets_the_variable_that_it_reads_and_no_other(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.kept = {"name": "mine", "other": "secret"}
    watched.write(a=READER, b=DAG.format("b"))
    watched.look()
    assert set(watched.owners) == {"mine", "b"}
    assert watched.variables.read == [("dags/a.py", "name")]
    assert watched.imported == ["a.py", "b.py"]


def test_a_file_follows_a_variable_that_is_set_changed_and_deleted(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.write(a=READER, b=DAG.format("b"))
    watched.look()
    seen = [set(watched.owners)]
    for value in ("one", "two", None):
        watched.variables.kept = {} if value is None else {"name": value}
        watched.look()
        seen.append(set(watched.owners))
        assert watched.imported == ["a.py"]
    assert seen == [{"default", "b"}, {"one", "b"}, {"two", "b"}, {"default", "b"}]
    watched.variables.kept = {"other": "changed"}
    watched.look()
    assert watched.imported == []


def test_a_changed_file_is_imported_once_with_what_it_read_before(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.kept = {"name": "mine"}
    watched.write(a=READER)
    watched.look()
    watched.write(a=READER + " + ['more']")
    watched.look()
    assert set(watched.owners) == {"mine", "more"}
    assert len(watched.variables.read) == 1


def test_variables_that_lead_to_others_are_followed(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.kept = {str(number): str(number + 1) for number in range(10)}
    watched.write(a=CHAIN)
    watched.look()
    assert set(watched.owners) == {"10"}
    assert sorted(watched.variables.read) == sorted(("dags/a.py", str(number)) for number in range(10)), "once each"


def test_a_file_that_asks_for_others_each_time_is_told_so_and_not_imported_for_ever(
    watch: Callable[..., Watched],
) -> None:
    watched = watch()
    watched.variables.kept = {str(number): str(number + 1) for number in range(50)}
    watched.write(a=CHAIN)
    watched.look()
    assert watched.errors["a.py"].startswith(
        "a.py asked for other stored Variables each time it was imported, 20 times"
    )
    watched.look()
    assert watched.imported == []


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGALRM)"], ids=["dead", "timed out"])
def test_a_file_that_its_variable_kills_is_imported_again_when_that_changes(
    watch: Callable[..., Watched], end: str
) -> None:
    watched = watch()
    watched.variables.kept = {"name": "mine"}
    watched.write(a="# airflow dag\nimport os, signal\nif variable('name') == 'mine': " + end + "\nDAGS = ['a']")
    watched.look()
    assert watched.owners == {}
    watched.variables.kept = {"name": "another"}
    watched.look()
    assert watched.imported == ["a.py"]
    assert (set(watched.owners), watched.errors) == ({"a"}, {})


def test_what_a_file_prints_hides_the_variables_that_it_got(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.kept = {"name": "opensesame"}
    watched.write(
        a="# airflow dag\nimport os\nif variable('name'): print('with', variable('name'), flush=True); os._exit(1)"
    )
    watched.parsing.look(at_once=True)
    found = []
    while watched.parsing.pending:
        found += watched.parsing.collect(10)
    (update,) = found
    assert "with ***" in update.parsed.traceback


def test_a_look_up_that_fails_is_the_error_of_that_file_alone(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.broken = {"odd"}
    watched.write(a="# airflow dag\nvariable('odd')\nDAGS = ['a']", b=DAG.format("b"))
    watched.look()
    assert set(watched.owners) == {"b"}
    assert watched.errors == {"a.py": "a.py reads Variables that cannot be looked up: ValueError."}


def test_a_variable_that_no_key_opens_is_the_error_of_the_files_that_read_it(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.kept = {"name": "mine"}
    watched.variables.lost = {"name"}
    watched.write(a=READER, b=DAG.format("b"))
    watched.look()
    assert set(watched.owners) == {"b"}
    assert watched.errors["a.py"].startswith("a.py reads a Variable. The Variable name was encrypted with a lost key.")
    watched.variables.lost, watched.variables.kept = set(), {"name": "again"}
    watched.look()
    assert (set(watched.owners), watched.errors) == ({"again", "b"}, {})


def test_an_import_that_the_database_kept_from_its_variables_is_not_lost(watch: Callable[..., Watched]) -> None:
    watched = watch()
    watched.variables.kept = {"name": "mine"}
    watched.write(a=READER, b=DAG.format("b"))
    watched.parsing.look(at_once=True)
    watched.variables.away = True
    found = []

    def collect() -> None:
        while watched.parsing.pending:
            found.extend(watched.parsing.collect(10))

    with pytest.raises(Unavailable):
        collect()
    watched.variables.away = False
    collect()
    assert {dag.dag_id for update in found for dag in update.parsed.dags} == {"mine", "b"}
