"""What a task returns and pushes, and what other tasks pull of it."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.sdk import (
    PythonOperator,
    task,
)
from tests.unit.sdk.building import DictServices, claim, new_dag, result, run_task


def test_results_are_kept_and_none_is_not() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="some", python_callable=lambda: [1, 2, 3])
        PythonOperator(task_id="none", python_callable=lambda: None)
    some, none = run_task(dag, "some"), run_task(dag, "none")
    assert result(some) == [1, 2, 3]
    assert some.map_length == 3
    assert none.xcoms == ()
    assert none.map_length is None


def test_multiple_outputs_push_each_key_and_the_whole() -> None:
    with new_dag() as dag:

        @task(multiple_outputs=True)
        def split() -> Any:
            return {"a": 1, "b": 2}

        @task
        def use(a: int, c: Any) -> Any:
            return [a, c]

        parts = split()
        use(parts["a"], parts["c"])
    services = DictServices()
    run_task(dag, "split", services)
    assert services.get("split", "a") == 1
    assert services.get("split") == {"a": 1, "b": 2}
    # a key that is missing from multiple_outputs gives None
    assert result(run_task(dag, "use", services)) == [1, None]


@pytest.mark.parametrize(("value", "words"), [([1], "gave list"), ({1: 2}, "gave the key 1")])
def test_multiple_outputs_of_something_else_fail(value: Any, words: str) -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: value, multiple_outputs=True)
    outcome = run_task(dag, "probed")
    assert outcome.outcome == "failed"
    assert words in outcome.reason


def test_a_dict_annotation_means_multiple_outputs() -> None:
    with new_dag() as dag:

        @task
        def annotated() -> dict[str, int]:
            return {"a": 1}

        @task
        def plain() -> list[int]:
            return [1]

        annotated()
        plain()
    assert dag.task_dict["annotated"].multiple_outputs is True
    assert dag.task_dict["plain"].multiple_outputs is False


def test_a_key_that_was_never_pushed_fails_the_task_that_needs_it() -> None:
    with new_dag() as dag:
        first = PythonOperator(task_id="first", python_callable=lambda: 1)
        PythonOperator(task_id="second", python_callable=print, op_args=[first.output["rows"]])
    outcome = run_task(dag, "second")
    assert outcome.outcome == "failed"
    assert "'first' never pushed the XCom 'rows'" in outcome.reason


def test_a_value_that_is_no_xcom_fails_the_task_with_the_reason() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=object)
    outcome = run_task(dag, "probed")
    assert outcome.outcome == "failed"
    assert "never pickles" in outcome.reason


def test_an_xcom_above_the_limit_fails_the_task_with_both_sizes() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda: "x" * 100)
    outcome = run_task(dag, "probed", answer=claim(xcom_max_bytes=50))
    assert "has 102 bytes, and the limit is 50" in outcome.reason


def test_prefetched_xcoms_are_used_without_a_call() -> None:
    with new_dag() as dag:
        first = PythonOperator(task_id="first", python_callable=lambda: "made")
        PythonOperator(task_id="second", python_callable=lambda x: x, op_args=[first.output])
    services = DictServices()
    xcoms = run_task(dag, "first", services).xcoms
    assert result(run_task(dag, "second", services, answer=claim(xcoms=xcoms))) == "made"
    assert services.pulls == []


def test_xcom_pull_in_its_forms() -> None:
    seen: dict[str, Any] = {}

    def pull(ti: Any) -> None:
        ti.xcom_push(key="own", value="mine")
        seen["own"] = ti.xcom_pull(key="own")
        seen["one"] = ti.xcom_pull(task_ids="a")
        seen["many"] = ti.xcom_pull(task_ids=["a", "missing", "b"])
        seen["default"] = ti.xcom_pull(task_ids="missing", default="d")
        seen["none"] = ti.xcom_pull(task_ids="missing")
        seen["many, one mapped"] = ti.xcom_pull(task_ids=["a", "mapped", "missing", "b"], default="d")
        seen["mapped in a list"] = ti.xcom_pull(task_ids=["mapped"])
        seen["lists"] = ti.xcom_pull(task_ids=["lists"])
        seen["mapped"] = ti.xcom_pull(task_ids="mapped")
        seen["index"] = ti.xcom_pull(task_ids="mapped", map_indexes=1)
        seen["indexes"] = ti.xcom_pull(task_ids="mapped", map_indexes=[2, 0])
        seen["indexes of a list"] = ti.xcom_pull(task_ids=["mapped", "other"], map_indexes=iter([1, 0]))

    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=pull)
    services = DictServices(mapped={"mapped", "other"})
    services.put("a", 1)
    services.put("b", 2)
    for index in range(3):
        services.put("mapped", f"m{index}", map_index=index)
        services.put("other", f"o{index}", map_index=index)
    services.put("lists", [1, 2])
    assert run_task(dag, "probed", services).outcome == "success"
    assert seen == {
        "own": "mine",
        "one": 1,
        "many": [1, None, 2],
        "default": "d",
        "none": None,
        "mapped": ["m0", "m1", "m2"],
        "index": "m1",
        # as many entries as instances, in one flat list with those of the other tasks
        "many, one mapped": [1, "m0", "m1", "m2", "d", 2],
        "mapped in a list": ["m0", "m1", "m2"],
        "lists": [[1, 2]],
        # Airflow orders by the indexes asked for, not by index
        "indexes": ["m2", "m0"],
        "indexes of a list": ["m1", "m0", "o1", "o0"],
    }


def test_xcom_pull_without_a_key_fails_with_advice() -> None:
    with new_dag() as dag:
        PythonOperator(task_id="probed", python_callable=lambda ti: ti.xcom_pull(task_ids="a", key=None))
    assert "key=None" in run_task(dag, "probed").reason
