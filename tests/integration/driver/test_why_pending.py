"""Why a task does not run: our own gates, each situation made by the real loops, asked, and its sentence read.

The table is the contract: a name, how the situation is made, the code that must be first, words of the sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.actions.pending import Asked, PendingOptions, WhyPending
from execplane.contract.dag import DagSpec, ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.contract.errors import NotFound
from execplane.contract.messages import End, ErrorInfo
from execplane.contract.observations import Acknowledged, Diagnosis, Gone, LaunchRefused
from execplane.contract.pending import Code
from execplane.contract.states import AttemptState, TriggerRule
from execplane.executors.driver import claims, ends
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.executors.task_policy import FailurePolicy
from execplane.loops.supervisor import Report
from execplane.scheduler.calendar import Calendar
from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions
from execplane.store import lease_rows, loop_rows
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Attempt, Blob, Dag, DagRun, DagVersion, Pool, TaskInstance
from execplane.store.transitions import launching, runs
from tests.conftest import TestClock
from tests.integration.driver.conftest import Recorder
from tests.integration.store.conftest import forget_versions, new_run, save_dag
from tests.integration.store.play import ADA

pytestmark = pytest.mark.django_db


def task(task_id: str, *upstream: str, **more: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="BashOperator", upstream=upstream, **more)


@dataclass
class Scene:
    """A deployment with its scheduler and its driver; what a row of the table needs is one call each."""

    clock: TestClock
    recorder: Recorder = field(default_factory=Recorder)
    parallelism: int | None = None
    executors: tuple[str, ...] = ("local",)
    driver: DriverLoop = field(init=False)
    scheduler: SchedulerLoop = field(init=False)

    def __post_init__(self) -> None:
        identity(self.clock.now())
        Pool.objects.get_or_create(name="default_pool", defaults={"slots": 128})
        deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
        self.driver = DriverLoop(
            lambda: self.recorder,
            deployed,
            DriverOptions(),
            self.clock,
            owner="host:1",
            wake=lambda: None,
        )
        self.scheduler = SchedulerLoop(
            SchedulerOptions(default_executor="local"), Calendar(), self.clock, actor="scheduler"
        )
        assert lease_rows.take("driver:local", "host:1", 0, 600)
        self.reports("scheduler")

    def reports(self, name: str, *, state: str = "running", last_error: str = "") -> None:
        now = self.clock.now()
        report = Report(name=name, state=state, started_at=now, last_error=last_error)
        loop_rows.save_loop_reports("host:1", "1", [report], now)

    def dag(self, *tasks: TaskSpec, dag_id: str = "sales", **more: Any) -> DagVersion:
        return save_dag(DagSpec(dag_id=dag_id, file="sales.py", tasks=tasks, **more), self.clock.now())

    def run(self, version: DagVersion, run_id: str = "r1", *, days: int = 0) -> int:
        when = self.clock.now() + timedelta(days=days)
        return runs.create_run(new_run(version.dag_id, version, run_id, when), now=self.clock.now())

    def schedule(self) -> None:
        for _ in range(20):
            if not self.scheduler.decide_one(self.clock.now()):
                return
        raise AssertionError("the scheduler decides without end")

    def drive(self) -> None:
        self.driver.tick(self.clock.now())

    def begin(self, *tasks: TaskSpec, drive: bool = True, **more: Any) -> None:
        """One DAG, one run of it, decided, and driven."""
        self.run(self.dag(*tasks, **more))
        self.schedule()
        if drive:
            self.drive()

    def attempt(self, task_id: str, run_id: str = "r1") -> Attempt:
        return Attempt.objects.filter(task_id=task_id, run_id=run_id).latest("pk")

    def start(self, task_id: str, run_id: str = "r1") -> Attempt:
        one = self.attempt(task_id, run_id)
        passed = launching.pass_fence(
            one.pk, uid="u", nonce="n", hostname="h", worker_version="1", now=self.clock.now()
        )
        assert passed.code == "running"
        return self.attempt(task_id, run_id)

    def end(self, task_id: str, outcome: str, **more: Any) -> None:
        one = self.start(task_id)
        error = ErrorInfo(type="ValueError", message="no") if outcome == "failed" else None
        end = End(nonce="n", outcome=outcome, error=error, ended_at=self.clock.now(), **more)
        ends.end_reported(one.pk, end, (), now=self.clock.now(), failures=FailurePolicy(), actor="worker")
        self.schedule()

    def refuse(self, task_id: str, category: str, sentence: str) -> None:
        diagnosis = Diagnosis(category=category, sentence=sentence, infrastructure=True)
        fact = LaunchRefused(
            attempt_id=self.attempt(task_id).pk,
            diagnosis=diagnosis,
            retry=True,
            retry_after_seconds=30,
            at=self.clock.now(),
        )
        self.recorder.said(fact)
        self.drive()

    def ask(self, task_id: str, run_id: str = "r1") -> Asked:
        options = PendingOptions(
            executors=self.executors, parallelism=self.parallelism, slots={"local": self.recorder.limit}
        )
        return WhyPending(options, self.clock).task_instance("sales", run_id, task_id)


Make = Callable[[Scene], Asked]
TABLE: list[tuple[str, Make, Code, list[str]]] = []


def row(code: Code, *words: str) -> Callable[[Make], Make]:
    """A situation of the table; its name is the function's."""

    def add(make: Make) -> Make:
        TABLE.append((make.__name__, make, code, list(words)))
        return make

    return add


