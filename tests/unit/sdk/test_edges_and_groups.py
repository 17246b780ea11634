from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.dag import GroupSpec
from execplane.contract.errors import DagImportError
from execplane.sdk import (
    DAG,
    EmptyOperator,
    Label,
    PythonOperator,
    TaskGroup,
    chain,
    cross_downstream,
    task,
    task_group,
)
from execplane.sdk.edges import chain_linear
from execplane.sdk.exceptions import AirflowDagCycleException, DuplicateTaskIdFound
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import new_dag, spec_of


def edges(dag: DAG) -> set[str]:
    return {
        f"{before}>{task.task_id}" for task in serialise(dag, defaults=Defaults()).tasks for before in task.upstream
    }


def empties(*names: str) -> list[EmptyOperator]:
    return [EmptyOperator(task_id=name) for name in names]


def test_every_way_to_write_an_edge() -> None:
    with new_dag() as dag:
        a, b, c, d, e, f = empties("a", "b", "c", "d", "e", "f")
        a >> [b, c] >> d
        e << d
        [a, b] >> f
        e.set_downstream(f)
        e.set_upstream([a])
    assert edges(dag) == {"a>b", "a>c", "b>d", "c>d", "d>e", "a>f", "b>f", "e>f", "a>e"}


def test_chain_and_cross_downstream() -> None:
    with new_dag("one") as dag:
        a, b, c, d, e, f = empties("a", "b", "c", "d", "e", "f")
        chain(a, [b, c], [d, e], f)
    assert edges(dag) == {"a>b", "a>c", "b>d", "c>e", "d>f", "e>f"}
    with new_dag("two") as dag:
        a, b, c, d = empties("a", "b", "c", "d")
        cross_downstream([a, b], [c, d])
    assert edges(dag) == {"a>c", "a>d", "b>c", "b>d"}
    with new_dag("three") as dag:
        a, b, c, d = empties("a", "b", "c", "d")
        chain_linear([a, b], [c, d])
    assert edges(dag) == {"a>c", "a>d", "b>c", "b>d"}
    with new_dag("four"), pytest.raises(DagImportError, match="lengths 2 and 1"):
        chain(empties("a", "b"), empties("c"))


def test_labels_are_kept_on_their_edge() -> None:
    with new_dag() as dag:
        a, b, c = empties("a", "b", "c")
        a >> Label("rows") >> [b, c]
        c << Label("back") << b
    assert spec_of(dag, "b").upstream_labels == {"a": "rows"}
    assert spec_of(dag, "c").upstream_labels == {"a": "rows", "b": "back"}


def test_a_chain_may_have_labels_between_its_tasks() -> None:
    with new_dag() as dag:
        a, b, c, d, e = empties("a", "b", "c", "d", "e")
        chain(a, [Label("x"), Label("y")], [b, c], Label("both"), d, e)
    assert edges(dag) == {"a>b", "a>c", "b>d", "c>d", "d>e"}
    labels = {task: spec_of(dag, task).upstream_labels for task in "bcde"}
    assert labels == {"b": {"a": "x"}, "c": {"a": "y"}, "d": {"b": "both", "c": "both"}, "e": {}}


def test_a_list_may_have_labelled_and_plain_edges() -> None:
    with new_dag() as dag:
        a, b, c, d = empties("a", "b", "c", "d")
        chain(a, [Label("x"), b], [c, d])
        [b >> Label("y"), a] >> c
    assert edges(dag) == {"a>c", "a>b", "b>d", "b>c"}
    assert spec_of(dag, "c").upstream_labels == {"a": "x", "b": "y"}
    assert spec_of(dag, "d").upstream_labels == {}


def test_a_label_that_leads_nowhere_is_refused() -> None:
    with new_dag():
        a, b = empties("a", "b")
        for tasks, words in [
            ((a, Label("x")), r"chain\(\) ends with Label\('x'\)"),
            ((a, [b, Label("x")]), r"chain\(\) ends with Label\('x'\)"),
            ((Label("x"), a), r"Label\('x'\) has a task on one side only"),
        ]:
            with pytest.raises(DagImportError, match=words):
                chain(*tasks)
        with pytest.raises(DagImportError, match=r"chain_linear\(\) is given Label\('x'\)"):
            chain_linear(a, Label("x"), b)


