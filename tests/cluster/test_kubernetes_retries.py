"""What a retry learned from the attempts before it is taken by a real scheduler and a real kubelet."""

from __future__ import annotations

from execplane.contract.observations import Gone
from execplane.pods.lessons import LessonOptions
from tests.cluster.conftest import Start, pod_of
from tests.cluster.kube_workloads import workload
from tests.parts.kubernetes.cluster import Cluster

GREEDY = ("python3", "-c", "bytearray(100 << 20)")
LIMITED = {"resources": {"requests": {"memory": "32Mi"}, "limits": {"memory": "32Mi"}}}


def test_a_node_that_failed_the_task_is_taken_all_the_same_where_no_other_is(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, attempt_no=2, avoid_nodes=("node-1", "node-that-is-gone")))
    executor.launch([intent])
    gone = facts.wait(Gone, intent.attempt_id)
    assert gone.diagnosis.exit_code == 0
    found = pod_of(cluster, intent)
    assert found is not None
    assert found["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]


def test_a_task_that_was_killed_for_memory_gets_more_and_comes_to_its_end(namespace: str, start: Start) -> None:
    executor, facts = start(lessons=LessonOptions(oom_memory_factor=3.0))
    ends = []
    for kills in range(3):
        again = workload(namespace, *GREEDY, attempt_no=kills + 1, container=LIMITED, oom_kills=kills)
        intent = executor.build(again)
        executor.launch([intent])
        ends.append(facts.wait(Gone, intent.attempt_id).diagnosis)
    assert [end.category for end in ends] == ["oom_killed", "oom_killed", "succeeded"]
    assert "its memory limit of 96Mi" in ends[1].sentence