# Before there is an attempt


@row(Code.RUN_NOT_DUE, "2026-03-03 12:00:00 UTC")
def a_run_whose_time_has_not_come(scene: Scene) -> Asked:
    scene.run(scene.dag(task("extract")), days=2)
    scene.schedule()
    return scene.ask("extract")


@row(Code.MAX_ACTIVE_RUNS, "1 of 1 runs of sales", "r1")
def more_runs_than_max_active_runs(scene: Scene) -> Asked:
    version = scene.dag(task("extract"), max_active_runs=1)
    scene.run(version)
    scene.schedule()
    scene.run(version, "r2", days=-1)
    scene.schedule()
    return scene.ask("extract", "r2")


@row(Code.RUN_NOT_STARTED, "the scheduler has not started it")
def a_run_that_was_made_a_moment_ago(scene: Scene) -> Asked:
    scene.run(scene.dag(task("extract")))
    return scene.ask("extract")


@row(Code.DAG_PAUSED, "The DAG sales is paused")
def a_run_of_a_paused_dag(scene: Scene) -> Asked:
    scene.run(scene.dag(task("extract")))
    Dag.objects.update(paused=True)
    scene.schedule()
    return scene.ask("extract")


@row(Code.DAG_PAUSED, "The DAG sales is paused")
def a_paused_dag_before_anything_is_queued(scene: Scene) -> Asked:
    scene.begin(task("extract"), task("load", "extract"))
    scene.end("extract", "success")
    Dag.objects.update(paused=True)
    TaskInstance.objects.filter(task_id="load").update(state="none")
    return scene.ask("load")


@row(Code.SCHEDULER_DOWN, "No scheduler has reported since 2026-03-01 12:00:00 UTC")
def no_scheduler(scene: Scene) -> Asked:
    scene.begin(task("extract"), task("load", "extract"))
    scene.clock.advance(60)
    return scene.ask("load")


@row(Code.SCHEDULER_FAULT, "could not decide this run", "DecodeError")
def a_run_that_the_scheduler_fails_on(scene: Scene) -> Asked:
    pk = scene.run(scene.dag(task("extract")))
    TaskInstance.objects.create(dagrun_id=pk, task_id="extract")
    scene.scheduler.decide_one(scene.clock.now())  # queued -> running
    Blob.objects.update(data=b"junk", codec="")
    forget_versions()
    scene.schedule()
    return scene.ask("extract")


