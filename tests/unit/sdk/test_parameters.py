"""Every accepted parameter has an effect: each row of the tables has a test here, and nothing else passes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import DagImportError
from execplane.sdk import (
    DAG,
    BaseOperator,
    BaseSensorOperator,
    BashOperator,
    EmptyOperator,
    PythonOperator,
    TaskGroup,
    accepting,
    groups,
    operator_parameters,
    operators,
    parameters,
    reference,
    sensors,
)
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import START, claim, new_dag, result, run_task, spec_of

REPOSITORY = Path(__file__).parents[3]
Probe = Callable[[dict[str, Any]], Any]


def task_spec(field: str, **more: Any) -> Probe:
    """The TaskSpec's field, of a task that is given the parameter."""

    def probe(given: dict[str, Any]) -> Any:
        with new_dag() as dag:
            EmptyOperator(**{"task_id": "probed", **more, **given})
        return getattr(serialise(dag, defaults=Defaults()).tasks[0], field)

    return probe


def called_by(ending: Callable[..., Any], **run: Any) -> Probe:
    """How often the callback that is the parameter's value was called, when the task ends as `ending` does."""

    def probe(given: dict[str, Any]) -> Any:
        calls: list[Any] = []
        filled = {name: (lambda *args: calls.append(args)) for name in given}
        arguments: dict[str, Any] = {"task_id": "probed", "python_callable": ending, **filled}
        with new_dag() as dag:
            PythonOperator(**arguments)
        run_task(dag, "probed", **run)
        return len(calls)

    return probe


def fail() -> None:
    raise ValueError("no")


def skip() -> None:
    from execplane.sdk import AirflowSkipException

    raise AirflowSkipException("not today")


def environment_variable(name: str) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        with new_dag() as dag:
            PythonOperator(task_id="probed", python_callable=lambda: os.environ.get(name), **given)
        return result(run_task(dag, "probed"))

    return probe


def pushed_keys(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: {"a": 1}, **given)
    return sorted(value.key for value in run_task(dag, "probed").xcoms)


def timed_out(given: dict[str, Any]) -> Any:
    def work() -> str:
        import threading

        try:
            threading.Event().wait(0.3)
        except Exception:
            return "swallowed"
        return "finished"

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=work, **given)
    return run_task(dag, "probed").outcome


def params_seen(given: dict[str, Any]) -> Any:
    with new_dag(params={"size": 1}) as dag:
        PythonOperator(task_id="probed", python_callable=lambda params: params, **given)
    return result(run_task(dag, "probed"))


