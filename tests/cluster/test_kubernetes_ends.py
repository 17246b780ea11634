"""The kubernetes executor stops and deletes pods, by their uid alone, and tells how each ended."""

from __future__ import annotations

import msgspec
import pytest

from execplane.contract.observations import Acknowledged, Cleaned, Gone, Progress
from execplane.contract.states import AttemptState
from execplane.kube.errors import PreconditionFailed
from tests.cluster.conftest import NOWHERE, SLEEP, Start, pod_of
from tests.cluster.kube_proxy import KubeProxy
from tests.cluster.kube_workloads import handle_of, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


def test_a_delete_whose_answer_is_lost_is_done_once(
    cluster: Cluster, namespace: str, proxy: KubeProxy, start_behind: Start
) -> None:
    executor, facts = start_behind(repair_seconds=0.1)
    intent = executor.build(workload(namespace, pod=NOWHERE))
    executor.launch([intent])
    uid = facts.wait(Acknowledged, intent.attempt_id).uid
    proxy.next("^DELETE", "lose_request")
    proxy.next("^DELETE", "lose_answer")
    executor.stop([handle_of(intent, uid)], grace_seconds=1)
    facts.wait(Gone, intent.attempt_id)
    eventually(lambda: proxy.requests("^DELETE") == 3, 20)
    assert len(facts.of(Gone, intent.attempt_id)) == 1
    assert pod_of(cluster, intent) is None


def test_a_delete_with_another_uid_does_nothing(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, pod=NOWHERE))
    executor.launch([intent])
    facts.wait(Acknowledged, intent.attempt_id)
    with pytest.raises(PreconditionFailed):
        executor.client.delete_pod(namespace, intent.name, uid="00000000-0000-0000-0000-000000000000")
    found = pod_of(cluster, intent)
    assert found is not None
    assert "deletionTimestamp" not in found["metadata"]


def test_a_stopped_attempt_ends_as_killed_by_operator(namespace: str, start: Start) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    eventually(lambda: any(fact.started_at for fact in facts.of(Progress, intent.attempt_id)), 60)
    uid = facts.of(Acknowledged, intent.attempt_id)[0].uid
    executor.stop([handle_of(intent, uid)], grace_seconds=1)
    gone = facts.wait(Gone, intent.attempt_id)
    assert (gone.diagnosis.category, gone.diagnosis.exit_code, gone.finished) == ("killed_by_operator", 143, True)
    # A stop that is repeated is answered again.
    executor.stop([handle_of(intent, uid)], grace_seconds=1)
    eventually(lambda: len(facts.of(Gone, intent.attempt_id)) == 2, 10)


def test_a_stop_that_knows_no_uid_finds_the_pod_by_its_identity(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, pod=NOWHERE))
    cluster.create(msgspec.json.decode(intent.body))
    executor.stop([handle_of(intent)], grace_seconds=0)
    facts.wait(Gone, intent.attempt_id)
    assert pod_of(cluster, intent) is None


