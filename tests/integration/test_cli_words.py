"""What the command prints: tables that fit, nothing that moves a terminal, and an attempt's story."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.cli import explain
from execplane.cli.output import _cells, cell, duration, harmless, table
from execplane.contract.flight import Flight, LastLines, NodeCondition, NodeSeen, PodEvent
from execplane.store.queries.attempts import AccessRow, AttemptRow, EventRow, WaitingRow
from execplane.store.queries.tasks import TaskRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=6), st.integers(30, 120))
def test_a_table_never_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    lines = table(["A", "B", "C"], rows, width=width).split("\n")
    assert len(lines) == len(rows) + 1
    assert max(_cells(line) for line in lines) <= width


def test_a_table_into_a_pipe_is_not_cut() -> None:
    assert "x" * 500 in table(["A", "B"], [["x" * 500, "y"]])


def test_wide_characters_keep_columns_straight() -> None:
    first, second = table(["NAME", "B"], [["日本", "x"]]).split("\n")
    assert (first, second) == ("NAME  B", "日本  x")


@given(st.text())
def test_a_cell_is_one_line_without_control_characters(text: str) -> None:
    assert all(character.isprintable() or not character.isascii() for character in cell(text))
    assert "\n" not in cell(text)


def test_a_log_line_keeps_its_colours_and_loses_what_reprograms_a_terminal() -> None:
    assert harmless("\x1b[31mred\x1b[0m\tand") == "\x1b[31mred\x1b[0m\tand"
    assert harmless("\x1b]0;title\x07 \x1b[2Jgone\r") == "]0;title [2Jgone"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.421, "0.42s"), (42, "42s"), (185, "3m 5s"), (7800, "2h 10m"), (270000, "3d 3h")],
)
def test_durations_are_short(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def attempt(**given: Any) -> AttemptRow:
    blank: dict[str, Any] = {
        field.name: 0 if field.type in ("int", "bool") else "" if field.type == "str" else None
        for field in fields(AttemptRow)
    }
    return AttemptRow(
        **{
            **blank,
            "id": 42,
            "dag_id": "orders",
            "run_id": "r 1",
            "task_id": "extract",
            "map_index": -1,
            "attempt_no": 2,
            "try_number": 1,
            "cause": "infra",
            "state": "running",
            "executor": "kubernetes",
            "queue": "default",
            "pool": "default_pool",
            "slots": 1,
            "queued_at": NOW,
            **given,
        }
    )


def test_a_failure_is_told_with_reason_code_category_and_what_to_do() -> None:
    row = attempt(
        state="failed",
        reason="The container used more memory than its limit.",
        hint="Raise the limit.",
        category="oom_killed",
        exit_code=137,
        namespace="jobs",
        pod_name="orders-extract",
        launched_at=NOW,
        running_at=NOW + timedelta(seconds=5),
        user_code_at=NOW + timedelta(seconds=6),
        ended_at=NOW + timedelta(seconds=66),
        gone_at=NOW + timedelta(seconds=70),
    )
    events = [
        EventRow(seq=1, at=NOW, from_state="", to_state="queued", actor="scheduler", reason="", data=None),
        EventRow(
            seq=2,
            at=NOW + timedelta(seconds=66),
            from_state="running",
            to_state="failed",
            actor="driver",
            reason="exit 137",
            data=None,
        ),
    ]
    text = "\n".join(explain.story(explain.Known(row=row, events=events, now=NOW + timedelta(hours=1))))
    for words in (
        "attempt 2 of the task (try 1): launched anew after an infrastructure failure",
        "It failed after 1m 1s.",
        "Why: The container used more memory than its limit.",
        "Exit code: 137, category oom_killed",
        "What to do: Raise the limit.",
        "1m 6s  failed       by driver: exit 137",
        "12:01:06  It failed after running for 1m 0s: The container used more memory than its limit.",
        "pod jobs/orders-extract",
        "execplane tasks logs orders 'r 1' extract --attempt 2",
    ):
        assert words in text
    assert "kubectl" not in text, "the pod is gone"


def test_an_attempt_that_waits_says_what_for_and_how_to_look_at_its_pod() -> None:
    row = attempt(state="launched", namespace="jobs", pod_name="p", launched_at=NOW, map_index=3)
    waiting = WaitingRow(code="image_pull", sentence="The image does not exist.", since=NOW)
    known = explain.Known(
        row=row,
        waiting=waiting,
        accesses=[AccessRow(kind="variable", name="table", found=False, at=NOW)],
        now=NOW + timedelta(seconds=90),
        kubectl=explain.kubectl_options("/etc/kube config", "prod"),
    )
    text = "\n".join(explain.story(known))
    for words in (
        "orders.extract[3]",
        "was launched and has not reported yet, since 1m 30s",
        "Waiting since 1m 30s: The image does not exist.",
        "kubectl --kubeconfig '/etc/kube config' --context prod describe pod -n jobs p",
        "variable table (there is none)",
        "--map-index 3",
    ):
        assert words in text


def test_a_queued_attempt_says_why_no_driver_takes_it() -> None:
    row = attempt(state="queued", not_claimed_reason="The pool default_pool is full.")
    text = "\n".join(explain.story(explain.Known(row=row, now=NOW + timedelta(seconds=5))))
    assert "Not launched yet: The pool default_pool is full." in text


def told(row: AttemptRow, **known: Any) -> str:
    return "\n".join(explain.story(explain.Known(row=row, now=NOW + timedelta(minutes=10), **known)))


def ran(**given: Any) -> AttemptRow:
    return attempt(
        **{
            "state": "failed",
            "reason": "The task failed.",
            "namespace": "jobs",
            "pod_name": "p",
            "node": "n1",
            "owner": "host:1",
            "claimed_at": NOW + timedelta(seconds=2),
            "launched_at": NOW + timedelta(seconds=3),
            "acknowledged_at": NOW + timedelta(seconds=4),
            "scheduled_at": NOW + timedelta(seconds=9),
            "pulled_at": NOW + timedelta(seconds=40),
            "started_at": NOW + timedelta(seconds=41),
            "running_at": NOW + timedelta(seconds=43),
            "ended_at": NOW + timedelta(seconds=73),
            **given,
        }
    )


def instance(**given: Any) -> TaskRow:
    blank = {"id": 1, "run_pk": 1, "task_id": "extract", "map_index": -1, "state": "failed", "attempt_no": 2}
    more = {"try_number": 1, "author_failures": 1, "infra_failures": 0, "eligible_at": None, "map_label": ""}
    return TaskRow(**{**blank, **more, "note": "", "reason": "", "started_at": None, "ended_at": None, **given})


def test_an_attempt_is_told_phase_by_phase_with_how_long_each_took() -> None:
    text = told(ran())
    for words in (
        "12:00:02  A driver took it after 2.00s (host:1).",
        "12:00:03  Its pod p was built and sent within 1.00s.",
        "12:00:09  It got the node n1 after 5.00s.",
        "12:00:40  Its image was on the node after 31s.",
        "12:01:13  It failed after running for 30s: The task failed.",
    ):
        assert words in text, text


def test_a_clock_that_disagrees_is_named_and_no_step_takes_less_than_nothing() -> None:
    hour = timedelta(hours=1)
    text = told(ran(pulled_at=NOW - hour, started_at=NOW - hour + timedelta(seconds=1)))
    assert "The clock of the node is about 60 min behind ours" in text
    assert "-" not in text.split("The story")[1].split("What was recorded")[0]


def test_what_follows_is_told_where_it_is_the_task_s_newest_attempt() -> None:
    soon = NOW + timedelta(minutes=12)
    assert "a retry, due at 2026-03-01 12:12:00Z, in 2m 0s." in told(
        ran(), task=instance(state="up_for_retry", eligible_at=soon)
    )
    assert "clear the task to run it again" in told(ran(), task=instance())
    assert "What followed: attempt 5 of the task." in told(ran(), task=instance(attempt_no=5))


def test_a_pod_s_record_is_told_in_short() -> None:
    flight = Flight(
        attempt_id=42,
        captured_at=NOW,
        namespace="jobs",
        pod_name="p",
        uid="u",
        pod={"status": {"containerStatuses": [{"name": "base", "state": {"terminated": {"exitCode": 137}}}]}},
        lines=(
            LastLines(container="base", text="\n".join(f"line {n}" for n in range(30))),
            LastLines(container="proxy", unread="it is gone"),
        ),
        events=(PodEvent(at=NOW, type="Warning", reason="Evicted", message="disk \x1b[2J"), PodEvent(reason="Pulled")),
        node=NodeSeen(
            name="n1",
            unschedulable=True,
            conditions=(
                NodeCondition(type="Ready", status="False"),
                NodeCondition(type="DiskPressure", status="True"),
                NodeCondition(type="PIDPressure", status="False"),
            ),
        ),
    )
    text = told(ran(), flight=flight)
    for words in (
        "container base: terminated, exit code 137",
        "12:00:00  Evicted: disk",
        "node n1: Ready is False, DiskPressure is True, cordoned",
        "last lines of base (30 are kept):\n    | line 20\n",
        "last lines of proxy: could not be read, it is gone",
    ):
        assert words in text, text
    assert "\x1b" not in text
    assert "Pulled" not in text


def test_kubectl_lines_are_those_that_still_work() -> None:
    gone = {"gone_at": NOW + timedelta(seconds=74)}
    assert "kubectl exec -it -n jobs p -c base -- sh" in told(ran())
    kept = told(ran(**gone), keeps_pod_seconds=math.inf)
    assert "kubectl logs -n jobs p -c base" in kept
    assert "kubectl" not in told(ran(**gone), keeps_pod_seconds=0.001), "its time is over"
    assert "exec" not in kept.split("To look further")[1].replace("execplane", "")
    assert "kubectl" not in told(ran(**gone))


def test_a_held_container_is_told_with_how_long_and_how_to_let_it_go() -> None:
    text = told(ran(held_until=NOW + timedelta(minutes=40)))
    assert "held for debugging for 30m 0s more" in text
    assert "execplane attempts release 42" in text
    assert "held for debugging" not in told(ran(held_until=NOW))
