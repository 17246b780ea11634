"""Until when a DAG is scheduled, and how much of it runs at once: where Airflow says it in more than one place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from execplane.sdk import DAG, EmptyOperator
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import new_dag, parsed

MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)


def end_of(dag: DAG) -> datetime | None:
    return serialise(dag, defaults=Defaults()).end_date


def with_tasks(*ends: datetime | None, **kwargs: Any) -> DAG:
    with new_dag(schedule="@daily", **kwargs) as dag:
        for number, end in enumerate(ends):
            EmptyOperator(task_id=f"t{number}", **({"end_date": end} if end else {}))
    return dag


def test_an_end_date_in_default_args_ends_the_dag() -> None:
    assert end_of(with_tasks(None, None, default_args={"end_date": MAY})) == MAY


def test_a_dag_whose_every_task_ends_ends_with_the_last_of_them() -> None:
    assert end_of(with_tasks(JUNE, MAY)) == JUNE
    assert end_of(with_tasks(JUNE, None, default_args={"end_date": MAY})) == JUNE


def test_one_task_without_an_end_keeps_the_dag_going() -> None:
    assert end_of(with_tasks(MAY, None)) is None
    assert end_of(new_dag()) is None


def test_the_dags_own_end_date_wins_over_its_tasks() -> None:
    assert end_of(with_tasks(JUNE, JUNE, end_date=MAY)) == MAY


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ("concurrency=3", True),
        ("concurrency=3, max_active_runs=1", False),
        ("max_active_tasks=3", False),
    ],
)
def test_concurrency_warns_where_it_limits_something_else_than_in_airflow_2(
    tmp_path: Path, given: str, warned: bool
) -> None:
    found = parsed(tmp_path, f"from execplane import DAG\ndag = DAG('example', schedule=None, {given})\n")
    assert [warning.partition(":")[0] for warning in found.warnings] == ["example.py, line 2"] * warned
    assert not warned or "limits each run by itself" in found.warnings[0]