@row(Code.UPSTREAM, "extract (running)", "all_success")
def a_task_behind_a_running_one(scene: Scene) -> Asked:
    scene.begin(task("extract"), task("load", "extract"))
    scene.start("extract")
    return scene.ask("load")


@row(Code.UPSTREAM, "transform (not started)", "All of that waits for extract (queued)")
def a_task_at_the_end_of_a_chain(scene: Scene) -> Asked:
    scene.begin(task("extract"), task("transform", "extract"), task("load", "transform"))
    return scene.ask("load")


@row(Code.DEPENDS_ON_PAST, "depends_on_past", "2026-03-01 12:00:00 UTC", "extract (queued)")
def a_task_that_depends_on_the_run_before(scene: Scene) -> Asked:
    version = scene.dag(task("extract", depends_on_past=True))
    scene.run(version)
    scene.schedule()
    scene.run(version, "r2", days=1)
    scene.clock.advance(86400)
    scene.reports("scheduler")
    scene.schedule()
    return scene.ask("extract", "r2")


@row(Code.EXPANSION, "produce must end first")
def a_mapped_task_whose_list_is_not_there(scene: Scene) -> Asked:
    mapped = MappedSpec(args=(ExpandArg(name="x", refs=(XComRef(task_id="produce"),)),))
    scene.begin(task("produce"), task("each", "produce", mapped=mapped, trigger_rule=TriggerRule.ALWAYS))
    return scene.ask("each")


@row(Code.RETRY_DELAY, "its next try starts at 2026-03-01 12:05:00 UTC")
def a_task_between_two_tries(scene: Scene) -> Asked:
    scene.begin(task("extract", retries=1))
    scene.end("extract", "failed")
    return scene.ask("extract")


@row(Code.RESCHEDULE, "called again", "2026-03-01 12:10:00 UTC")
def a_sensor_that_asked_to_be_called_later(scene: Scene) -> Asked:
    scene.begin(task("extract", kind="sensor", sensor_mode="reschedule"))
    scene.end("extract", "reschedule", reschedule_at=scene.clock.now() + timedelta(minutes=10))
    return scene.ask("extract")


