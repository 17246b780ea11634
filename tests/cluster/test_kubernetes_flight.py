"""What is kept of a real pod: its record is made before our own delete, and also when somebody else was faster."""

from __future__ import annotations

from execplane.contract.flight import unpack
from execplane.contract.observations import Acknowledged, Cleaned, Gone, Progress, Recorded
from execplane.contract.states import AttemptState
from tests.cluster.conftest import SLEEP, Start, pod_of
from tests.cluster.kube_workloads import handle_of, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


def test_a_failed_pod_is_recorded_whole_before_our_own_delete(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start(delete_worker_pods_on_failure=True)
    container = {"env": [{"name": "API_TOKEN", "value": "hunter2"}]}
    side = {"name": "proxy", "image": Cluster.base_image, "command": ["sh", "-c", "echo from the sidecar; sleep 2"]}
    command = ("sh", "-c", "for i in $(seq 300); do echo line $i; done; exit 3")
    intent = executor.build(workload(namespace, *command, container=container, sidecars=[side]))
    executor.launch([intent])
    gone = facts.wait(Gone, intent.attempt_id)

    executor.clean([handle_of(intent, gone.uid)], outcome=AttemptState.FAILED)

    fact = facts.wait(Recorded, intent.attempt_id)
    found = unpack(fact.body)
    assert found.unread == ()
    lines = {one.container: one.text.splitlines() for one in found.lines}
    assert (len(lines["base"]), lines["base"][0], lines["base"][-1]) == (200, "line 101", "line 300")
    assert lines["proxy"] == ["from the sidecar"]
    assert {"Scheduled", "Pulled", "Started"} <= {one.reason for one in found.events}
    assert found.node is not None
    assert "Ready" in {one.type for one in found.node.conditions}
    assert "hunter2" not in str(found)
    assert found.pod["spec"]["nodeName"] == found.node.name
    times = (fact.scheduled_at, fact.initialized_at, fact.pulled_at, fact.started_at)
    assert all(times)
    facts.wait(Cleaned, intent.attempt_id)
    assert pod_of(cluster, intent) is None


def test_a_pod_that_somebody_else_deletes_leaves_its_last_state_and_its_events(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    eventually(lambda: any(fact.started_at for fact in facts.of(Progress, intent.attempt_id)), 60)

    cluster.kubectl("delete", "pod", intent.name, f"--namespace={namespace}", "--grace-period=0", "--force")

    found = unpack(facts.wait(Recorded, intent.attempt_id).body)
    assert found.pod["spec"]["containers"][0]["name"] == "base"
    assert found.pod["status"]["containerStatuses"][0]["imageID"]
    assert "Started" in {one.reason for one in found.events}


def test_what_outlives_a_hold_is_ended_and_its_pod_kept(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start(settle_seconds=1.0)
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    eventually(lambda: any(fact.started_at for fact in facts.of(Progress, intent.attempt_id)), 60)
    uid = facts.of(Acknowledged, intent.attempt_id)[0].uid

    executor.clean([handle_of(intent, uid)], outcome=AttemptState.FAILED)

    assert facts.wait(Cleaned, intent.attempt_id).kept
    facts.wait(Gone, intent.attempt_id)
    assert pod_of(cluster, intent) is not None
