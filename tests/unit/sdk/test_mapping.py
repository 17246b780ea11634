from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execplane.contract.dag import ExpandArg, MappedSpec, XComRef
from execplane.contract.errors import DagImportError
from execplane.sdk import (
    AirflowSkipException,
    BashOperator,
    BranchPythonOperator,
    PythonOperator,
    get_current_context,
    task,
)
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import DictServices, claim, new_dag, result, run_task, spec_of


@task
def add(x: Any, y: Any = 0) -> Any:
    return [x, y]


def instances(dag: Any, task_id: str, count: int, services: DictServices | None = None) -> list[Any]:
    return [result(run_task(dag, task_id, services, map_index=index)) for index in range(count)]


def test_a_product_counts_with_the_last_argument_fastest() -> None:
    with new_dag() as dag:
        add.expand(x=[1, 2], y=["a", "b", "c"])
    assert spec_of(dag, "add").mapped == MappedSpec(
        args=(ExpandArg(name="x", literal_length=2), ExpandArg(name="y", literal_length=3))
    )
    assert instances(dag, "add", 6) == [[1, "a"], [1, "b"], [1, "c"], [2, "a"], [2, "b"], [2, "c"]]


def test_mapping_over_a_result_makes_an_edge_and_a_reference() -> None:
    with new_dag() as dag:
        source = PythonOperator(task_id="source", python_callable=lambda: ["a", "b"])
        add.partial(y=9).expand(x=source.output)
    spec = spec_of(dag, "add")
    assert spec.upstream == ("source",)
    assert spec.xcom_refs == (XComRef(task_id="source"),)
    assert spec.mapped == MappedSpec(args=(ExpandArg(name="x", refs=(XComRef(task_id="source"),)),))
    services = DictServices()
    assert run_task(dag, "source", services).map_length == 2
    assert instances(dag, "add", 2, services) == [["a", 9], ["b", 9]]


def test_a_dict_is_mapped_by_its_pairs() -> None:
    with new_dag() as dag:
        add.expand(x={"k": 1, "l": 2})
    assert instances(dag, "add", 2) == [[("k", 1), 0], [("l", 2), 0]]


def test_expand_kwargs_gives_each_instance_its_own_arguments() -> None:
    with new_dag() as dag:
        add.partial().expand_kwargs([{"x": 1, "y": 2}, {"x": 3}])
        BashOperator.partial(task_id="bash").expand_kwargs(
            [{"bash_command": "echo $A", "env": {"A": "1"}}, {"bash_command": "echo two"}]
        )
    assert spec_of(dag, "add").mapped == MappedSpec(style="kwargs", args=(ExpandArg(name="kwargs", literal_length=2),))
    assert instances(dag, "add", 2) == [[1, 2], [3, 0]]
    assert instances(dag, "bash", 2) == ["1", "two"]


def test_map_zip_and_concat_of_results() -> None:
    with new_dag() as dag:
        one = PythonOperator(task_id="one", python_callable=lambda: [1, 2, 3]).output
        two = PythonOperator(task_id="two", python_callable=lambda: ["a", "b"]).output
        add.override(task_id="mapped").expand(x=one.map(lambda n: n * 10).map(str))
        add.override(task_id="zipped").expand(x=one.zip(two))
        add.override(task_id="longest").expand(x=one.zip(two, fillvalue="?"))
        add.override(task_id="joined").expand(x=one.concat(two))
    services = DictServices()
    services.put("one", [1, 2, 3])
    services.put("two", ["a", "b"])
    assert [x for x, _ in instances(dag, "mapped", 3, services)] == ["10", "20", "30"]
    assert [x for x, _ in instances(dag, "zipped", 2, services)] == [(1, "a"), (2, "b")]
    assert [x for x, _ in instances(dag, "longest", 3, services)] == [(1, "a"), (2, "b"), (3, "?")]
    assert [x for x, _ in instances(dag, "joined", 5, services)] == [1, 2, 3, "a", "b"]
    combines = {name: spec_of(dag, name).mapped for name in ("mapped", "zipped", "longest", "joined")}
    assert {name: mapped.args[0].combine for name, mapped in combines.items() if mapped} == {
        "mapped": "single",
        "zipped": "zip",
        "longest": "zip_longest",
        "joined": "concat",
    }
    assert spec_of(dag, "zipped").upstream == ("one", "two")


def test_a_skip_inside_map_skips_that_instance_only() -> None:
    def odd_only(number: int) -> int:
        if number % 2 == 0:
            raise AirflowSkipException("even")
        return number

    with new_dag() as dag:
        source = PythonOperator(task_id="source", python_callable=list)
        add.expand(x=source.output.map(odd_only))
    services = DictServices()
    services.put("source", [1, 2, 3])
    outcomes = [run_task(dag, "add", services, map_index=index).outcome for index in range(3)]
    assert outcomes == ["success", "skipped", "success"]


def test_results_of_a_mapped_task_come_as_a_list_without_none() -> None:
    with new_dag() as dag:
        many = add.expand(x=[1, 2, 3])
        PythonOperator(task_id="reduce", python_callable=lambda found: found, op_args=[many])
    services = DictServices()
    services.put("add", "first", map_index=0)
    services.put("add", "third", map_index=2)
    assert result(run_task(dag, "reduce", services)) == ["first", "third"]
    assert result(run_task(dag, "reduce", DictServices())) == []


def test_mapping_over_a_mapped_task_is_reindexed() -> None:
    with new_dag() as dag:
        many = add.expand(x=[1, 2, 3])
        add.override(task_id="again").expand(x=many)
    services = DictServices()
    services.put("add", "first", map_index=0)
    services.put("add", "third", map_index=2)
    assert instances(dag, "again", 2, services) == [["first", 0], ["third", 0]]