@row(Code.INFRA_RETRY, "infrastructure failed the last attempt")
def a_lost_node(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    one = scene.start("extract")
    diagnosis = Diagnosis(category="node_lost", sentence="The node is gone.", infrastructure=True)
    scene.recorder.said(Gone(attempt_id=one.pk, uid="u", at=scene.clock.now(), diagnosis=diagnosis, finished=False))
    scene.drive()
    scene.schedule()
    return scene.ask("extract")


@row(Code.MAX_ACTIVE_TIS_PER_DAGRUN, "1 instances of the task are in flight in this run")
def a_mapped_task_at_its_limit_per_run(scene: Scene) -> Asked:
    mapped = MappedSpec(args=(ExpandArg(name="x", literal_length=2),))
    scene.begin(task("each", mapped=mapped, max_active_tis_per_dagrun=1))
    options = PendingOptions(executors=("local",))
    return WhyPending(options, scene.clock).task_instance("sales", "r1", "each", 1)


@row(Code.NOT_DECIDED, "the scheduler launches it when it comes by")
def a_run_that_the_scheduler_has_not_looked_at(scene: Scene) -> Asked:
    scene.begin(task("extract"), task("load", "extract"))
    one = scene.start("extract")
    end = End(nonce="n", outcome="success", ended_at=scene.clock.now())
    ends.end_reported(one.pk, end, (), now=scene.clock.now(), failures=FailurePolicy(), actor="worker")
    return scene.ask("load")


@row(Code.STOPPING, "told to stop", "death is not confirmed")
def a_cleared_task_whose_attempt_still_runs(scene: Scene) -> Asked:
    from execplane.actions import tasks as verbs

    scene.begin(task("extract"))
    scene.start("extract")
    verbs.clear(ADA, "sales", "r1", ["extract"], clock=scene.clock)
    return scene.ask("extract")


@row(Code.RUN_ENDED, "The run has ended, it is failed")
def a_task_that_its_run_never_came_to(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.end("extract", "failed")
    TaskInstance.objects.update(state="none")
    return scene.ask("extract")


# Before it is launched


@row(Code.DAG_PAUSED, "The DAG sales is paused")
def a_dag_that_is_paused_while_its_task_is_queued(scene: Scene) -> Asked:
    scene.begin(task("extract", pool="etl"), drive=False)
    Dag.objects.update(paused=True)
    scene.drive()
    return scene.ask("extract")


@row(Code.EXECUTOR_NOT_SERVED, "does not run the executor sequential", "it runs local")
def an_executor_that_is_not_in_the_settings(scene: Scene) -> Asked:
    scene.begin(task("extract", executor="sequential"))
    return scene.ask("extract")


@row(Code.NO_DRIVER, "No process drives the local executor since", "UTC")
def a_driver_that_died(scene: Scene) -> Asked:
    scene.begin(task("extract"), drive=False)
    lease_rows.free_of("host:1")
    return scene.ask("extract")


@row(Code.NO_DRIVER, "none has started yet")
def a_driver_that_never_was(scene: Scene) -> Asked:
    scene.executors = ("local", "sequential")
    scene.begin(task("extract", executor="sequential"))
    return scene.ask("extract")


@row(Code.DRIVER_FAILING, "host:1", "the disk is full")
def a_driver_that_fails_at_each_turn(scene: Scene) -> Asked:
    scene.begin(task("extract"), drive=False)
    scene.reports("driver:local", state="failing", last_error="OSError: the disk is full")
    return scene.ask("extract")


@row(Code.EXECUTOR_CANNOT_LAUNCH, "cannot launch now", "The API server does not answer.")
def an_executor_that_cannot_launch(scene: Scene) -> Asked:
    scene.recorder.refuse = "The API server does not answer."
    scene.begin(task("extract"))
    return scene.ask("extract")


@row(Code.LAUNCHES_HELD, "Launches of the executor local are held", "until an operator decides")
def a_restored_database(scene: Scene) -> Asked:
    scene.begin(task("extract"), drive=False)
    reason = "Pods of another life of this database run: nothing is launched until an operator decides."
    claims.hold_all("local", reason, code=Code.LAUNCHES_HELD)
    return scene.ask("extract")


@dataclass
class Slowed(Recorder):
    """An executor in which as much waits as is claimed at once."""

    def unsent(self) -> frozenset[int]:
        return frozenset(range(1000, 1100))

    def slowed(self) -> str:
        return "The API server is slow (a create takes 3.0 s, usually 0.1 s): 4 creates at once instead of 16."


@row(Code.CREATES_SLOWED, "wait their turn", "4 creates at once instead of 16")
def an_api_server_that_gets_fewer_creates_at_once(scene: Scene) -> Asked:
    scene.driver.executor = Slowed()
    scene.begin(task("extract"))
    assert not scene.recorder.launched()
    return scene.ask("extract")


@row(Code.CREATES_SLOWED, "wait their turn", "4 creates at once instead of 16")
def a_create_that_waits_for_its_turn_at_a_slow_api_server(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.driver.executor = Slowed()
    scene.run(scene.dag(task("other"), dag_id="other"), "r2")
    scene.schedule()
    scene.drive()
    return scene.ask("extract")


@row(Code.POOL_MISSING, "The pool etl does not exist")
def a_pool_that_nobody_made(scene: Scene) -> Asked:
    scene.begin(task("extract", pool="etl"))
    return scene.ask("extract")


@row(Code.POOL_TOO_SMALL, "wants 3 slots", "has 2 in all")
def a_task_larger_than_its_pool(scene: Scene) -> Asked:
    Pool.objects.create(name="etl", slots=2)
    scene.begin(task("extract", pool="etl", pool_slots=3))
    return scene.ask("extract")


@row(Code.POOL_FULL, "The pool etl is full: 3 of 3", "most are held by sales.big (2), sales.small (1)")
def a_full_pool(scene: Scene) -> Asked:
    Pool.objects.create(name="etl", slots=3)
    weights = {"pool": "etl", "weight_rule": "absolute"}
    scene.begin(
        task("big", pool_slots=2, priority_weight=9, **weights),
        task("small", priority_weight=8, **weights),
        task("extract", **weights),
    )
    return scene.ask("extract")


@row(Code.MAX_ACTIVE_TASKS, "max_active_tasks is 1", "sales.a (1)")
def a_dag_at_max_active_tasks(scene: Scene) -> Asked:
    scene.begin(task("a", priority_weight=5, weight_rule="absolute"), task("extract"), max_active_tasks=1)
    return scene.ask("extract")


@row(Code.MAX_ACTIVE_TIS_PER_DAG, "max_active_tis_per_dag is 1")
def a_task_at_its_limit_over_all_runs(scene: Scene) -> Asked:
    version = scene.dag(task("extract", max_active_tis_per_dag=1))
    for run_id, days in (("r1", -1), ("r2", 0)):
        scene.run(version, run_id, days=days)
    scene.schedule()
    scene.drive()
    return scene.ask("extract", "r2")


@row(Code.PARALLELISM, "All 1 slots of this deployment", "sales.a (1)")
def a_deployment_at_its_parallelism(scene: Scene) -> Asked:
    scene.parallelism = 1
    scene.driver = DriverLoop(
        lambda: scene.recorder,
        Deployed(deployment_id="d", incarnation=1, api_url="http://x"),
        DriverOptions(parallelism=1),
        scene.clock,
        owner="host:1",
        wake=lambda: None,
    )
    scene.begin(task("a", priority_weight=5, weight_rule="absolute"), task("extract"))
    return scene.ask("extract")


@row(Code.EXECUTOR_SLOTS, "All 1 slots of the local executor", "sales.a (1)")
def an_executor_without_a_free_slot(scene: Scene) -> Asked:
    scene.recorder.limit = 1
    scene.begin(task("a", priority_weight=5, weight_rule="absolute"), task("extract"))
    return scene.ask("extract")


@row(Code.PRIORITY, "1 queued attempts come before it")
def a_queue_with_others_before_it(scene: Scene) -> Asked:
    scene.begin(task("a", priority_weight=5, weight_rule="absolute"), task("extract"), drive=False)
    return scene.ask("extract")


@row(Code.NEXT_CLAIM, "the driver takes it at its next claim")
def a_queued_attempt_that_nothing_holds(scene: Scene) -> Asked:
    scene.begin(task("extract"), drive=False)
    return scene.ask("extract")


# Once it is claimed


@row(Code.LAUNCHING, "The driver host:1 has claimed it")
def an_attempt_that_is_being_launched(scene: Scene) -> Asked:
    scene.begin(task("extract"), drive=False)
    with write():
        launching.claim([scene.attempt("extract").pk], owner="host:1", now=scene.clock.now())
    return scene.ask("extract")


@row(Code.CREATE_UNANSWERED, "no answer came yet")
def a_create_without_an_answer(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    return scene.ask("extract")


@row(Code.QUOTA, "exceeded quota", "tried again at 2026-03-01 12:00:30 UTC")
def a_namespace_without_quota(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.refuse("extract", "quota", "The namespace's quota is used up: exceeded quota: team, requested: pods=1.")
    return scene.ask("extract")


@row(Code.THROTTLED, "429", "tried again at 2026-03-01 12:00:30 UTC")
def an_api_server_that_asks_to_wait(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.refuse("extract", "api_unavailable", "POST /api/v1/namespaces/x/pods: 429 TooManyRequests: later, please.")
    return scene.ask("extract")


@row(Code.THROTTLED, "no create is sent before 2026-03-01 12:00:30 UTC")
def a_create_held_back_because_another_was_asked_to_wait(scene: Scene) -> Asked:
    scene.begin(task("extract"), task("other"))
    scene.refuse("other", "api_unavailable", "POST /api/v1/namespaces/x/pods: 429 TooManyRequests: later, please.")
    return scene.ask("extract")


@row(Code.CREATE_REFUSED, "cannot be reached")
def an_api_server_that_is_away(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.refuse("extract", "api_unavailable", "The API server at https://k cannot be reached (refused).")
    return scene.ask("extract")


@row(Code.WORKER_STARTING, "its worker has not reported yet")
def a_process_whose_worker_starts(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.recorder.said(Acknowledged(attempt_id=scene.attempt("extract").pk, uid="u", at=scene.clock.now()))
    scene.drive()
    return scene.ask("extract")


@row(Code.NOT_PENDING, "Attempt 1 runs since")
def a_running_task(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    assert scene.start("extract").state == AttemptState.RUNNING
    return scene.ask("extract")


@row(Code.NOT_PENDING, "has ended as success")
def a_task_that_is_over(scene: Scene) -> Asked:
    scene.begin(task("extract"))
    scene.end("extract", "success")
    return scene.ask("extract")


@pytest.mark.parametrize(("make", "code", "words"), [one[1:] for one in TABLE], ids=[one[0] for one in TABLE])
def test_the_answer_to_each_situation_is_right(make: Make, code: Code, words: list[str], clock: TestClock) -> None:
    asked = make(Scene(clock))
    answer = asked.pending

    assert answer.first.code is code, answer
    assert [word for word in words if word not in answer.sentence] == [], answer.sentence
    assert asked.is_pending is (code is not Code.NOT_PENDING)


def test_everything_else_that_holds_it_stands_below(clock: TestClock) -> None:
    answer = a_dag_that_is_paused_while_its_task_is_queued(Scene(clock)).pending

    assert [one.code for one in (answer.first, *answer.others)] == [Code.DAG_PAUSED, Code.POOL_MISSING]


def test_what_the_task_at_the_root_waits_for_stands_below(clock: TestClock) -> None:
    scene = Scene(clock)
    scene.begin(task("extract", pool="etl"), task("transform", "extract"), task("load", "transform"))

    answer = scene.ask("load").pending

    assert [one.code for one in (answer.first, *answer.others)] == [Code.UPSTREAM, Code.POOL_MISSING]
    assert answer.others[0].sentence.startswith("extract itself waits: The pool etl does not exist")


def test_a_name_that_no_task_has_is_not_found_and_a_mapped_task_asks_for_an_instance(clock: TestClock) -> None:
    scene = Scene(clock)
    a_run_of_a_paused_dag(scene)
    with pytest.raises(NotFound):
        scene.ask("none")
    run = DagRun.objects.get()
    TaskInstance.objects.create(dagrun=run, task_id="each", map_index=0)
    with pytest.raises(NotFound) as refused:
        scene.ask("each")
    assert "map index" in refused.value.hint


def test_an_ended_attempt_is_asked_why_its_task_does_not_go_on(clock: TestClock) -> None:
    scene = Scene(clock)
    a_task_between_two_tries(scene)

    asked = WhyPending(PendingOptions(executors=("local",)), clock).attempt(scene.attempt("extract").pk)

    assert asked.pending.first.code is Code.RETRY_DELAY
    assert asked.attempt_id is None


def test_asking_writes_nothing(clock: TestClock) -> None:
    scene = Scene(clock)
    a_full_pool(scene)
    with CaptureQueriesContext(connection) as captured:
        scene.ask("extract")

    assert [query["sql"] for query in captured.captured_queries if not query["sql"].startswith("SELECT")] == []
    assert len(captured.captured_queries) <= 20
