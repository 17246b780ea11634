"""Deadlines on the real cluster: pods that can never start end on time and as what they are; who waits, waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.states import Cause, TaskState
from execplane.executors.driver.deadlines import DeadlineOptions
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Attempt, DagRun, TaskInstance, WaitingReason
from execplane.store.transitions import launching, runs
from tests.cluster.conftest import NOWHERE
from tests.cluster.kube_workloads import options_for
from tests.integration.store.conftest import new_run, save_dag
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster

SHORT = DeadlineOptions(fatal_state_seconds=2, starting_seconds=6)


def base(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "base", **container}], "serviceAccountName": "default"}}


PODS = {
    "misnamed": base(image="Not/A/Name"),
    "absent": base(image="localhost/none:1", imagePullPolicy="Never"),
    "unreachable": base(image="127.0.0.1:9/app:1"),
    "unschedulable": NOWHERE,
}


@pytest.fixture
def drive(db: None, cluster: Cluster, namespace: str) -> Iterator[Callable[[], None]]:
    """One attempt of each pod, queued; each call is a tick of their driver."""
    clock = SystemClock()
    now = clock.now()
    identity(now)
    tasks = tuple(
        TaskSpec(task_id=name, operator="BashOperator", executor_config={"pod_override": pod})
        for name, pod in PODS.items()
    )
    version = save_dag(DagSpec(dag_id="stuck", file="stuck.py", tasks=tasks), now)
    run_pk = runs.create_run(new_run("stuck", version, "r1", now), now=now)
    with write():
        DagRun.objects.filter(pk=run_pk).update(state="running", started_at=now)
        launches = [
            launching.NewAttempt(
                ti_id=TaskInstance.objects.create(dagrun_id=run_pk, task_id=name, state=TaskState.NONE).pk,
                task_id=name,
                map_index=-1,
                cause=Cause.FIRST,
                executor="kubernetes",
                queue="default",
                pool="default_pool",
                slots=1,
                priority=1,
            )
            for name in PODS
        ]
        launching.queue_attempts(run_pk, launches, actor="scheduler", now=now)
    options = options_for(cluster, namespace, delete_worker_pods_on_failure=True)
    loop = DriverLoop(
        lambda: KubernetesExecutor(options, clock=clock),
        Deployed(deployment_id=options.deployment_id, incarnation=1, api_url="http://127.0.0.1:9"),
        DriverOptions(deadlines=SHORT, grace_seconds=1),
        clock,
        owner="d1",
        wake=lambda: None,
    )

    def tick() -> None:
        loop.tick(clock.now())

    yield tick
    loop.close()


def attempts() -> dict[str, Attempt]:
    return {attempt.task_id: attempt for attempt in Attempt.objects.all()}


def test_an_image_that_can_never_be_pulled_ends_its_attempt_and_a_pod_without_a_node_waits_on(
    drive: Callable[[], None], cluster: Cluster, namespace: str
) -> None:
    def all_ended() -> bool:
        drive()
        return all(attempts()[name].state == "failed" for name in PODS if name != "unschedulable")

    def shown() -> str:
        rows = [(one.task_id, one.state, one.category, one.reason) for one in attempts().values()]
        return f"{rows}\n{list(WaitingReason.objects.values())}"

    eventually(all_ended, 60, on_failure=shown)

    found = attempts()
    assert {name: found[name].category for name in PODS} == {
        "misnamed": "image_invalid",
        "absent": "image_missing",
        "unreachable": "image_pull",
        "unschedulable": "",
    }
    assert "Not/A/Name" in found["misnamed"].reason
    assert "It stayed so for 2 s." in found["absent"].reason
    assert "did not start within 6 s" in found["unreachable"].reason
    counted = {ti.task_id: (ti.author_failures, ti.infra_failures) for ti in TaskInstance.objects.all()}
    assert counted == {"misnamed": (1, 0), "absent": (1, 0), "unreachable": (0, 1), "unschedulable": (0, 0)}
    assert found["unschedulable"].state == "launched"

    def only_who_waits_is_left() -> bool:
        drive()
        pods = cluster.get("pods", f"--namespace={namespace}")["items"]
        return [pod["metadata"]["name"] for pod in pods] == [found["unschedulable"].pod_name]

    eventually(only_who_waits_is_left, 60, on_failure=shown)