def test_a_dependency_on_something_else_is_refused() -> None:
    unknown = (object(), "an object of object, which is not a task")
    with new_dag() as dag:
        a = EmptyOperator(task_id="a")
        for other, words in [("b", "'b', which is not a task"), (7, "not a task"), unknown, (dag, "A DAG is put")]:
            with pytest.raises(DagImportError, match=words):
                a >> other


def test_a_dependency_across_dags_is_refused() -> None:
    with new_dag("one"):
        a = EmptyOperator(task_id="a")
    with new_dag("two"):
        b = EmptyOperator(task_id="b")
    with pytest.raises(DagImportError, match="different DAGs"):
        a >> b


def test_a_task_without_a_dag_joins_that_of_its_neighbour() -> None:
    dag = new_dag()
    a, b = EmptyOperator(task_id="a", dag=dag), EmptyOperator(task_id="b")
    a >> b
    assert sorted(dag.task_dict) == ["a", "b"]


def test_a_cycle_is_told_with_its_tasks() -> None:
    with new_dag() as dag:
        a, b, c, d = empties("a", "b", "c", "d")
        d >> a >> b >> c >> a
    with pytest.raises(AirflowDagCycleException, match=r"line \d+: DAG 'example': .*cycle: a >> b >> c >> a"):
        serialise(dag, defaults=Defaults())


def test_a_long_chain_is_no_problem() -> None:
    with new_dag() as dag:
        chain(*empties(*(f"t{number}" for number in range(3000))))
    assert len(serialise(dag, defaults=Defaults()).tasks) == 3000


def test_an_id_twice_is_refused_with_the_first_line() -> None:
    with new_dag(), pytest.raises(DuplicateTaskIdFound, match=r"'a' is used twice.*first is at line \d+"):
        empties("a", "a")


def test_results_as_arguments_make_edges_wherever_they_hide() -> None:
    class Query:
        template_fields = ("sql",)

        def __init__(self, sql: Any) -> None:
            self.sql = sql

    with new_dag() as dag:
        a, b, c, d = (PythonOperator(task_id=name, python_callable=list) for name in "abcd")
        PythonOperator(
            task_id="use",
            python_callable=print,
            op_args=[a.output, [b.output]],
            op_kwargs={"x": {"y": (c.output,)}, "z": Query(d.output["k"])},
        )
    spec = spec_of(dag, "use")
    assert spec.upstream == ("a", "b", "c", "d")
    assert [(ref.task_id, ref.key) for ref in spec.xcom_refs] == [
        ("a", "return_value"),
        ("b", "return_value"),
        ("c", "return_value"),
        ("d", "k"),
    ]


def test_an_argument_assigned_later_makes_its_edge_too() -> None:
    with new_dag() as dag:
        a = PythonOperator(task_id="a", python_callable=list)
        use = PythonOperator(task_id="use", python_callable=print)
        use.op_args = [a.output]
    assert spec_of(dag, "use").upstream == ("a",)


# ---- groups --------------------------------------------------------------------------------------------------------


def test_groups_prefix_ids_nest_and_pass_defaults_on() -> None:
    with new_dag(default_args={"retries": 1, "queue": "q"}) as dag, TaskGroup("outer", default_args={"retries": 2}):
        EmptyOperator(task_id="a")
        with TaskGroup("inner", default_args={"retries": 3}, tooltip="About"):
            EmptyOperator(task_id="b")
            EmptyOperator(task_id="c", retries=4)
        with TaskGroup("plain", prefix_group_id=False):
            EmptyOperator(task_id="d")
    spec = serialise(dag, defaults=Defaults())
    found = {task.task_id: (task.retries, task.queue, task.group_id, task.label) for task in spec.tasks}
    assert found == {
        "outer.a": (2, "q", "outer", "a"),
        "outer.inner.b": (3, "q", "outer.inner", "b"),
        "outer.inner.c": (4, "q", "outer.inner", "c"),
        "outer.d": (2, "q", "outer.plain", "d"),
    }
    assert spec.groups == (
        GroupSpec(group_id="outer", label="outer"),
        GroupSpec(group_id="outer.inner", parent_id="outer", label="inner", tooltip="About"),
        GroupSpec(group_id="outer.plain", parent_id="outer", label="plain"),
    )


