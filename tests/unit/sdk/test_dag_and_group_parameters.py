"""Every parameter of a DAG and of a TaskGroup has an effect: each row of the two tables has a test here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import DagImportError
from execplane.sdk import (
    DAG,
    EmptyOperator,
    PythonOperator,
    TaskGroup,
    accepting,
    groups,
    parameters,
)
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import START, new_dag, result, run_task

Probe = Callable[[dict[str, Any]], Any]


def dag_spec(field: str, **more: Any) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        dag = DAG(**{"dag_id": "example", "schedule": None, **more, **given})
        return getattr(serialise(dag, defaults=Defaults()), field)

    return probe


def timetable(field: str) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        dag = DAG(**{"dag_id": "example", "start_date": START, **given})
        return getattr(serialise(dag, defaults=Defaults()).timetable, field)

    return probe


def rendered(template: str) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        with new_dag(**given) as dag:
            PythonOperator(task_id="probed", python_callable=lambda x: x, op_args=[template])
        outcome = run_task(dag, "probed")
        return result(outcome) if outcome.outcome == "success" else outcome.outcome

    return probe


def registers(given: dict[str, Any]) -> Any:
    from execplane.sdk import scope

    with new_dag(**given) as dag:
        return dag in scope.registered


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("searched")
    (found / "query.sql").write_text("SELECT 1")
    return found


def from_file(given: dict[str, Any]) -> Any:
    with new_dag(**given) as dag:
        PythonOperator(task_id="probed", python_callable=lambda x: x, op_args=["query.sql"], templates_exts=[".sql"])
    outcome = run_task(dag, "probed")
    return result(outcome) if outcome.outcome == "success" else outcome.outcome


def default_retries(given: dict[str, Any]) -> Any:
    with new_dag(**given):
        return EmptyOperator(task_id="probed").retries


pod = {"pod_override": {"metadata": {"labels": {"a": "b"}}}}
DAG_EFFECTS: dict[str, tuple[Any, Probe, Any]] = {
    "dag_id": ("renamed", dag_spec("dag_id"), "renamed"),
    "description": ("What it does", dag_spec("description"), "What it does"),
    "schedule": ("@weekly", timetable("expression"), "0 0 * * 0"),
    "start_date": (datetime(2024, 5, 5), dag_spec("start_date"), datetime(2024, 5, 5, tzinfo=UTC)),
    "end_date": (datetime(2024, 5, 5), dag_spec("end_date"), datetime(2024, 5, 5, tzinfo=UTC)),
    "timetable_semantics": ("instant", timetable("semantics"), "instant"),
    "catchup": (True, dag_spec("catchup"), True),
    "max_active_runs": (1, dag_spec("max_active_runs"), 1),
    "max_active_tasks": (3, dag_spec("max_active_tasks"), 3),
    "dagrun_timeout": (timedelta(hours=1), dag_spec("dagrun_timeout_seconds"), 3600.0),
    "default_args": ({"retries": 5}, default_retries, 5),
    "params": ({"x": 1}, rendered("{{ params.x }}"), "1"),
    "tags": (["b", "a", "b"], dag_spec("tags"), ("a", "b")),
    "owner_links": ({"ann": "mailto:a@b.c"}, dag_spec("owner_links"), {"ann": "mailto:a@b.c"}),
    "doc_md": ("# Doc", dag_spec("doc_md"), "# Doc"),
    "dag_display_name": ("Shown", dag_spec("display_name"), "Shown"),
    "is_paused_upon_creation": (True, dag_spec("is_paused_upon_creation"), True),
    "fail_fast": (True, dag_spec("fail_fast"), True),
    "render_template_as_native_obj": (True, rendered("{{ [1, 2] }}"), [1, 2]),
    "template_searchpath": (None, from_file, "SELECT 1"),
    "user_defined_macros": ({"two": lambda: 2}, rendered("{{ two() }}"), "2"),
    "user_defined_filters": ({"loud": str.upper}, rendered("{{ 'x' | loud }}"), "X"),
    "jinja_environment_kwargs": (
        {"variable_start_string": "<<", "variable_end_string": ">>"},
        rendered("<< 1 >>"),
        "1",
    ),
    "executor_config": (pod, dag_spec("executor_config"), pod),
    "auto_register": (False, registers, False),
}


@pytest.mark.parametrize("name", sorted(DAG_EFFECTS))
def test_each_dag_parameter_has_its_effect(name: str, folder: Path) -> None:
    value, probe, expected = DAG_EFFECTS[name]
    if name == "template_searchpath":
        value = str(folder)
    assert probe({name: value}) == expected
    assert probe({}) != expected


def test_the_table_of_dag_effects_is_the_table_of_parameters() -> None:
    assert set(DAG_EFFECTS) == {row.name for row in parameters.DAG}


@pytest.mark.parametrize("row", [row for row in parameters.DAG if row.aliases], ids=lambda row: row.name)
def test_old_names_of_dag_parameters_mean_the_same(row: accepting.Parameter) -> None:
    value, probe, expected = DAG_EFFECTS[row.name]
    for alias in row.aliases:
        assert probe({alias: value}) == expected


def group_spec(field: str) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        with new_dag() as dag, TaskGroup(**{"group_id": "group", **given}):
            pass
        return getattr(serialise(dag, defaults=Defaults()).groups[0], field)

    return probe


def id_inside(given: dict[str, Any]) -> Any:
    with new_dag(), TaskGroup("group", **given):
        return EmptyOperator(task_id="inside").task_id


def retries_inside(given: dict[str, Any]) -> Any:
    with new_dag(default_args={"retries": 1}), TaskGroup("group", **given):
        return EmptyOperator(task_id="inside").retries


def parent_of(given: dict[str, Any]) -> Any:
    with new_dag():
        outer = TaskGroup("outer")
        arguments: dict[str, Any] = dict.fromkeys(given, outer)
        return TaskGroup("inner", **arguments).group_id


def dag_of_group(given: dict[str, Any]) -> Any:
    other = new_dag("other")
    with new_dag():
        arguments: dict[str, Any] = dict.fromkeys(given, other)
        return TaskGroup("group", **arguments).dag.dag_id


def second_of_a_name(given: dict[str, Any]) -> Any:
    with new_dag():
        TaskGroup("group")
        try:
            return TaskGroup("group", **given).group_id
        except DagImportError:
            return "refused"


GROUP_EFFECTS: dict[str, tuple[Any, Probe, Any]] = {
    "group_id": ("renamed", group_spec("group_id"), "renamed"),
    "prefix_group_id": (False, id_inside, "inside"),
    "parent_group": (None, parent_of, "outer.inner"),
    "dag": (None, dag_of_group, "other"),
    "default_args": ({"retries": 6}, retries_inside, 6),
    "tooltip": ("About", group_spec("tooltip"), "About"),
    "group_display_name": ("Shown", group_spec("label"), "Shown"),
    "add_suffix_on_collision": (True, second_of_a_name, "group__1"),
}


@pytest.mark.parametrize("name", sorted(GROUP_EFFECTS))
def test_each_group_parameter_has_its_effect(name: str) -> None:
    value, probe, expected = GROUP_EFFECTS[name]
    assert probe({name: value}) == expected
    assert probe({}) != expected


def test_the_table_of_group_effects_is_the_table_of_parameters() -> None:
    assert set(GROUP_EFFECTS) == {row.name for row in groups.TASK_GROUP}
