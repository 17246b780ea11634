"""Airflow's `…/dependencies`: what holds a task instance, the first thing first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from execplane.actions import pending
from execplane.actions.pending import PendingOptions, WhyPending
from execplane.contract.clock import SystemClock
from tests.integration.cli_runner import save_attempt, save_dag, save_run
from tests.integration.public_api.conftest import get

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def answers() -> Iterator[None]:
    before = pending.serve(WhyPending(PendingOptions(executors=("local",)), SystemClock()))
    yield
    pending.serve(before)


def test_what_holds_a_queued_task_is_listed_with_what_unblocks_it() -> None:
    attempt = save_attempt(save_run(save_dag()), "extract", state="queued", pool="etl")

    answer = get("/dags/orders/dagRuns/r1/taskInstances/extract/dependencies").json()

    assert [one["name"] for one in answer["dependencies"]] == ["no_driver", "pool_missing"]
    assert answer["dependencies"][1]["reason"].startswith("The pool etl does not exist")
    assert answer["dependencies"][1]["unblocks"]
    assert (answer["attempt_id"], answer["unread"]) == (attempt.pk, [])


def test_what_runs_depends_on_nothing() -> None:
    save_attempt(save_run(save_dag()), "extract", state="running")

    answer = get("/dags/orders/dagRuns/r1/taskInstances/extract/dependencies").json()

    assert answer["dependencies"] == []
    assert answer["sentence"].startswith("Attempt 1 runs")


def test_a_task_instance_that_is_not_there_is_404() -> None:
    save_run(save_dag())
    assert get("/dags/orders/dagRuns/r1/taskInstances/none/dependencies").status_code == 404
