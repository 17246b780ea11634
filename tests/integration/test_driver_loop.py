"""The driver's loop: what it does when the database fails it, when its lease runs out, when a clear comes between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from execplane.contract.errors import InvalidInput, Unavailable
from execplane.contract.executor import Report
from execplane.contract.messages import End
from execplane.contract.observations import Acknowledged, Diagnosis, Fact, Gone, LaunchRefused
from execplane.contract.states import AttemptState, Cause
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.driver import ends
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.store import launch_rows
from execplane.store.database import is_outage, is_postgresql, write
from execplane.store.models import Attempt, Dag, Pool, TaskInstance
from execplane.store.transitions import ending, launching
from tests.integration.store.conftest import (
    Ledger,
    ledger,  # noqa: F401 - a fixture
)
from tests.integration.store.invariants import violations
from tests.integration.store.play import Play
from tests.parts.eventually import scaled

GONE = Diagnosis(category="killed", sentence="It was killed.", exit_code=137, infrastructure=True)


@dataclass
class Recorder:
    """An executor that launches nothing and remembers what it was asked."""

    name: str = "local"
    limit: int | None = None
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    refuse: str = ""
    broken_build: set[int] = field(default_factory=set)
    report: Report | None = None

    def start(self, report: Report) -> None:
        self.report = report
        self.asked.append(("start", ()))

    def slots(self) -> int | None:
        return self.limit

    def build(self, workload: Workload) -> Intent:
        if workload.attempt_id in self.broken_build:
            raise KeyError("a fault of ours")
        return Intent(attempt_id=workload.attempt_id, key=workload.key, name=f"x-{workload.attempt_id}", body=b"bytes")

    def launch(self, intents: Sequence[Intent]) -> None:
        self.asked.append(("launch", tuple(intent.attempt_id for intent in intents)))

    def stop(self, handles: Sequence[Handle], *, grace_seconds: float) -> None:
        self.asked.append(("stop", tuple(handle.attempt_id for handle in handles)))

    def adopt(self, handles: Sequence[Handle]) -> None:
        self.asked.append(("adopt", tuple(handle.attempt_id for handle in handles)))

    def clean(self, handles: Sequence[Handle], *, failed: bool) -> None:
        self.asked.append(("clean", tuple(handle.attempt_id for handle in handles)))

    def check(self) -> str:
        return self.refuse

    def close(self) -> None:
        self.asked.append(("close", ()))

    def said(self, *facts: Fact) -> None:
        assert self.report is not None
        self.report(facts)

    def launched(self) -> list[int]:
        return [pk for verb, ids in self.asked if verb == "launch" for pk in ids]


@pytest.fixture
def play(ledger: Ledger) -> Play:  # noqa: F811
    return Play(run_pk=ledger.run_pk, clock=ledger.clock)


@dataclass
class Driven:
    loop: DriverLoop
    recorder: Recorder
    play: Play

    def tick(self) -> Any:
        return self.loop.tick(self.play.now)


@pytest.fixture
def driven(play: Play) -> Driven:
    recorder = Recorder()
    deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
    loop = DriverLoop(lambda: recorder, deployed, DriverOptions(), play.clock, owner="d1", wake=lambda: None)
    return Driven(loop=loop, recorder=recorder, play=play)


class Failing:
    """Makes one function fail for a while, as a database that is gone would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception) -> None:
        self.real: Callable[..., Any] = getattr(owner, name)
        self.error: Exception | None = error
        monkeypatch.setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.real(*args, **kwargs)


def test_what_is_queued_is_claimed_and_launched_with_its_committed_bytes(driven: Driven) -> None:
    driven.play.decide()

    driven.tick()

    attempt = driven.play.attempt()
    assert attempt.state == AttemptState.LAUNCHED
    assert driven.recorder.launched() == [attempt.pk]
    assert launch_rows.handles([attempt.pk], with_body=True)[0].body == b"bytes"