@pytest.mark.parametrize("value", [None, "text", 7])
def test_a_result_without_a_length_fails_the_task_that_others_map_over(value: Any) -> None:
    with new_dag() as dag:
        source = PythonOperator(task_id="source", python_callable=lambda: value)
        add.expand(x=source.output)
    outcome = run_task(dag, "source")
    assert outcome.outcome == "failed"
    assert "maps over its result" in outcome.reason


def test_entries_from_xcoms_are_no_templates_and_literal_ones_are() -> None:
    with new_dag() as dag:
        source = PythonOperator(task_id="source", python_callable=list)
        add.override(task_id="from_xcom").partial(y="{{ ds }}").expand(x=source.output)
        add.override(task_id="literal").expand(x=["{{ ds }}"])
    services = DictServices()
    services.put("source", ["{{ kept }}"])
    assert instances(dag, "from_xcom", 1, services) == [["{{ kept }}", "2024-01-02"]]
    assert instances(dag, "literal", 1) == [["2024-01-02", 0]]


def test_instances_are_named_by_map_index_template_once_the_task_has_run() -> None:
    @task(map_index_template="{{ colour }} {{ task.op_kwargs['x'] }}")
    def paint(x: int) -> None:
        get_current_context()["colour"] = "red"
        if x == 2:
            raise ValueError("no paint")

    with new_dag() as dag:
        paint.expand(x=[1, 2])
        paint.override(task_id="odd", map_index_template="{{ 1 / 0 }}").expand(x=[1])
    assert run_task(dag, "paint", map_index=0).map_label == "red 1"
    assert run_task(dag, "paint", map_index=1).map_label == "red 2"
    named_badly = run_task(dag, "odd", map_index=0)
    assert (named_badly.outcome, named_badly.map_label) == ("success", "")


def test_classic_operators_are_mapped_with_shared_and_own_parameters() -> None:
    with new_dag(default_args={"retries": 4}) as dag:
        mapped = BashOperator.partial(task_id="bash", env={"N": "x"}, pool="db").expand(
            bash_command=["echo $N", "echo 2"]
        )
        PythonOperator(task_id="after", python_callable=lambda found: found, op_args=[mapped.output])
    spec = spec_of(dag, "bash")
    assert (spec.operator, spec.pool, spec.retries) == ("BashOperator", "db", 4)
    assert spec_of(dag, "after").upstream == ("bash",)
    assert instances(dag, "bash", 2) == ["x", "2"]


def test_an_index_beyond_the_entries_fails_with_the_lengths() -> None:
    with new_dag() as dag:
        add.expand(x=[1, 2])
    outcome = run_task(dag, "add", map_index=5)
    assert outcome.outcome == "failed"
    assert "no instance 5" in outcome.reason


def test_an_empty_list_has_length_zero() -> None:
    with new_dag() as dag:
        add.expand(x=[])
    mapped = spec_of(dag, "add").mapped
    assert mapped is not None
    assert mapped.args[0].literal_length == 0


def expect_refusal(words: str, build: Any) -> None:
    def store() -> None:
        with new_dag() as dag:
            build()
        serialise(dag, defaults=Defaults())

    with pytest.raises(DagImportError, match=words):
        store()


def test_what_airflow_accepts_by_accident_is_refused() -> None:
    expect_refusal("never expanded", lambda: add.partial(y=1))
    expect_refusal("never expanded", lambda: BashOperator.partial(task_id="x", bash_command="true"))
    expect_refusal(r"partial\(\) and to expand\(\)", lambda: add.partial(x=1).expand(x=[1]))
    expect_refusal("given nothing", lambda: add.expand())
    expect_refusal("not text", lambda: add.expand(x="abc"))
    expect_refusal("not text", lambda: add.expand(x={1, 2}))
    expect_refusal("has no parameter 'z'", lambda: add.expand(z=[1]))
    expect_refusal(
        "has no parameter 'bash_comand'", lambda: BashOperator.partial(task_id="x").expand(bash_comand=["a"])
    )
    expect_refusal("'retries' cannot be mapped", lambda: BashOperator.partial(task_id="x").expand(retries=[1]))
    expect_refusal("lacks the parameter 'bash_command'", lambda: BashOperator.partial(task_id="x").expand(env=[{}]))
    expect_refusal("list of dicts", lambda: add.partial().expand_kwargs("abc"))
    expect_refusal("decides about tasks", lambda: BranchPythonOperator.partial(task_id="x"))


def test_mapping_over_another_key_of_a_task_is_refused() -> None:
    def build() -> None:
        source = PythonOperator(task_id="source", python_callable=dict, multiple_outputs=True)
        add.expand(x=source.output["rows"])

    expect_refusal("XCom 'rows' of 'source'", build)


def test_looping_over_a_result_while_importing_is_refused() -> None:
    def build() -> None:
        source = PythonOperator(task_id="source", python_callable=list)
        for _ in source.output:
            pass

    expect_refusal("looped over before it exists", build)


def test_a_mapped_instance_knows_how_many_there_are() -> None:
    with new_dag() as dag:

        @task
        def count(x: int, expanded_ti_count: Any = None) -> Any:
            return [x, expanded_ti_count]

        count.expand(x=[5, 6, 7])
    answer = claim()
    answer = msgspec.structs.replace(answer, task=msgspec.structs.replace(answer.task, mapped_lengths={"count": 3}))
    assert result(run_task(dag, "count", map_index=1, answer=answer)) == [6, 3]
