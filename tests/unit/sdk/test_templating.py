from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from execplane.contract.messages import SecretValue
from execplane.sdk import BashOperator, PythonOperator, literal
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import START, DictServices, claim, loaded, new_dag, result, run_task


def render(value: Any, services: DictServices | None = None, *, answer: Any = None, **dag_kwargs: Any) -> Any:
    with new_dag(**dag_kwargs) as dag:
        PythonOperator(task_id="probed", python_callable=lambda x: x, op_args=[value])
    return result(run_task(dag, "probed", services, answer=answer))


def failure(value: Any, **dag_kwargs: Any) -> str:
    with new_dag(**dag_kwargs) as dag:
        BashOperator(task_id="probed", bash_command=value)
    outcome = run_task(dag, "probed")
    assert outcome.outcome == "failed"
    return outcome.reason


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ ds }} {{ ds_nodash }}", "2024-01-02 20240102"),
        ("{{ ts }}", "2024-01-02T00:00:00+00:00"),
        ("{{ ts_nodash }} {{ ts_nodash_with_tz }}", "20240102T000000 20240102T000000+0000"),
        ("{{ logical_date.add(days=1) | ds }} {{ execution_date | ts_nodash }}", "2024-01-03 20240102T000000"),
        ("{{ data_interval_start | ds }}/{{ data_interval_end | ds }}", "2024-01-02/2024-01-03"),
        ("{{ yesterday_ds }} {{ tomorrow_ds_nodash }}", "2024-01-01 20240103"),
        ("{{ prev_ds }} {{ next_ds }} {{ next_execution_date | ds_nodash }}", "2024-01-01 2024-01-03 20240103"),
        ("{{ run_id }} {{ dag.dag_id }} {{ task.task_id }} {{ ti.try_number }}", "run example probed 1"),
        ("{{ dag_run.run_type }} {{ dag_run.conf.get('x', 'none') }}", "scheduled none"),
        ("{{ task_instance_key_str }}", "example__probed__20240102"),
        ("{{ macros.ds_add(ds, 5) }} {{ macros.ds_format(ds, '%Y-%m-%d', '%d/%m') }}", "2024-01-07 02/01"),
        ("{{ (macros.datetime(2024, 1, 1) + macros.timedelta(days=1)) | ds }}", "2024-01-02"),
        ("{{ prev_data_interval_start_success }} {{ test_mode }}", "None False"),
        ("{{ var.value.get('missing', 'fallback') }}", "fallback"),
        ("{% for n in range(3) %}{{ n }}{% endfor %}", "012"),
        ("{% do [1].append(2) %}done", "done"),
        ("no template\n", "no template"),
        ("{{ macros.json.dumps({'a': 1}) }} {{ macros.yaml.dump({'a': 1}) }}", '{"a": 1} a: 1\n'),
        ("{{ 0 <= macros.random() < 1 }} {{ macros.dateutil.parser.parse(ds).day }}", "True 2"),
        ("{{ inlets }} {{ outlets }} {{ inlet_events }} {{ outlet_events }}", "[] [] {} {}"),
        ("{{ expanded_ti_count }}", "None"),
        ("{% for dataset in triggering_dataset_events.items() %}x{% endfor %}{{ triggering_asset_events }}", "{}"),
    ],
)
def test_templates_have_airflows_context_and_macros(template: str, expected: str) -> None:
    assert render(template, schedule="@daily") == expected


def test_month_names_in_other_languages_are_refused_with_what_to_use() -> None:
    reason = failure("{{ macros.ds_format_locale(ds, '%Y-%m-%d', 'd. MMMM', 'de') }}")
    assert "macros.ds_format_locale" in reason
    assert "babel" in reason


def test_variables_and_connections_come_from_the_services() -> None:
    services = DictServices(
        variables={"greeting": SecretValue(value="hello"), "config": SecretValue(value='{"a": [1]}')},
        connections={"db": '{"conn_type": "postgres", "host": "h", "port": 5432, "extra": "{\\"x\\": \\"y\\"}"}'},
    )
    assert render("{{ var.value.greeting }} {{ var.json.config.a[0] }}", services) == "hello 1"
    assert render("{{ conn.db.host }}:{{ conn.db.port }} {{ conn.db.extra_dejson.x }}", services) == "h:5432 y"
    assert render("{{ conn.get('nope', 'none') }}", services) == "none"