def test_a_claim_that_broke_off_before_its_intent_is_claimed_again(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven.play.decide()
    failing = Failing(monkeypatch, launching, "commit_intents", Unavailable("The database is gone."))
    with pytest.raises(Unavailable):
        driven.tick()
    assert driven.play.attempt().state == AttemptState.CLAIMED
    failing.error = None

    driven.tick()

    assert driven.play.attempt().state == AttemptState.LAUNCHED
    assert driven.recorder.launched() == [driven.play.attempt().pk]
    assert violations() == []


def test_a_restarted_driver_of_the_same_name_takes_back_its_own_claims(driven: Driven) -> None:
    driven.play.decide()
    driven.play.claim()
    assert driven.play.attempt().owner == "d1"

    driven.tick()

    assert driven.recorder.launched() == [driven.play.attempt().pk]


def test_facts_are_kept_while_the_database_is_gone(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    driven.recorder.said(
        Acknowledged(attempt_id=attempt.pk, uid="u1", at=driven.play.now),
        Gone(attempt_id=attempt.pk, uid="u1", at=driven.play.now, diagnosis=GONE),
    )
    failing = Failing(monkeypatch, ending, "end_attempt", Unavailable("The database is gone."))
    for _ in range(3):
        with pytest.raises(Unavailable):
            driven.tick()
    failing.error = None

    driven.tick()

    assert driven.play.states() == ("up_for_retry", "failed")
    assert violations() == []


def test_a_fact_that_cannot_be_written_down_keeps_no_other_from_it(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    real = ends.end_gone

    def faulty(fact: Gone, **more: Any) -> None:
        if fact.attempt_id != attempt.pk:
            raise ValueError("a fault of ours")
        real(fact, **more)

    monkeypatch.setattr(ends, "end_gone", faulty)
    driven.recorder.said(
        Gone(attempt_id=attempt.pk + 1, uid="u", at=driven.play.now, diagnosis=GONE),
        Gone(attempt_id=attempt.pk, uid="u", at=driven.play.now, diagnosis=GONE),
    )

    driven.tick()

    assert driven.play.attempt().state == AttemptState.FAILED
    assert "is dropped" in caplog.text


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


@pytest.mark.parametrize("verb", ["launch", "stop", "adopt", "clean", "start"])
def test_nothing_is_asked_of_the_executor_once_the_lease_ran_out(driven: Driven, verb: str) -> None:
    play = driven.play
    if verb == "launch":
        driven.tick()
        play.decide()
    elif verb == "stop":
        driven.tick()
        play.bring_to(AttemptState.STOPPING)
    elif verb == "adopt":
        play.bring_to(AttemptState.RUNNING)
        driven.tick()
        driven.loop.close()
    elif verb == "clean":
        driven.tick()
        play.bring_to(AttemptState.RUNNING)
        play.report("success")
    driven.recorder.asked.clear()
    driven.loop.may_act = lambda: False

    driven.tick()

    assert driven.recorder.asked == []
    driven.loop.may_act = lambda: True
    driven.tick()
    # An intent that was committed is not sent by the one who may have lost it, but found by whoever adopts.
    found = "adopt" if verb == "launch" else verb
    assert found in [asked for asked, _ in driven.recorder.asked]


def test_an_intent_whose_launch_the_lease_forbade_is_launched_by_whoever_drives_next(driven: Driven) -> None:
    driven.tick()
    driven.play.decide()
    driven.loop.may_act = lambda: False
    driven.tick()
    assert driven.play.attempt().state == AttemptState.LAUNCHED
    driven.loop.may_act = lambda: True

    driven.tick()

    attempt = driven.play.attempt()
    assert driven.recorder.asked[-1] == ("adopt", (attempt.pk,))
    never = Diagnosis(category="unanswered", sentence="It never came to be.", infrastructure=True)
    driven.recorder.said(LaunchRefused(attempt_id=attempt.pk, diagnosis=never, retry=True, at=driven.play.now))
    driven.tick()
    assert driven.recorder.launched() == [attempt.pk]


def test_what_was_reported_before_the_lease_was_lost_is_not_applied_after_it_is_won_again(driven: Driven) -> None:
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    taken = Diagnosis(category="name_taken", sentence="The name is taken.", infrastructure=True)
    old = driven.recorder.report
    assert old is not None
    driven.recorder.said(
        LaunchRefused(attempt_id=attempt.pk, diagnosis=taken, retry=False, new_attempt=True, at=driven.play.now)
    )
    driven.loop.close()
    driven.play.fence()

    driven.tick()
    old([LaunchRefused(attempt_id=attempt.pk, diagnosis=taken, retry=False, new_attempt=True, at=driven.play.now)])
    driven.tick()

    assert driven.play.states() == ("running", "running")


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


def test_while_the_executor_cannot_launch_everything_waits_for_that_reason(driven: Driven) -> None:
    driven.play.decide()
    driven.recorder.refuse = "The API server does not answer."

    driven.tick()

    attempt = driven.play.attempt()
    assert (attempt.state, attempt.not_claimed_reason) == ("queued", "The API server does not answer.")


def test_an_attempt_of_a_paused_dag_waits_until_the_dag_goes_on(driven: Driven) -> None:
    driven.play.decide()
    Dag.objects.update(paused=True)

    driven.tick()

    assert driven.play.attempt().not_claimed_reason == "The DAG orders is paused."
    Dag.objects.update(paused=False)
    driven.tick()
    assert driven.play.attempt().state == AttemptState.LAUNCHED


def many(play: Play, count: int, *, pool: str = "default_pool", first: int = 0, **more: Any) -> list[int]:
    """That many queued attempts of one mapped task."""
    launches = []
    for index in range(first, first + count):
        row = TaskInstance.objects.create(dagrun_id=play.run_pk, task_id="extract", map_index=index)
        launches.append(
            launching.NewAttempt(
                ti_id=row.pk,
                task_id="extract",
                map_index=index,
                cause=Cause.FIRST,
                executor="local",
                queue="default",
                pool=pool,
                **{"slots": 1, "priority": 1, **more},
            )
        )
    with write():
        launching.queue_attempts(play.run_pk, launches, actor="scheduler", now=play.now)
    return list(Attempt.objects.order_by("-pk").values_list("pk", flat=True)[:count])[::-1]


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


@pytest.mark.django_db(transaction=True)
class TestAClearBetween:
    """Two connections: the verdict is found and written under one lock."""

    def test_a_clear_that_comes_while_the_end_is_found_is_not_lost(
        self, play: Play, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempt = play.bring_to(AttemptState.RUNNING)
        reading, cleared = threading.Event(), threading.Event()
        real = launch_rows.ending_row

        def slow(attempt_id: int) -> Any:
            row = real(attempt_id)
            reading.set()
            cleared.wait(scaled(0.5))  # the clear has to wait for us; that it does not come is the point
            return row

        monkeypatch.setattr(launch_rows, "ending_row", slow)

        def clear() -> None:
            reading.wait(scaled(10))
            play.clear()
            cleared.set()
            connection.close()

        thread = threading.Thread(target=clear)
        thread.start()
        end = End(nonce=f"n{attempt.pk}", outcome="failed", ended_at=play.now)
        ends.end_reported(attempt.pk, end, (), now=play.now, infra_retries=3, actor="worker")
        thread.join(scaled(30))

        assert cleared.is_set()
        assert play.states() == ("none", "failed")
        assert violations() == []


def test_a_cut_connection_is_an_outage_and_a_bad_statement_is_not() -> None:
    assert is_outage(OperationalError("server closed the connection"))
    assert is_outage(Unavailable("gone"))
    assert not is_outage(InvalidInput("no"))
