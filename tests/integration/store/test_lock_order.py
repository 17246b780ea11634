"""Whoever writes to several rows takes their locks in one order, so that writers wait for each other, but not for ever.

On SQLite one writer works at a time, and nothing of this can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from execplane.contract.states import RunState
from execplane.store.database import is_postgresql, write
from execplane.store.models import Attempt, DagRun, TaskInstance
from execplane.store.transitions import clearing, ending, runs
from tests.integration.store.conftest import Ledger, new_run
from tests.parts.eventually import eventually

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def two(ledger: Ledger) -> list[Attempt]:
    """Two attempts of one run, in the order of their keys."""
    attempts = [ledger.queue("extract"), ledger.queue("load")]
    Attempt.objects.update(state="running", nonce="n", launched_at=NOW)
    TaskInstance.objects.update(state="running")
    return attempts


def _elsewhere(work: Callable[[], None], threads: ThreadPoolExecutor) -> Future[None]:
    def alone() -> None:
        try:
            work()
        finally:
            connection.close()

    return threads.submit(alone)


def _waits(other: Future[None]) -> bool:
    """Whether the other thread stands before a lock (or is through)."""
    if other.done() or not is_postgresql():
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() is not None


def _beside_a_writer_in_order(attempts: list[Attempt], work: Callable[[], None]) -> None:
    """`work` begins while we hold the first attempt, and we ask for the second once it waits."""
    with ThreadPoolExecutor(1) as threads:
        with write():
            list(Attempt.objects.select_for_update().filter(pk=attempts[0].pk))
            other = _elsewhere(work, threads)
            eventually(lambda: _waits(other), 20)
            list(Attempt.objects.select_for_update().filter(pk=attempts[1].pk))
        other.result(20)


def test_a_clear_of_a_stopping_and_a_running_attempt(two: list[Attempt]) -> None:
    Attempt.objects.filter(pk=two[0].pk).update(state="stopping")
    ids = [attempt.ti_id for attempt in two]

    _beside_a_writer_in_order(two, lambda: clearing.clear_instances(ids, actor="ann", now=NOW))

    assert set(Attempt.objects.values_list("state", "stop_then")) == {("stopping", "clear")}


def test_stops_for_several_reasons(two: list[Attempt]) -> None:
    reasons = {two[1].ti_id: "a reason", two[0].ti_id: "b reason"}

    _beside_a_writer_in_order(two, lambda: ending.request_stop_of_instances(reasons, actor="scheduler", now=NOW))

    assert dict(Attempt.objects.values_list("ti_id", "stop_reason")) == reasons


def test_two_runs_of_one_dag_are_marked_at_once(ledger: Ledger) -> None:
    version = DagRun.objects.get(pk=ledger.run_pk).dag_version
    second = runs.create_run(new_run("orders", version, "second", NOW + timedelta(days=1)), now=NOW)
    DagRun.objects.filter(pk=second).update(state="running", started_at=NOW)

    def mark_second() -> None:
        with write():
            list(DagRun.objects.select_for_update().filter(pk=second))
            clearing.mark_run(second, RunState.FAILED, actor="bob", now=NOW)

    with ThreadPoolExecutor(1) as threads:
        with write():
            list(DagRun.objects.select_for_update().filter(pk=ledger.run_pk))
            other = _elsewhere(mark_second, threads)
            eventually(lambda: _waits(other), 20)
            clearing.mark_run(ledger.run_pk, RunState.FAILED, actor="ann", now=NOW)
        other.result(20)

    assert set(DagRun.objects.values_list("state", flat=True)) == {"failed"}


def test_runs_that_wait_for_an_ended_one_are_decided_again(ledger: Ledger) -> None:
    version = DagRun.objects.get(pk=ledger.run_pk).dag_version
    waiting = runs.create_run(new_run("orders", version, "second", NOW + timedelta(days=1)), now=NOW)
    DagRun.objects.filter(pk=waiting).update(decide_at=None)

    clearing.mark_run(ledger.run_pk, RunState.SUCCESS, actor="ann", now=NOW)

    assert DagRun.objects.get(pk=waiting).decide_at == NOW
