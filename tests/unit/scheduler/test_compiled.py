"""Order, relatives and weights of a compiled DAG."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.dag import TaskSpec
from execplane.contract.errors import InvalidInput
from execplane.scheduler.compiled import compile_dag
from tests.unit.scheduler.build import dag, over, task


def test_tasks_stand_in_topological_order_with_their_relatives() -> None:
    compiled = dag(task("c", "a", "b"), task("b", "a"), task("a"))
    assert [each.task_id for each in compiled.tasks] == ["a", "b", "c"]
    assert compiled.task("c").upstream == (0, 1)
    assert compiled.task("a").downstream == (1, 2)


def test_a_producer_comes_before_what_is_mapped_over_it_even_without_an_edge() -> None:
    compiled = dag(task("a", mapped=over("z")), task("z"))
    assert [each.task_id for each in compiled.tasks] == ["z", "a"]
    assert compiled.task("a").producers == (0,)
    assert compiled.task("a").upstream == ()


def test_a_cycle_is_refused_with_its_members() -> None:
    with pytest.raises(InvalidInput, match=r"d: its tasks form a cycle, among a, b\."):
        dag(task("a", "b"), task("b", "a"), task("c"))


def test_an_unknown_upstream_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="task a depends on ghost"):
        dag(task("a", "ghost"))


def test_equal_upstream_shares_a_group() -> None:
    compiled = dag(task("a"), task("b", "a"), task("c", "a"), task("e", "b"))
    groups = {each.task_id: each.upstream_group for each in compiled.tasks}
    assert groups["b"] == groups["c"]
    assert len({groups["a"], groups["b"], groups["e"]}) == 3


@pytest.mark.parametrize(
    ("weight_rule", "expected"),
    [
        ("absolute", {"a": 1, "b": 10, "c": 100, "e": 1000}),
        ("downstream", {"a": 1111, "b": 1010, "c": 1100, "e": 1000}),
        ("upstream", {"a": 1, "b": 11, "c": 101, "e": 1111}),
    ],
)
def test_weights_count_each_relative_once(weight_rule: str, expected: dict[str, int]) -> None:
    compiled = dag(
        task("a", priority_weight=1, weight_rule=weight_rule),
        task("b", "a", priority_weight=10, weight_rule=weight_rule),
        task("c", "a", priority_weight=100, weight_rule=weight_rule),
        task("e", "b", "c", priority_weight=1000, weight_rule=weight_rule),
    )
    assert {each.task_id: each.priority_weight for each in compiled.tasks} == expected


@given(st.data())
def test_weights_equal_a_plain_walk_over_all_relatives(data: st.DataObject) -> None:
    tasks: list[TaskSpec] = []
    for number in range(data.draw(st.integers(1, 8))):
        ids = [each.task_id for each in tasks]
        upstream = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
        weight = data.draw(st.integers(1, 5))
        weight_rule = data.draw(st.sampled_from(["downstream", "upstream", "absolute"]))
        tasks.append(task(f"t{number}", *upstream, priority_weight=weight, weight_rule=weight_rule))
    by_id = {each.task_id: each for each in tasks}

    def before(task_id: str) -> set[str]:
        found = set(by_id[task_id].upstream)
        return found.union(*(before(up) for up in found))

    for each in dag(*tasks).tasks:
        relatives: set[str] = set()
        if each.spec.weight_rule == "upstream":
            relatives = before(each.task_id)
        elif each.spec.weight_rule == "downstream":
            relatives = {other for other in by_id if each.task_id in before(other)}
        total = each.spec.priority_weight + sum(by_id[other].priority_weight for other in relatives)
        assert each.priority_weight == total


@pytest.mark.parametrize(
    ("tasks", "leaves"),
    [
        ((task("a"), task("b", "a")), ["b"]),
        ((task("work"), task("td", "work", is_teardown=True)), ["work"]),
        ((task("work"), task("td", "work", is_teardown=True, on_failure_fail_dagrun=True)), ["td"]),
        ((task("td1", is_teardown=True), task("td2", "td1", is_teardown=True)), ["td2"]),
    ],
)
def test_effective_leaves_leave_out_teardowns_that_do_not_report(
    tasks: tuple[TaskSpec, ...], leaves: list[str]
) -> None:
    compiled = dag(*tasks)
    assert [compiled.tasks[index].task_id for index in compiled.leaves] == leaves


def test_a_dag_without_tasks_compiles() -> None:
    assert compile_dag(dag().spec).tasks == ()
