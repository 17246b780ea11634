"""Dynamic mapping: how many instances there are, and what becomes of the rows that were there."""

from __future__ import annotations

import pytest

from execplane.contract.dag import ExpandArg, MappedSpec, XComRef
from execplane.contract.states import RunState, TaskState, TriggerRule
from execplane.scheduler.decide_view import Create, Expand, TaskRow
from execplane.scheduler.mapping import NOTHING_TO_MAP, mapped_length
from tests.unit.scheduler.build import ask, dag, launched, moved, over, rows, task

S = TaskState
MAPPED = dag(task("a"), task("m", "a", mapped=over("a")), task("z", "m"))


def returned(length: int | None) -> TaskRow:
    return TaskRow(id=1, task_id="a", state=S.SUCCESS, map_length=length)


def instance(number: int, index: int, state: TaskState = S.NONE, **fields: object) -> TaskRow:
    return TaskRow(id=number, task_id="m", map_index=index, state=state, **fields)  # type: ignore[arg-type]


def test_a_literal_is_expanded_from_the_start() -> None:
    compiled = dag(task("m", mapped=over(literal=3)))
    assert ask(compiled, []).create == tuple(Create(task_id="m", map_index=index) for index in range(3))


def test_a_task_mapped_over_another_waits_as_one_instance_and_then_expands() -> None:
    assert ask(MAPPED, []).create[1] == Create(task_id="m")
    decision = ask(MAPPED, [returned(3), instance(2, -1), TaskRow(id=3, task_id="z")])
    assert decision.expand == (Expand(task_id="m", length=3, reindex=2),)
    assert decision.create == (Create(task_id="m", map_index=1), Create(task_id="m", map_index=2))
    assert decision.again
    assert decision.launch == ()


def test_all_instances_count_for_what_comes_after() -> None:
    states = [instance(2, 0, S.SUCCESS), instance(3, 1, S.RUNNING), TaskRow(id=9, task_id="z")]
    assert ask(MAPPED, [returned(2), *states]).launch == ()
    states[1] = instance(3, 1, S.SUCCESS)
    assert launched(ask(MAPPED, [returned(2), *states])) == [9]
    states[1] = instance(3, 1, S.FAILED)
    assert moved(ask(MAPPED, [returned(2), *states])) == {9: S.UPSTREAM_FAILED}


def test_zero_length_is_one_skipped_instance_without_an_index() -> None:
    decision = ask(MAPPED, [returned(0), instance(2, -1), TaskRow(id=3, task_id="z")])
    assert moved(decision) == {2: S.SKIPPED, 3: S.SKIPPED}
    assert decision.run_state is RunState.SUCCESS


def test_a_literal_of_zero_length_is_skipped_as_well() -> None:
    compiled = dag(task("m", mapped=over(literal=0)))
    assert ask(compiled, []).create == (Create(task_id="m"),)
    assert moved(ask(compiled, [instance(1, -1)])) == {1: S.SKIPPED}


def test_nothing_can_be_mapped_over_what_is_no_collection() -> None:
    decision = ask(MAPPED, [returned(None), instance(2, -1), TaskRow(id=3, task_id="z")])
    assert moved(decision)[2] is S.UPSTREAM_FAILED
    assert decision.moves[0].reason == "what a returned is neither a list nor a dict"


@pytest.mark.parametrize(
    ("producer", "verdict"),
    [(S.FAILED, S.UPSTREAM_FAILED), (S.UPSTREAM_FAILED, S.UPSTREAM_FAILED), (S.SKIPPED, S.SKIPPED)],
)
@pytest.mark.parametrize("trigger_rule", [TriggerRule.ALL_DONE, TriggerRule.ALWAYS])
def test_what_never_came_to_be_decides_under_every_rule(
    producer: TaskState, verdict: TaskState, trigger_rule: TriggerRule
) -> None:
    compiled = dag(task("a"), task("m", "a", mapped=over("a"), trigger_rule=trigger_rule))
    assert moved(ask(compiled, rows(a=producer, m=S.NONE))) == {2: verdict}


def test_a_cleared_instance_is_skipped_when_what_it_is_mapped_over_is_skipped_this_time() -> None:
    compiled = dag(task("a"), task("m", "a", mapped=over("a"), trigger_rule=TriggerRule.ALL_DONE))
    skipped = TaskRow(id=1, task_id="a", state=S.SKIPPED)
    assert moved(ask(compiled, [skipped, instance(2, 0), instance(3, 1)])) == {2: S.SKIPPED, 3: S.SKIPPED}