def test_values_are_rendered_in_containers_and_keys_are_not() -> None:
    value = {"{{ ds }}": ["{{ ds }}", ("{{ ds }}", 1)], "b": b"{{ ds }}", "n": 7, "s": {"{{ ds }}"}}
    assert render(value) == {
        "{{ ds }}": ["2024-01-02", ("2024-01-02", 1)],
        "b": b"{{ ds }}",
        "n": 7,
        "s": {"2024-01-02"},
    }


def test_objects_with_template_fields_are_rendered() -> None:
    class Query:
        template_fields = ("sql",)

        def __init__(self, sql: str) -> None:
            self.sql = sql

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda q: q.sql, op_args=[Query("{{ ds }}")])
    assert result(run_task(dag, "probed")) == "2024-01-02"


def test_an_undefined_name_is_an_error_that_names_field_and_task() -> None:
    reason = failure("echo {{ nonsense }}")
    assert "Field 'bash_command' of task 'probed'" in reason
    assert "'nonsense' is undefined" in reason
    assert "has no attribute 'nope'" in failure("echo {{ dag.nope }}")


def test_a_template_that_cannot_be_read_is_explained() -> None:
    reason = failure("echo ${#array[@]}")
    assert "opens a Jinja comment" in reason


def test_python_internals_are_out_of_reach() -> None:
    assert "unsafe" in failure("{{ dag.__class__.__mro__ }}")


def test_native_mode_gives_python_values() -> None:
    assert render("{{ [1, ds_nodash] }}", render_template_as_native_obj=True) == [1, "20240102"]
    assert render("{{ ds_nodash }}", render_template_as_native_obj=True) == 20240102
    assert render("007", render_template_as_native_obj=True) == "007"
    assert serialise(new_dag(render_template_as_native_obj=True), defaults=Defaults()).render_template_as_native_obj


def test_literal_is_no_template() -> None:
    assert render(literal("{{ kept }}")) == "{{ kept }}"


def test_macros_and_filters_of_the_author() -> None:
    dag: dict[str, Any] = {
        "user_defined_macros": {"twice": lambda x: x * 2},
        "user_defined_filters": {"loud": str.upper},
    }
    assert render("{{ twice('a') | loud }}", **dag) == "AA"


def test_template_files_are_found_beside_the_dag_and_in_the_search_path(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "shared.sh").write_text("echo shared {{ ds }}")
    (tmp_path / "own.sh").write_text("{% include 'sub/part.txt' %} {{ params.x }}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "part.txt").write_text("echo part")
    found = loaded(
        tmp_path,
        f"""
        from execplane import DAG
        from execplane.sdk import BashOperator
        import datetime
        with DAG("files", schedule=None, template_searchpath=[{str(other)!r}], params={{"x": 1}}):
            BashOperator(task_id="own", bash_command="own.sh")
            BashOperator(task_id="shared", bash_command="shared.sh")
            BashOperator(task_id="missing", bash_command="missing.sh")
            BashOperator(task_id="no_file", bash_command="echo not a file.sh ")
        """,
    )
    dag = found.dag("files")
    assert result(run_task(dag, "own")) == "part 1"
    assert result(run_task(dag, "shared")) == "shared 2024-01-02"
    assert result(run_task(dag, "no_file")) == "not a file.sh"
    reason = run_task(dag, "missing").reason
    assert "'missing.sh' is not there" in reason
    assert str(tmp_path) in reason
    assert "end the text with a space" in reason


def test_a_result_inside_a_text_is_pulled_and_makes_no_edge() -> None:
    with new_dag() as dag:
        first = BashOperator(task_id="first", bash_command="true")
        BashOperator(task_id="second", bash_command=f"echo got {first.output}")
    assert dag.task_dict["second"].upstream_task_ids == set()
    services = DictServices()
    services.put("first", "it")
    assert result(run_task(dag, "second", services)) == "got it"


def test_previous_successes_come_from_the_claim() -> None:
    answer = claim(previous_success_logical_date=START, previous_success_interval_end=START)
    assert render("{{ prev_data_interval_end_success | ds }}", answer=answer) == "2024-01-01"
