"""`execplane deadlines`, and what `execplane status` says of them."""

from __future__ import annotations

import pytest

from execplane.contract.clock import SystemClock
from execplane.store import deadline_rows
from tests.integration.cli_runner import execplane

pytestmark = pytest.mark.django_db


def test_a_breaker_is_a_problem_of_the_deployment_until_somebody_confirms() -> None:
    assert "Deadlines of all executors are kept." in execplane("deadlines", "list").err
    now = SystemClock().now()
    deadline_rows.say(
        "local", "12 of 40 active attempts passed a deadline at once.", breaker_open=True, overdue=12, now=now
    )

    problems = execplane("status", "-o", "json", "--timeout", "1").json["problems"]
    (row,) = execplane("deadlines", "list", "-o", "json").json
    said = execplane("deadlines", "confirm", "local")

    assert (
        "Deadlines of the local executor: 12 of 40 active attempts passed a deadline at once. `execplane deadlines "
        "confirm local` does." in problems
    )
    assert (row["executor"], row["breaker_open"], row["overdue"]) == ("local", True, 12)
    assert (said.code, said.out) == (0, "12 attempts of the local executor are being ended, as their deadlines say.\n")
    assert deadline_rows.words()[0].confirmed == 12


def test_what_is_not_open_cannot_be_confirmed() -> None:
    said = execplane("deadlines", "confirm", "local")
    assert said.code == 3
    assert "The breaker of the local executor's deadlines is not open." in said.err
