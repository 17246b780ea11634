"""In which order tasks are read, and whether their boxes hold their words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from execplane.contract.dag import DagSpec, GroupSpec, TaskSpec, TimetableSpec
from execplane.contract.phases import timeline
from execplane.store.queries.tasks import Cell
from execplane.web import drawing
from execplane.web.tree import lines


def spec(*tasks: TaskSpec, groups: tuple[str, ...] = ()) -> DagSpec:
    return DagSpec(
        dag_id="d",
        file="d.py",
        timetable=TimetableSpec(kind="none"),
        tasks=tasks,
        groups=tuple(GroupSpec(group_id=name, label=name) for name in groups),
    )


def test_tasks_stand_in_the_flow_s_order_and_before_a_group_that_begins_beside_them() -> None:
    one = spec(
        TaskSpec(task_id="load.write", operator="@task", group_id="load"),
        TaskSpec(task_id="start", operator="EmptyOperator"),
        TaskSpec(task_id="after", operator="EmptyOperator", upstream=("start",)),
        groups=("load",),
    )

    assert [line.id for line in lines(one)] == ["start", "load", "load.write", "after"]


def test_a_box_is_as_wide_as_the_longer_of_its_two_lines() -> None:
    task = TaskSpec(task_id="on_all_success", operator="EmptyOperator")
    short, long = (
        drawing.graph(spec(task), {task.task_id: Cell(task_id=task.task_id, state=state)}).nodes[0]
        for state in ("success", "upstream_failed")
    )

    assert long.sub == "upstream failed · EmptyOperator"
    assert long.box.width > short.box.width


def test_ids_that_differ_at_their_ends_are_told_apart_in_their_boxes() -> None:
    tasks = [TaskSpec(task_id=f"a_task_with_a_long_name_number_{n:03}", operator="BashOperator") for n in range(3)]

    labels = [node.label for node in drawing.graph(spec(*tasks), {}).nodes]

    assert labels == [f"a_task_with_a_l…ame_number_00{n}" for n in range(3)]


def test_what_a_clock_said_is_shown_only_where_it_is_off_by_more_than_its_whole_seconds() -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    at = {"queued_at": start, "launched_at": start + timedelta(seconds=1.4), "running_at": start + timedelta(seconds=3)}

    for said, moved in ((1.0, False), (-30.0, True)):
        bars = drawing.phases(timeline({**at, "started_at": start + timedelta(seconds=said)}), None)
        assert [bar.moved for bar in bars] == [False, False, moved, False], said