def test_a_pod_deleted_by_hand_ends_as_deleted(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    eventually(lambda: any(fact.started_at for fact in facts.of(Progress, intent.attempt_id)), 60)
    cluster.kubectl("delete", "pod", intent.name, f"--namespace={namespace}", "--grace-period=0", "--force")
    gone = facts.wait(Gone, intent.attempt_id)
    assert (gone.diagnosis.category, gone.diagnosis.infrastructure) == ("deleted", True)
    assert gone.status
    facts.wait(Cleaned, intent.attempt_id)


def test_a_kept_pod_does_not_keep_its_sidecar(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    sidecar = {"name": "proxy", "image": Cluster.base_image, "command": list(SLEEP)}
    intent = executor.build(workload(namespace, "sh", "-c", "sleep 1; exit 7", sidecars=[sidecar]))
    executor.launch([intent])
    gone = facts.wait(Gone, intent.attempt_id)
    assert (gone.diagnosis.category, gone.diagnosis.exit_code) == ("user_code", 7)
    found = pod_of(cluster, intent)
    assert found is not None
    assert found["status"]["phase"] == "Running"
    executor.clean([handle_of(intent, gone.uid)], outcome=AttemptState.FAILED)
    assert facts.wait(Cleaned, intent.attempt_id).kept

    def all_ended() -> bool:
        kept = pod_of(cluster, intent)
        assert kept is not None
        return all("terminated" in each["state"] for each in kept["status"].get("containerStatuses", []))

    eventually(all_ended, 60)
    # Whoever looks at it later still learns how the task ended.
    later, later_facts = start()
    later.adopt([handle_of(intent, gone.uid)])
    assert later_facts.wait(Gone, intent.attempt_id).diagnosis.exit_code == 7


def test_a_failed_pod_is_deleted_when_the_policy_says_so(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start(delete_worker_pods_on_failure=True)
    intent = executor.build(workload(namespace, "false"))
    executor.launch([intent])
    gone = facts.wait(Gone, intent.attempt_id)
    executor.clean([handle_of(intent, gone.uid)], outcome=AttemptState.FAILED)
    facts.wait(Cleaned, intent.attempt_id)
    assert pod_of(cluster, intent) is None


def test_a_clean_up_waits_for_the_end_of_a_container_that_has_reported_its_own(namespace: str, start: Start) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, "sh", "-c", "sleep 2; exit 0"))
    executor.launch([intent])
    eventually(lambda: any(fact.started_at for fact in facts.of(Progress, intent.attempt_id)), 60)
    executor.clean([handle_of(intent, facts.of(Acknowledged, intent.attempt_id)[0].uid)], outcome=AttemptState.SUCCESS)
    gone = facts.wait(Gone, intent.attempt_id)
    assert (gone.finished, gone.diagnosis.exit_code) == (True, 0)
    assert not facts.wait(Cleaned, intent.attempt_id).kept


def test_a_container_that_does_not_end_is_deleted_all_the_same(namespace: str, start: Start) -> None:
    executor, facts = start(settle_seconds=0.5)
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    uid = facts.wait(Acknowledged, intent.attempt_id).uid
    executor.clean([handle_of(intent, uid)], outcome=AttemptState.SUCCESS)
    facts.wait(Cleaned, intent.attempt_id)


def test_each_outcome_is_deleted_or_kept_by_its_own_time(cluster: Cluster, namespace: str, start: Start) -> None:
    own = {AttemptState.CANCELLED: 0.0, AttemptState.SUCCESS: 3600.0}
    executor, facts = start(delete_worker_pods=True, delete_worker_pods_on_failure=False, kept_seconds_by_outcome=own)
    kept = {AttemptState.SUCCESS: True, AttemptState.FAILED: True, AttemptState.SKIPPED: False}
    wanted = {**kept, AttemptState.CANCELLED: False}
    intents = {outcome: executor.build(workload(namespace, "true")) for outcome in wanted}
    executor.launch(list(intents.values()))
    for outcome, intent in intents.items():
        executor.clean([handle_of(intent, facts.wait(Gone, intent.attempt_id).uid)], outcome=outcome)
    for intent in intents.values():
        facts.wait(Cleaned, intent.attempt_id)
    there = {outcome: pod_of(cluster, intent) is not None for outcome, intent in intents.items()}
    assert there == wanted


def test_the_grace_period_of_a_clean_up_is_the_settings_and_not_the_pods(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    executor, facts = start(delete_grace_seconds=1)
    deaf = {"name": "deaf", "image": Cluster.base_image, "command": ["sh", "-c", "trap '' TERM; sleep 600"]}
    intent = executor.build(workload(namespace, "true", sidecars=[deaf], spec={"terminationGracePeriodSeconds": 3600}))
    executor.launch([intent])
    gone = facts.wait(Gone, intent.attempt_id)
    executor.clean([handle_of(intent, gone.uid)], outcome=AttemptState.SUCCESS)
    eventually(lambda: pod_of(cluster, intent) is None, 120, on_failure=lambda: cluster.dump(namespace))