def test_groups_stand_at_both_ends_of_edges() -> None:
    with new_dag() as dag:
        start, end = empties("start", "end")
        with TaskGroup("one") as one:
            a, b, c = empties("a", "b", "c")
            a >> b
        with TaskGroup("two") as two:
            empties("d")
        start >> one >> two >> end
        assert c.task_id == "one.c"
    assert edges(dag) == {
        "start>one.a", "start>one.c", "one.a>one.b", "one.b>two.d", "one.c>two.d", "two.d>end",
    }  # fmt: skip


def test_a_group_uses_the_leaves_of_that_moment() -> None:
    with new_dag() as dag:
        end = EmptyOperator(task_id="end")
        with TaskGroup("group") as group:
            a = EmptyOperator(task_id="a")
        group >> end
        with group:
            a >> EmptyOperator(task_id="late")
    assert edges(dag) == {"group.a>end", "group.a>group.late"}


def test_a_group_and_a_task_of_one_id_are_refused() -> None:
    with new_dag("one"):
        EmptyOperator(task_id="same")
        with pytest.raises(DuplicateTaskIdFound):
            TaskGroup("same")
    with new_dag("two"):
        TaskGroup("same")
        with pytest.raises(DuplicateTaskIdFound):
            EmptyOperator(task_id="same")


def test_the_group_decorator_makes_a_group_per_call_and_passes_results() -> None:
    with new_dag() as dag:

        @task
        def one() -> int:
            return 1

        @task_group(default_args={"retries": 7})
        def doubled(x: Any) -> Any:
            """About it."""

            @task
            def double(value: Any) -> Any:
                return value * 2

            return double(x)

        doubled(doubled(one()))
    assert edges(dag) == {"one>doubled.double", "doubled.double>doubled__1.double"}
    assert spec_of(dag, "doubled.double").retries == 7
    assert dag.task_group_dict["doubled"].tooltip == "About it."


def test_a_mapped_group_is_refused_with_advice() -> None:
    with new_dag():

        @task_group
        def group(x: Any) -> None: ...

        with pytest.raises(DagImportError, match="Map the tasks inside it"):
            group.expand(x=[1])


def test_a_group_without_a_dag_is_refused() -> None:
    with pytest.raises(DagImportError, match="belongs to no DAG"):
        TaskGroup("alone")


def test_calling_a_task_function_twice_makes_two_tasks() -> None:
    with new_dag() as dag:

        @task
        def again() -> None: ...

        again()
        again()
        again.override(task_id="named", retries=2)()
        with TaskGroup("group"):
            again()
    assert sorted(dag.task_dict) == ["again", "again__1", "group.again", "named"]
    assert dag.task_dict["named"].retries == 2


def test_a_task_function_called_with_wrong_arguments_is_refused() -> None:
    with new_dag():

        @task
        def takes(x: int, ds: str) -> None: ...

        takes(1)
        wrong: list[dict[str, int]] = [{}, {"x": 1, "y": 2}]
        for given in wrong:
            with pytest.raises(DagImportError, match="'takes' is called wrongly"):
                takes(**given)


def test_kinds_of_task_decorators_that_are_not_supported_say_what_to_use() -> None:
    for name in ("virtualenv", "docker", "kubernetes", "setup", "nonsense"):
        with pytest.raises(DagImportError, match=rf"does not support @task\.{name}"):
            getattr(task, name)


def test_start_dates_of_tasks_without_a_zone_are_in_the_dags() -> None:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    with new_dag(start_date=datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))) as dag:
        EmptyOperator(task_id="a", start_date=datetime(2024, 2, 1))
    assert spec_of(dag, "a").start_date == datetime(2024, 1, 31, 23, tzinfo=UTC)


def test_setup_and_teardown_are_refused_with_advice() -> None:
    with new_dag():
        a = EmptyOperator(task_id="a")
        with pytest.raises(DagImportError, match="'a' is made a setup task"):
            a.as_setup()
        with pytest.raises(DagImportError, match="all_done"):
            a.as_teardown(setups=a)
