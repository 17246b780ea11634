"""A launch hold on the real cluster: no pod is made where it counts, the one that is there stays, and then all come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from execplane.actions import holds
from execplane.actions.actor import Actor
from execplane.contract.clock import SystemClock
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.states import Cause, TaskState
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Attempt, AttemptEvent, DagRun, TaskInstance
from execplane.store.transitions import launching, runs
from tests.cluster.conftest import NOWHERE
from tests.cluster.kube_workloads import options_for
from tests.integration.store.conftest import new_run, save_dag
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster

CLOCK = SystemClock()
ADA = Actor(name="ada", may_act=True)


class Drive:
    """A driver of one namespace, and attempts whose pods need not run."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        now = CLOCK.now()
        identity(now)
        task = TaskSpec(task_id="wait", operator="BashOperator", executor_config={"pod_override": NOWHERE})
        version = save_dag(DagSpec(dag_id="held", file="held.py", tasks=(task,)), now)
        self.run_pk = runs.create_run(new_run("held", version, "r1", now), now=now)
        DagRun.objects.filter(pk=self.run_pk).update(state="running", started_at=now)
        options = options_for(cluster, namespace)
        self.loop = DriverLoop(
            lambda: KubernetesExecutor(options, clock=CLOCK),
            Deployed(deployment_id=options.deployment_id, incarnation=1, api_url="http://127.0.0.1:9"),
            DriverOptions(),
            CLOCK,
            owner="d1",
            wake=lambda: None,
        )

    def queue(self, index: int) -> None:
        ti = TaskInstance.objects.create(dagrun_id=self.run_pk, task_id="wait", map_index=index, state=TaskState.NONE)
        launch = launching.NewAttempt(
            ti_id=ti.pk,
            task_id="wait",
            map_index=index,
            cause=Cause.FIRST,
            executor="kubernetes",
            queue="default",
            pool="default_pool",
            slots=1,
            priority=1,
        )
        with write():
            launching.queue_attempts(self.run_pk, [launch], actor="scheduler", now=CLOCK.now())

    def pods(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.cluster.get("pods", f"--namespace={self.namespace}")["items"]}

    def has_pods(self, number: int) -> bool:
        self.loop.tick(CLOCK.now())
        return len(self.pods()) == number


@pytest.fixture
def drive(db: None, cluster: Cluster, namespace: str) -> Iterator[Drive]:
    one = Drive(cluster, namespace)
    yield one
    one.loop.close()


def test_a_held_namespace_gets_no_pod_until_the_release(drive: Drive) -> None:
    drive.queue(0)
    eventually(lambda: drive.has_pods(1), 60)
    there = drive.pods()
    pk = holds.hold(ADA, "namespace", drive.namespace, "quota is being moved", clock=CLOCK).id
    drive.queue(1)

    def is_put_back() -> bool:
        drive.loop.tick(CLOCK.now())
        return Attempt.objects.get(map_index=1).namespace == drive.namespace

    eventually(is_put_back, 60)
    told = AttemptEvent.objects.count()
    for _ in range(5):
        drive.loop.tick(CLOCK.now())

    held = Attempt.objects.get(map_index=1)
    assert (held.state, held.attempt_no, held.launch_failures) == ("queued", 1, 0)
    assert held.not_claimed_reason.startswith(f"Launch hold {pk} on the namespace {drive.namespace}, by ada")
    assert AttemptEvent.objects.count() == told, "it is not claimed again and again"
    assert drive.pods() == there

    holds.release(ADA, pk, clock=CLOCK)
    eventually(lambda: drive.has_pods(2), 60)
    assert drive.pods() > there
