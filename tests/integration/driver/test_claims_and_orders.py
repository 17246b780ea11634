"""What the driver's loop claims and asks of its executor, and what it says about those that wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.contract.states import AttemptState
from execplane.contract.workload import Intent, Workload
from execplane.executors.driver.loop import DriverOptions
from execplane.store import launch_rows
from execplane.store.database import is_postgresql
from execplane.store.models import Attempt, Dag, Pool, TaskInstance
from tests.integration.driver.conftest import Driven, Recorder, many
from tests.integration.store.conftest import Ledger


def test_what_is_queued_is_claimed_and_launched_with_its_committed_bytes(driven: Driven) -> None:
    driven.play.decide()

    driven.tick()

    attempt = driven.play.attempt()
    assert attempt.state == AttemptState.LAUNCHED
    assert driven.recorder.launched() == [attempt.pk]
    assert launch_rows.handles([attempt.pk], with_body=True)[0].body == b"bytes"


def test_a_launch_that_cannot_be_built_fails_alone(driven: Driven, caplog: pytest.LogCaptureFixture) -> None:
    driven.play.decide()
    TaskInstance.objects.filter(task_id="load").update(state="none")
    Ledger(run_pk=driven.play.run_pk, clock=driven.play.clock).queue("load")
    bad, good = driven.play.attempt(), driven.play.attempt("load")
    driven.recorder.broken_build = {bad.pk}

    driven.tick()

    assert driven.recorder.launched() == [good.pk]
    assert driven.play.attempt().category == "launch_error"
    assert "a fault of ours" in driven.play.attempt().reason


def test_an_attempt_that_is_told_to_stop_is_stopped_once_and_again_when_its_end_does_not_come(driven: Driven) -> None:
    driven.tick()
    attempt = driven.play.bring_to(AttemptState.STOPPING)
    driven.tick()
    driven.tick()
    assert driven.recorder.asked.count(("stop", (attempt.pk,))) == 1

    driven.play.later(61)
    driven.tick()

    assert driven.recorder.asked.count(("stop", (attempt.pk,))) == 2


def test_an_unanswered_launch_is_sent_again_with_the_same_bytes(driven: Driven) -> None:
    driven.play.decide()
    driven.tick()
    driven.tick()
    assert len(driven.recorder.launched()) == 1

    driven.play.later(61)
    driven.tick()

    pk = driven.play.attempt().pk
    assert driven.recorder.launched() == [pk, pk]


class Keen(Recorder):
    """Remembers the priorities it was told."""

    def build(self, workload: Workload) -> Intent:
        self.asked.append(("build", (workload.priority,)))
        return super().build(workload)

    def launch(self, intents: Sequence[Intent]) -> None:
        self.asked.append(("launch", tuple(intent.priority for intent in intents)))


def test_the_executor_is_told_each_priority_also_when_a_launch_is_sent_again(driven: Driven) -> None:
    keen = driven.loop.executor = Keen()
    many(driven.play, 1, priority=7)
    driven.tick()
    driven.play.later(61)
    driven.tick()

    assert ("build", (7,)) in keen.asked
    assert keen.asked[-1] == ("launch", (7,))


class Full(Recorder):
    """An executor in which launches wait."""

    waiting: int = 0

    def unsent(self) -> frozenset[int]:
        return frozenset(range(self.waiting))


def test_while_as_much_waits_in_the_executor_as_is_claimed_at_once_nothing_more_is_claimed(driven: Driven) -> None:
    full = driven.loop.executor = Full()
    full.waiting = DriverOptions().claims_per_tick
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    assert (attempt.state, attempt.not_claimed_reason) == ("queued", "")

    full.waiting -= 1
    driven.tick()

    assert full.launched() == [attempt.pk]


def test_while_the_executor_cannot_launch_everything_waits_for_that_reason(driven: Driven) -> None:
    driven.play.decide()
    driven.recorder.refuse = "The API server does not answer."

    driven.tick()

    attempt = driven.play.attempt()
    words = "The executor local cannot launch now: The API server does not answer."
    assert (attempt.state, attempt.not_claimed_reason) == ("queued", words)


def test_an_attempt_of_a_paused_dag_waits_until_the_dag_goes_on(driven: Driven) -> None:
    driven.play.decide()
    Dag.objects.update(paused=True)

    driven.tick()

    assert driven.play.attempt().not_claimed_reason == "The DAG orders is paused."
    Dag.objects.update(paused=False)
    driven.tick()
    assert driven.play.attempt().state == AttemptState.LAUNCHED


def test_hundreds_that_do_not_fit_block_nobody_behind_them(driven: Driven) -> None:
    Dag.objects.update(max_active_tasks=10_000)
    Pool.objects.create(name="narrow", slots=2)
    driven.recorder.limit = 500
    blocked = many(driven.play, 350, pool="narrow", slots=3, priority=9)
    (behind,) = many(driven.play, 1, first=1000)

    driven.tick()

    assert driven.recorder.launched() == [behind]
    reasons = set(Attempt.objects.filter(pk__in=blocked).values_list("not_claimed_reason", flat=True))
    assert reasons == {"The task wants 3 slots and the pool narrow has 2 in all."}


def test_pools_and_max_active_tasks_bound_what_is_claimed_and_the_others_know_why(driven: Driven) -> None:
    Dag.objects.update(max_active_tasks=3)
    Pool.objects.create(name="narrow", slots=2)
    narrow = many(driven.play, 3, pool="narrow", priority=5)
    wide = many(driven.play, 3, first=10)

    driven.tick()

    assert driven.recorder.launched() == [*narrow[:2], wide[0]]
    driven.tick()
    reasons = dict(Attempt.objects.filter(state="queued").values_list("pk", "not_claimed_reason"))
    full = "The DAG orders has as many tasks in flight as its max_active_tasks allows."
    assert reasons == {narrow[2]: full, wide[1]: full, wide[2]: full}


def queries_of(action: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        action()
    return sum(1 for query in captured.captured_queries if "SAVEPOINT" not in query["sql"])


def test_a_claim_of_a_hundred_costs_as_many_queries_as_a_claim_of_one(driven: Driven) -> None:
    Dag.objects.update(max_active_tasks=10_000)
    driven.tick()
    many(driven.play, 1)
    driven.tick()  # what is kept by version is read once
    many(driven.play, 1, first=500)
    one = queries_of(driven.tick)
    many(driven.play, 100, first=1000)

    hundred = queries_of(driven.tick)

    assert len(driven.recorder.launched()) == 102
    # SQLite takes 999 parameters a statement: a batch of rows may need a second one.
    assert hundred - one <= (0 if is_postgresql() else 2)
    assert one <= 25
