"""Log files lie in Airflow's layout, and no name leaves its folder."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.logs.paths import escape, log_path


def test_the_layout_is_airflows() -> None:
    task = TaskKey(dag_id="etl", run_id="scheduled__2026-03-01T00:00:00+00:00", task_id="group.load")
    assert log_path(AttemptKey(task=task, attempt_no=2)) == (
        "dag_id=etl/run_id=scheduled__2026-03-01T00:00:00+00:00/task_id=group.load/attempt=2.log"
    )
    mapped = TaskKey(dag_id="etl", run_id="r", task_id="t", map_index=7)
    assert log_path(AttemptKey(task=mapped, attempt_no=1)) == "dag_id=etl/run_id=r/task_id=t/map_index=7/attempt=1.log"


@given(names=st.tuples(st.text(), st.text(), st.text()))
def test_no_name_makes_another_folder_or_a_name_too_long(names: tuple[str, str, str]) -> None:
    path = log_path(AttemptKey(task=TaskKey(dag_id=names[0], run_id=names[1], task_id=names[2]), attempt_no=1))
    parts = PurePosixPath(path).parts
    assert len(parts) == 4
    assert ".." not in parts
    assert "\x00" not in path
    assert all(len(part.encode()) <= 255 for part in parts)


@given(one=st.text(max_size=300), two=st.text(max_size=300))
def test_different_names_stay_different(one: str, two: str) -> None:
    assert (escape(one) == escape(two)) == (one == two)


@pytest.mark.parametrize("shared", ["x" * 300, "ü" * 150])
def test_long_names_with_one_beginning_stay_different(shared: str) -> None:
    assert escape(shared + "a") != escape(shared + "b")