def test_an_early_rule_still_waits_for_the_length() -> None:
    compiled = dag(task("a"), task("b"), task("m", "a", "b", mapped=over("a"), trigger_rule=TriggerRule.ONE_SUCCESS))
    decision = ask(compiled, rows(a=S.RUNNING, b=S.SUCCESS, m=S.NONE))
    assert decision.empty
    assert (decision.waiting[3].code, decision.waiting[3].data) == ("expansion", {"tasks": ["a"]})


def test_a_mapped_producer_gives_one_entry_per_success_that_returned_something() -> None:
    compiled = dag(
        task("m", mapped=over(literal=4)),
        task("n", "m", mapped=over("m"), trigger_rule=TriggerRule.ALL_DONE),
    )
    states = [
        instance(1, 0, S.SUCCESS),
        instance(2, 1, S.FAILED),
        instance(3, 2, S.SUCCESS, has_return=False),
        instance(4, 3, S.SUCCESS),
    ]
    assert ask(compiled, [*states, TaskRow(id=5, task_id="n")]).expand == (Expand(task_id="n", length=2, reindex=5),)


def test_a_producer_cleared_to_a_shorter_list_removes_what_is_left_over_and_starts_the_rest() -> None:
    decision = ask(MAPPED, [returned(1), instance(2, 0), instance(3, 1), TaskRow(id=4, task_id="z")])
    assert moved(decision) == {3: S.REMOVED}
    assert launched(decision) == [2]


def test_a_producer_cleared_to_a_longer_list_brings_removed_instances_back_and_makes_the_missing() -> None:
    instances = [returned(4), instance(2, 0), instance(3, 1, S.REMOVED), instance(4, 2), TaskRow(id=5, task_id="z")]
    decision = ask(MAPPED, instances)
    assert moved(decision) == {3: S.NONE}
    assert decision.create == (Create(task_id="m", map_index=3),)
    assert decision.expand == (Expand(task_id="m", length=4, reindex=None),)
    assert launched(decision) == [2, 4]


def test_a_cleared_task_that_is_now_mapped_over_nothing_ends_as_one_skipped_instance() -> None:
    decision = ask(MAPPED, [returned(0), instance(2, 0), instance(3, 1), TaskRow(id=4, task_id="z")])
    assert moved(decision) == {2: S.REMOVED, 3: S.REMOVED, 4: S.SKIPPED}
    (made,) = decision.create
    assert (made.map_index, made.state) == (-1, S.SKIPPED)


def test_ended_instances_are_not_expanded_again() -> None:
    instances = [returned(3), instance(2, 0, S.SUCCESS), TaskRow(id=3, task_id="z", state=S.SUCCESS)]
    assert ask(MAPPED, instances).run_state is RunState.SUCCESS


LENGTHS = {"two": 2, "three": 3, "unknown": None, "never": NOTHING_TO_MAP}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([((), 2, "single"), (("three",), None, "single")], 6),
        ([(("two", "three"), None, "concat")], 5),
        ([(("two", "three"), None, "zip")], 2),
        ([(("two", "three"), None, "zip_longest")], 3),
        ([(("two",), 4, "concat")], 6),
        ([((), 0, "single"), (("three",), None, "single")], 0),
        ([(("unknown",), None, "single")], None),
        ([(("two", "unknown"), None, "zip")], None),
        ([(("unknown",), None, "single"), (("never",), None, "single")], NOTHING_TO_MAP),
        ([((), None, "single")], NOTHING_TO_MAP),
    ],
)
def test_lengths_multiply_over_arguments_and_combine_within_one(
    args: list[tuple[tuple[str, ...], int | None, str]], expected: int | None
) -> None:
    spec = MappedSpec(
        args=tuple(
            ExpandArg(
                name=str(number),
                literal_length=literal,
                refs=tuple(XComRef(task_id=ref) for ref in refs),
                combine=combine,
            )
            for number, (refs, literal, combine) in enumerate(args)
        )
    )
    assert mapped_length(spec, LENGTHS.__getitem__) == expected


def test_only_return_values_can_be_mapped_over() -> None:
    spec = MappedSpec(args=(ExpandArg(name="x", refs=(XComRef(task_id="two", key="other"),)),))
    assert mapped_length(spec, LENGTHS.__getitem__) == NOTHING_TO_MAP
