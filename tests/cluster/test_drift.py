"""Drift made on a real cluster: the driver finds it in two looks and mends it, and touches nobody else's pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.actions import drift as verbs
from execplane.actions.actor import Actor
from execplane.contract.clock import SystemClock
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.states import AttemptState, TaskState
from execplane.contract.workload import Intent
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.scheduler.calendar import Calendar
from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions
from execplane.store import drift_rows
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Attempt, DagRun, TaskInstance, WaitingReason
from execplane.store.queries import drift
from execplane.store.queries.drift import DriftRow
from execplane.store.transitions import runs
from tests.cluster.conftest import NOWHERE, pod_of
from tests.cluster.kube_proxy import KubeProxy
from tests.cluster.kube_workloads import fast_kube, options_for, workload
from tests.integration.store.conftest import new_run, save_dag
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster

pytestmark = pytest.mark.django_db
ADA = Actor(name="ada", may_act=True)
FIRST_ID = 1000
"""Of the attempts in the ledger: below it are those of runs that it no longer has."""


@dataclass
class Scene:
    """A ledger of its own and a driver over the cluster, ticked by the test."""

    cluster: Cluster
    namespace: str
    loop: DriverLoop
    run_pk: int

    def executor(self) -> KubernetesExecutor:
        executor = self.loop.executor
        assert isinstance(executor, KubernetesExecutor)
        return executor

    def until(self, done: Callable[[], Any], seconds: float = 60) -> Any:
        """Drive until it is so."""

        def driven() -> Any:
            self.loop.tick(SystemClock().now())
            return done()

        return eventually(driven, seconds, on_failure=lambda: f"{drift.findings(resolved=True).rows}")

    def attempt(self, task_id: str) -> Attempt:
        return Attempt.objects.filter(ti__dagrun=self.run_pk, task_id=task_id).latest("attempt_no")

    def plant(self, attempt_id: int, *command: str, deployment: str = "", **more: Any) -> Intent:
        """A pod that no ledger asked for, with every mark of an attempt of ours (or of the named deployment)."""
        made = workload(self.namespace, *command, **more)
        made = msgspec.structs.replace(
            made, attempt_id=attempt_id, deployment_id=deployment or made.deployment_id, incarnation=1
        )
        intent = self.executor().build(made)
        self.cluster.create(msgspec.json.decode(intent.body))
        return intent

    def found(self, intent: Intent) -> DriftRow | None:
        return next((row for row in drift.findings(resolved=True).rows if row.pod_name == intent.name), None)


def spec(namespace: str) -> DagSpec:
    """Tasks whose pods run what the test says instead of the worker."""
    commands: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        "waits": (("true",), NOWHERE),
        "fails": (("false",), {}),
    }
    return DagSpec(
        dag_id="drift",
        file="drift.py",
        tasks=tuple(
            TaskSpec(
                task_id=name,
                operator="BashOperator",
                executor_config=workload(namespace, *command, pod=pod).executor_config,
            )
            for name, (command, pod) in commands.items()
        ),
    )


def decide() -> None:
    """Queue what is due, as attempts of which the first one has `FIRST_ID`."""
    clock = SystemClock()
    scheduler = SchedulerLoop(SchedulerOptions(default_executor="kubernetes"), Calendar(), clock, "scheduler")
    while scheduler.decide_one(clock.now()):
        pass
    for number, pk in enumerate(Attempt.objects.order_by("pk").values_list("pk", flat=True)):
        Attempt.objects.filter(pk=pk).update(id=FIRST_ID + number)


@pytest.fixture
def stage(cluster: Cluster, namespace: str, db: None) -> Iterator[Callable[..., Scene]]:
    """Makes one scene; `tasks` are launched in it."""
    loops: list[DriverLoop] = []

    def staged(*tasks: str, **options: Any) -> Scene:
        clock = SystemClock()
        identity(clock.now())
        version = save_dag(spec(namespace), clock.now())
        run_pk = runs.create_run(new_run("drift", version, "r1", clock.now()), now=clock.now())
        with write():
            TaskInstance.objects.bulk_create(
                TaskInstance(dagrun_id=run_pk, task_id=task, state=TaskState.NONE) for task in tasks
            )
            DagRun.objects.filter(pk=run_pk).update(state="running", started_at=clock.now())
        decide()
        made = options_for(cluster, namespace, **{"list_interval_seconds": 2.0, **options})
        loop = DriverLoop(
            lambda: KubernetesExecutor(made),
            Deployed(deployment_id=made.deployment_id, incarnation=1, api_url="http://127.0.0.1:9"),
            DriverOptions(),
            clock,
            owner="driver-1",
            wake=lambda: None,
        )
        loops.append(loop)
        return Scene(cluster=cluster, namespace=namespace, loop=loop, run_pk=run_pk)

    yield staged
    for loop in loops:
        loop.close()


def test_what_nobody_wants_any_more_is_deleted_and_what_others_want_is_not(
    stage: Callable[..., Scene], cluster: Cluster
) -> None:
    scene = stage("waits", "fails", kept_pods_seconds=1.0)
    theirs = [
        scene.plant(7, "true", deployment="dep-other"),
        scene.plant(FIRST_ID, "true", deployment="dep-other"),
        scene.plant(FIRST_ID + 50, deployment="dep-other", pod=NOWHERE),
    ]
    ended = scene.plant(8, "true")
    waiting = scene.plant(9, pod=NOWHERE)
    scene.until(lambda: scene.attempt("fails").state == "failed")
    kept = scene.attempt("fails")

    orphan = scene.until(lambda: (row := scene.found(ended)) is not None and row.resolved_at and row)
    assert (orphan.kind, orphan.action, orphan.action_by) == ("orphan", "It was deleted.", "driver-1")
    scene.until(lambda: str(kept.pod_name) not in cluster.kubectl("get", "pods", f"--namespace={scene.namespace}"))
    left = scene.found(waiting)
    assert left is not None
    assert (left.kind, left.mend, left.action) == ("orphan", "operator", "")

    assert pod_of(cluster, ended) is None
    assert pod_of(cluster, waiting) is not None
    assert all(pod_of(cluster, one) is not None for one in theirs)
    # Neither others' pods nor what the deletion policy takes away is drift.
    assert not [row for row in all_found() if row.pod_name in {kept.pod_name, *(one.name for one in theirs)}]
    # The attempt in hand and its pod are as they were.
    mine = scene.attempt("waits")
    assert mine.state == "launched"
    assert cluster.get("pod", str(mine.pod_name), f"--namespace={scene.namespace}")["metadata"]["uid"] == mine.pod_uid


def all_found() -> tuple[DriftRow, ...]:
    return drift.findings(resolved=True).rows


def test_a_kept_pod_goes_when_its_outcomes_time_is_over_also_after_a_restart(
    stage: Callable[..., Scene], cluster: Cluster
) -> None:
    scene = stage("fails", delete_worker_pods_on_failure=True, kept_seconds_by_outcome={AttemptState.FAILED: 4.0})
    scene.until(lambda: scene.attempt("fails").cleaned_at)
    kept = scene.attempt("fails")
    # Whoever drives next knows of it only from the ledger and the cluster.
    scene.loop.close()
    scene.until(lambda: str(kept.pod_name) not in cluster.kubectl("get", "pods", f"--namespace={scene.namespace}"))
    assert kept.ended_at is not None
    assert (SystemClock().now() - kept.ended_at).total_seconds() > 4.0
    assert not all_found()


def test_a_pod_deleted_by_hand_while_the_watch_is_deaf_ends_its_attempt_and_stands_among_the_findings(
    stage: Callable[..., Scene], cluster: Cluster, proxy: KubeProxy, tmp_path: Path
) -> None:
    kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")
    proxy.next("watch=1", "stall", times=1000)
    deaf = fast_kube(cluster, watch_timeout_seconds=600, watch_silence_seconds=600.0)
    scene = stage("waits", kube=replace(deaf, kubeconfig=str(kubeconfig)))
    scene.until(lambda: scene.attempt("waits").pod_uid)
    attempt = scene.attempt("waits")
    cluster.kubectl("delete", "pod", str(attempt.pod_name), f"--namespace={scene.namespace}")

    scene.until(lambda: Attempt.objects.get(pk=attempt.pk).state == "failed")
    assert Attempt.objects.get(pk=attempt.pk).category == "deleted"
    row = scene.until(lambda: next((one for one in all_found() if one.attempt_id == attempt.pk), None))

    assert (row.kind, row.pod_name, row.action) == ("missing", attempt.pod_name, "Its attempt's end was reported.")
    assert row.resolved_at is not None


def test_pods_that_the_ledger_has_forgotten_hold_its_launches_until_an_operator_releases_them(
    stage: Callable[..., Scene], cluster: Cluster
) -> None:
    scene = stage("waits")
    lost = scene.plant(FIRST_ID + 77, pod=NOWHERE)

    row = scene.until(lambda: scene.found(lost))
    assert (row.kind, row.holds) == ("foreign_incarnation", True)
    for _ in range(3):
        scene.loop.tick(SystemClock().now())
    assert scene.attempt("waits").state == "queued"
    assert "until an operator decides" in scene.attempt("waits").not_claimed_reason

    verbs.decide(ADA, row.id, "delete", "its run is repeated")
    assert drift_rows.holding() == []
    scene.until(lambda: scene.attempt("waits").state == "launched" and pod_of(cluster, lost) is None)

    made = cluster.get("pod", str(scene.attempt("waits").pod_name), f"--namespace={scene.namespace}")
    assert made["metadata"]["annotations"]["execplane.io/incarnation"] == "2"


def test_after_a_restore_a_task_that_was_running_is_neither_run_again_nor_taken_for_its_earlier_life(
    stage: Callable[..., Scene], cluster: Cluster
) -> None:
    scene = stage("waits")
    scene.until(lambda: scene.attempt("waits").pod_uid)
    before = scene.attempt("waits")
    scene.loop.close()
    # The backup was made before the task was launched; the ledger gives the same ids and names once more.
    WaitingReason.objects.all().delete()
    Attempt.objects.all().delete()
    TaskInstance.objects.update(state=TaskState.NONE, attempt_no=0, try_number=0)
    DagRun.objects.update(decide_at=SystemClock().now())
    decide()
    again = scene.attempt("waits")
    assert (again.pk, again.attempt_no, again.state) == (before.pk, before.attempt_no, "queued")

    row = scene.until(lambda: next((one for one in all_found() if one.pod_name == before.pod_name), None))
    assert (row.kind, row.holds, row.pod_uid) == ("foreign_incarnation", True, before.pod_uid)
    assert "never launched" in row.sentence
    scene.loop.tick(SystemClock().now())
    assert scene.attempt("waits").state == "queued"

    verbs.release(ADA, "kubernetes", "it may run beside the other one")
    scene.until(lambda: Attempt.objects.get(pk=again.pk).category)

    # 409, and the pod is another life's: it is not adopted, the task gets an attempt with another name.
    assert Attempt.objects.get(pk=again.pk).category == "name_taken"
    found = cluster.get("pod", str(before.pod_name), f"--namespace={scene.namespace}")
    assert found["metadata"]["uid"] == before.pod_uid
