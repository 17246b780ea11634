"""`execplane holds`: launch holds at a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.clock import SystemClock
from execplane.store import launch_wave_rows
from tests.integration.cli_runner import execplane, save_dag

pytestmark = pytest.mark.django_db


def test_a_hold_is_added_listed_and_released() -> None:
    save_dag()
    assert "Nothing is held" in execplane("holds", "list").err
    said = execplane("holds", "add", "dag_tag", "sales", "--reason", "month end", "--until", "2h")
    assert said.code == 0
    assert "on DAGs tagged sales" in said.out
    assert "It ends by itself at" in said.out

    (told,) = execplane("status", "-o", "json", "--timeout", "1").json["held_back"]
    assert "on DAGs tagged sales" in told

    (row,) = execplane("holds", "list", "-o", "json").json
    assert (row["scope"], row["name"], row["reason"]) == ("dag_tag", "sales", "month end")
    assert row["author"].endswith("(cli)")
    assert execplane("holds", "release", str(row["id"])).code == 0
    assert execplane("holds", "release", str(row["id"])).code == 3
    (ended,) = execplane("holds", "list", "--all", "-o", "json").json
    assert ended["ended_by"].endswith("(cli)")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("all",), 2, "needs a reason"),
        (("executor", "moon", "-r", "x"), 3, "has no executor moon. There are"),
        (("cluster", "moon", "-r", "x"), 3, "has no cluster moon"),
        (("dag", "none", "-r", "x"), 3, "none"),
    ],
)
def test_a_slip_holds_nothing_and_is_explained(words: tuple[str, ...], code: int, said: str) -> None:
    answer = execplane("holds", "add", *words)
    assert answer.code == code
    assert said in answer.err.replace("\n  ", " ")
    assert execplane("holds", "list", "-o", "json").json == []


def test_waves_are_told_and_ended() -> None:
    assert "No launches go out in waves." in execplane("holds", "waves").err
    row: dict[str, Any] = {
        "cause": "c",
        "total": 100,
        "size": 10,
        "number": 1,
        "before": 0,
        "launched": 4,
        "well": 2,
        "failed": 0,
    }
    launch_wave_rows.begin(launch_wave_rows.WaveRow(executor="local", began_at=SystemClock().now(), **row))
    assert "wave 1 of about 4, 4 of 100 launched" in execplane("holds", "waves").out
    assert execplane("holds", "launch-all", "local").code == 0
    assert execplane("holds", "launch-all", "local").code == 3