def logger_used(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        EmptyOperator(task_id="probed", **given)
    return dag.task_dict["probed"].log.name


def dag_of(given: dict[str, Any]) -> Any:
    other = new_dag("other")
    filled = dict.fromkeys(given, other)
    return EmptyOperator(task_id="probed", **filled).dag_id


def group_of(given: dict[str, Any]) -> Any:
    with new_dag():
        filled = {name: TaskGroup("group") for name in given}
        return EmptyOperator(task_id="probed", **filled).task_id


def index_template(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        BashOperator.partial(task_id="probed", **given).expand(bash_command=["true"])
    mapped = spec_of(dag, "probed").mapped
    assert mapped is not None
    return mapped.index_template


no_mail = {"email_on_failure": False, "email_on_retry": False}

OPERATOR_EFFECTS: dict[str, tuple[Any, Probe, Any]] = {
    # name: (a value, what is looked at, what is found there; without the parameter it must be another)
    "task_id": ("renamed", task_spec("task_id"), "renamed"),
    "task_display_name": ("Renamed", task_spec("label"), "Renamed"),
    "owner": ("ann", environment_variable("AIRFLOW_CTX_DAG_OWNER"), "ann"),
    "email": (["a@b.c", "d@e.f"], environment_variable("AIRFLOW_CTX_DAG_EMAIL"), "a@b.c,d@e.f"),
    "retries": (3, task_spec("retries"), 3),
    "retry_delay": (timedelta(seconds=7), task_spec("retry_delay_seconds"), 7.0),
    "retry_exponential_backoff": (True, task_spec("retry_exponential_backoff"), 2.0),
    "max_retry_delay": (60, task_spec("max_retry_delay_seconds"), 60.0),
    "start_date": (datetime(2025, 1, 1), task_spec("start_date"), datetime(2025, 1, 1, tzinfo=UTC)),
    "end_date": (datetime(2025, 1, 1), task_spec("end_date"), datetime(2025, 1, 1, tzinfo=UTC)),
    "depends_on_past": (True, task_spec("depends_on_past"), True),
    "ignore_first_depends_on_past": (False, task_spec("ignore_first_depends_on_past"), False),
    "wait_for_downstream": (True, task_spec("wait_for_downstream"), True),
    "dag": (None, dag_of, "other"),
    "task_group": (None, group_of, "group.probed"),
    "default_args": ({"retries": 4}, task_spec("retries"), 4),
    "params": ({"size": 2}, params_seen, {"size": 2}),
    "priority_weight": (9, task_spec("priority_weight"), 9),
    "weight_rule": ("absolute", task_spec("weight_rule"), "absolute"),
    "queue": ("gpu", task_spec("queue"), "gpu"),
    "pool": ("db", task_spec("pool"), "db"),
    "pool_slots": (2, task_spec("pool_slots"), 2),
    "execution_timeout": (timedelta(milliseconds=50), timed_out, "timeout"),
    "on_execute_callback": (None, called_by(lambda: 1), 1),
    "on_success_callback": (None, called_by(lambda: 1), 1),
    "on_failure_callback": (None, called_by(fail), 1),
    "on_retry_callback": (None, called_by(fail, answer=claim(max_tries=2)), 1),
    "on_skipped_callback": (None, called_by(skip), 1),
    "pre_execute": (None, called_by(lambda: 1), 1),
    "post_execute": (None, called_by(lambda: 1), 1),
    "trigger_rule": ("one_failed", task_spec("trigger_rule"), "one_failed"),
    "resources": ({"cpus": 2}, task_spec("resources"), {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}),
    "executor": ("kubernetes", task_spec("executor"), "kubernetes"),
    "executor_config": (
        {"pod_override": {"spec": {"x": None}}},
        task_spec("executor_config"),
        {"pod_override": {"spec": {"x": None}}},
    ),
    "do_xcom_push": (False, pushed_keys, []),
    "multiple_outputs": (True, pushed_keys, ["a", "return_value"]),
    "max_active_tis_per_dag": (2, task_spec("max_active_tis_per_dag"), 2),
    "max_active_tis_per_dagrun": (2, task_spec("max_active_tis_per_dagrun"), 2),
    "map_index_template": ("{{ x }}", index_template, "{{ x }}"),
    "logger_name": ("mine", logger_used, "mine"),
    "doc_md": ("# Doc", task_spec("doc_md"), "# Doc"),
}
ALWAYS_GIVEN = {"email": no_mail}


@pytest.mark.parametrize("name", sorted(OPERATOR_EFFECTS))
def test_each_operator_parameter_has_its_effect(name: str) -> None:
    value, probe, expected = OPERATOR_EFFECTS[name]
    extra = ALWAYS_GIVEN.get(name, {})
    assert probe({name: value, **extra}) == expected
    assert probe({}) != expected


@pytest.mark.parametrize("name", sorted(set(OPERATOR_EFFECTS) - {"task_id", "dag", "task_group", "default_args"}))
def test_each_operator_parameter_is_taken_from_default_args(name: str) -> None:
    value, probe, expected = OPERATOR_EFFECTS[name]
    if probe in (dag_of, group_of) or name.endswith("_callback") or name in ("pre_execute", "post_execute"):
        value = (lambda *args: None) if value is None else value
    with new_dag(default_args={name: value, **ALWAYS_GIVEN.get(name, {})}) as dag:
        task = EmptyOperator(task_id="probed")
    row = next(row for row in parameters.OPERATOR if row.name == name)
    if name == "params":
        assert dict(dag.params) == value  # the DAG's default_args may hold params for all
        return
    found = getattr(task, row.stored_as)
    if name == "resources":
        assert found == expected
        return
    assert found == row.check(value)
    assert found != row.check(row.default) if row.default is not None else found


def test_the_table_of_operator_effects_is_the_table_of_parameters() -> None:
    assert set(OPERATOR_EFFECTS) == {row.name for row in parameters.OPERATOR}


@pytest.mark.parametrize("row", [row for row in parameters.OPERATOR if row.aliases], ids=lambda row: row.name)
def test_old_names_of_operator_parameters_mean_the_same(row: accepting.Parameter) -> None:
    value, probe, expected = OPERATOR_EFFECTS[row.name]
    for alias in row.aliases:
        assert probe({alias: value}) == expected
    with pytest.raises(DagImportError, match="mean the same"):
        probe({row.name: value, row.aliases[0]: value})


# ---- DAG -----------------------------------------------------------------------------------------------------------


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


# ---- TaskGroup -----------------------------------------------------------------------------------------------------


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


# ---- refusals ------------------------------------------------------------------------------------------------------

REFUSED_VALUES: dict[str, Any] = {
    "sla": timedelta(hours=1), "run_as_user": "root", "inlets": ["x"], "outlets": ["x"],
    "allow_nested_operators": False, "on_success_callback": print, "on_failure_callback": print,
    "max_consecutive_failed_dag_runs": 3,
}  # fmt: skip


@pytest.mark.parametrize("row", parameters.OPERATOR_REFUSED, ids=lambda row: row.name)
def test_each_refused_operator_parameter_names_file_line_and_what_to_use(row: accepting.Refused) -> None:
    with new_dag(), pytest.raises(DagImportError) as caught:
        EmptyOperator(task_id="probed", **{row.name: REFUSED_VALUES.get(row.name, "yes")})
    assert "test_parameters.py, line " in caught.value.message
    assert f"'{row.name}'" in caught.value.message
    assert "'probed'" in caught.value.message
    assert caught.value.hint == row.advice


@pytest.mark.parametrize("row", parameters.OPERATOR_REFUSED, ids=lambda row: row.name)
def test_a_refused_parameter_passes_with_a_value_that_asks_for_nothing(row: accepting.Refused) -> None:
    for number, value in enumerate(row.harmless):
        with new_dag(f"harmless_{number}"):
            EmptyOperator(task_id="probed", **{row.name: value})


@pytest.mark.parametrize("row", parameters.DAG_REFUSED, ids=lambda row: row.name)
def test_each_refused_dag_parameter_names_line_and_what_to_use(row: accepting.Refused) -> None:
    with pytest.raises(DagImportError, match=rf"line \d+: DAG 'example'.*'{row.name}'") as caught:
        new_dag(**{row.name: REFUSED_VALUES.get(row.name, "yes")})
    assert caught.value.hint == row.advice
    for value in row.harmless:
        new_dag(**{row.name: value})


def test_a_refused_parameter_in_default_args_is_refused_too() -> None:
    with new_dag(default_args={"sla": timedelta(hours=1)}), pytest.raises(DagImportError, match="'sla'"):
        EmptyOperator(task_id="probed")


def test_an_unknown_parameter_is_named_with_the_nearest_known_one() -> None:
    with new_dag(), pytest.raises(DagImportError, match=r"has no parameter 'retires'.*Did you mean 'retries'"):
        EmptyOperator(task_id="probed", retires=3)
    with new_dag(), pytest.raises(DagImportError, match=r"'bash_comand'|lacks the parameter 'bash_command'"):
        BashOperator(task_id="probed", bash_comand="true")  # type: ignore[call-arg]
    with pytest.raises(DagImportError, match=r"'schedul'.*Did you mean 'schedule'"):
        DAG("example", schedul="@daily")


def test_unknown_keys_of_default_args_are_left_alone_as_in_airflow() -> None:
    with new_dag(default_args={"my_own_key": 1, "bash_command": "echo from default_args"}) as dag:
        EmptyOperator(task_id="empty")
        BashOperator(task_id="bash")  # type: ignore[call-arg]
    assert result(run_task(dag, "bash")) == "echo from default_args".removeprefix("echo ")


def test_mail_that_would_be_sent_is_refused_and_mail_that_is_off_is_not() -> None:
    with new_dag(), pytest.raises(DagImportError, match="sends no mail"):
        EmptyOperator(task_id="probed", email="a@b.c")
    with new_dag(), pytest.raises(DagImportError, match="'email_on_failure'"):
        EmptyOperator(task_id="probed", email_on_failure=True)
    with new_dag(default_args={"email": ["a@b.c"], "email_on_failure": False, "email_on_retry": False}):
        EmptyOperator(task_id="probed")


WRONG: list[tuple[str, Any]] = [
    ("retries", -1), ("retries", "3"), ("retries", True), ("retry_delay", "5m"), ("retry_delay", timedelta(-1)),
    ("retry_exponential_backoff", 0.5), ("execution_timeout", 60), ("execution_timeout", timedelta(0)),
    ("depends_on_past", "yes"), ("pool_slots", 0), ("pool", ""), ("queue", 7), ("priority_weight", 1.5),
    ("weight_rule", "sideways"), ("trigger_rule", "sometimes"), ("trigger_rule", "all_done_setup_success"),
    ("on_failure_callback", "notify"), ("start_date", "yesterday"), ("task_id", "with space"), ("task_id", "x" * 251),
    ("max_active_tis_per_dag", 0), ("resources", {"cpu": 1}), ("resources", {"cpus": "many"}), ("executor", ""),
    ("executor_config", {"pod": {}}), ("executor_config", "gpu"), ("params", 3), ("owner", 5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_value_of_the_wrong_kind_is_refused_with_file_line_and_name(name: str, value: Any) -> None:
    with new_dag(), pytest.raises(DagImportError) as caught:
        EmptyOperator(**{"task_id": "probed", name: value})
    assert "test_parameters.py, line " in caught.value.message
    assert name.split("_")[0] in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_active_runs", 0), ("catchup", "no"), ("tags", "one"), ("default_args", ["x"]), ("dag_id", "a b"),
        ("timetable_semantics", "3"), ("dagrun_timeout", 60), ("params", [1]), ("owner_links", "x"),
        ("owner_links", {"ann": "javascript:alert(1)"}),
    ],
)  # fmt: skip
def test_a_dag_value_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DagImportError, match=rf"line \d+: .*{name}"):
        new_dag(**{name: value})


def test_a_wrong_value_assigned_after_construction_is_found_when_the_dag_is_stored() -> None:
    with new_dag() as dag:
        task = EmptyOperator(task_id="probed")
    task.trigger_rule = "sometimes"  # type: ignore[assignment]
    with pytest.raises(DagImportError, match="trigger_rule takes one of"):
        serialise(dag, defaults=Defaults())
    task.trigger_rule = "all_done"  # type: ignore[assignment]
    assert spec_of(dag, "probed").trigger_rule == "all_done"


# ---- the operators' own, and the reference ---------------------------------------------------------------------------


def find_class(name: str) -> type[BaseOperator]:
    for module in (operators, sensors):
        try:
            found: type[BaseOperator] = getattr(module, name)
            return found
        except AttributeError:
            continue
    raise AssertionError(name)


@pytest.mark.parametrize("name", sorted(operator_parameters.CLASSES))
def test_the_rows_of_each_operator_are_its_signature(name: str) -> None:
    cls = find_class(name)
    expected: dict[str, Any] = {}
    for base in cls.__mro__:
        if base in (BaseOperator, object) or "__init__" not in base.__dict__:
            continue
        for p in list(inspect.signature(base.__dict__["__init__"]).parameters.values())[1:]:
            if p.kind is p.KEYWORD_ONLY:
                expected.setdefault(p.name, None if p.default is p.empty else p.default)
    rows = {row.name: row.default for row in operator_parameters.CLASSES[name]}
    assert rows == expected


def test_every_operator_that_can_be_imported_is_in_the_reference() -> None:
    served = set(operators._WHERE) | set(sensors._WHERE)
    assert served - set(operator_parameters.CLASSES) == {"DummyOperator", "PokeReturnValue"}
    assert issubclass(find_class("PythonSensor"), BaseSensorOperator)


def test_the_reference_is_up_to_date() -> None:
    written = (REPOSITORY / "docs" / "sdk-parameters.md").read_text()
    assert written == reference.render(), "run: python -m execplane.sdk.reference > docs/sdk-parameters.md"
