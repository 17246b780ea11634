"""The kubernetes executor makes pods: once, whatever is lost on the way, and with words when one is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execplane.contract.messages import Verdict
from execplane.contract.observations import Acknowledged, Cleaned, Gone, LaunchRefused, Progress
from execplane.contract.states import AttemptState
from tests.cluster.conftest import NOWHERE, SLEEP, Start, pod_of
from tests.cluster.kube_proxy import KubeProxy
from tests.cluster.kube_workloads import handle_of, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


def test_a_pod_is_created_acknowledged_watched_and_gone(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    verdict = Verdict(attempt_id=1, nonce="n", outcome="success")
    said = msgspec.json.encode(verdict).decode()
    intent = executor.build(workload(namespace, "sh", "-c", f"echo '{said}' > /dev/termination-log"))
    executor.launch([intent])
    acknowledged = facts.wait(Acknowledged, intent.attempt_id)
    gone = facts.wait(Gone, intent.attempt_id)
    assert not acknowledged.adopted
    assert gone.uid == acknowledged.uid
    assert (gone.finished, gone.diagnosis.category, gone.diagnosis.exit_code) == (True, "succeeded", 0)
    assert msgspec.json.decode(gone.verdict, type=Verdict) == verdict
    progress = facts.of(Progress, intent.attempt_id)
    assert progress[-1].node
    assert progress[-1].scheduled_at is not None
    assert all(fact.status for fact in progress)

    executor.clean([handle_of(intent, gone.uid)], outcome=AttemptState.SUCCESS)
    facts.wait(Cleaned, intent.attempt_id)
    assert pod_of(cluster, intent) is None


def test_a_second_create_of_the_same_intent_adopts_the_first_ones_pod(namespace: str, start: Start) -> None:
    first, first_facts = start()
    second, second_facts = start()
    intent = first.build(workload(namespace, *SLEEP))
    first.launch([intent])
    made = first_facts.wait(Acknowledged, intent.attempt_id)
    second.launch([intent])
    found = second_facts.wait(Acknowledged, intent.attempt_id)
    assert found.uid == made.uid


def test_a_name_that_is_terminating_asks_for_a_new_attempt(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    held = {"metadata": {"finalizers": ["example.org/hold"]}, **NOWHERE}
    intent = executor.build(workload(namespace, pod=held))
    cluster.create(msgspec.json.decode(intent.body))
    cluster.kubectl("delete", "pod", intent.name, f"--namespace={namespace}", "--wait=false")
    executor.launch([intent])
    refused = facts.wait(LaunchRefused, intent.attempt_id)
    assert (refused.new_attempt, refused.retry, refused.diagnosis.category) == (True, False, "name_taken")
    assert "being deleted" in refused.diagnosis.sentence
    release = '{"metadata":{"finalizers":null}}'
    cluster.kubectl("patch", "pod", intent.name, f"--namespace={namespace}", "--type=merge", f"--patch={release}")


@pytest.mark.parametrize("whose", ["a stranger's", "another attempt's"])
def test_a_name_that_somebody_else_has_is_not_adopted(
    cluster: Cluster, namespace: str, start: Start, whose: str
) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, pod=NOWHERE))
    other = msgspec.json.decode(intent.body)
    if whose == "a stranger's":
        other["metadata"] = {"name": intent.name, "namespace": namespace}
    else:
        other["metadata"]["annotations"]["execplane.io/attempt-id"] = "1"
    cluster.create(other)
    executor.launch([intent])
    refused = facts.wait(LaunchRefused, intent.attempt_id)
    assert (refused.new_attempt, refused.retry) == (True, False)
    assert intent.name in refused.diagnosis.sentence


def test_a_create_whose_answer_is_lost_is_found_again(
    cluster: Cluster, namespace: str, proxy: KubeProxy, start_behind: Start
) -> None:
    executor, facts = start_behind()
    intent = executor.build(workload(namespace, *SLEEP))
    proxy.next("^POST .*/pods", "lose_answer")
    executor.launch([intent])
    acknowledged = facts.wait(Acknowledged, intent.attempt_id)
    found = pod_of(cluster, intent)
    assert found is not None
    assert found["metadata"]["uid"] == acknowledged.uid
    eventually(lambda: executor.tracker.counts()["launching"] == 0, 10)
    assert proxy.requests("^POST .*/pods") == 1
    assert len(facts.of(Acknowledged, intent.attempt_id)) == 1


def test_a_create_that_never_arrived_is_posted_again_with_the_same_bytes(
    cluster: Cluster, namespace: str, proxy: KubeProxy, start_behind: Start
) -> None:
    executor, facts = start_behind()
    intent = executor.build(workload(namespace, pod=NOWHERE))
    proxy.next("^POST .*/pods", "lose_request")
    executor.launch([intent])
    facts.wait(Acknowledged, intent.attempt_id)
    assert proxy.requests("^POST .*/pods") == 2
    found = pod_of(cluster, intent)
    assert found is not None
    assert found["spec"]["containers"][0]["args"] == msgspec.json.decode(intent.body)["spec"]["containers"][0]["args"]


def test_slow_creates_are_under_way_at_once(namespace: str, proxy: KubeProxy, start_behind: Start) -> None:
    """Each is held until as many as are allowed have arrived: one after the other, the second never would."""
    executor, facts = start_behind(creation_concurrency=8)
    intents = [executor.build(workload(namespace, pod=NOWHERE)) for _ in range(12)]
    proxy.next("^POST .*/pods", "hold", times=len(intents))
    executor.launch(intents)
    eventually(lambda: proxy.held == 8, on_failure=lambda: f"{proxy.held} are under way")
    proxy.heal()
    for intent in intents:
        facts.wait(Acknowledged, intent.attempt_id)
    assert proxy.requests("^POST .*/pods") == 12, "none was posted twice"


def test_an_api_server_that_does_not_answer_keeps_the_intent(
    namespace: str, proxy: KubeProxy, start_behind: Start
) -> None:
    executor, facts = start_behind()
    intent = executor.build(workload(namespace, pod=NOWHERE))
    proxy.next("^(POST|GET) .*/pods", "lose_request", times=1000)
    executor.launch([intent])
    refused = facts.wait(LaunchRefused, intent.attempt_id)
    assert (refused.retry, refused.new_attempt, refused.diagnosis.infrastructure) == (True, False, True)
    assert refused.diagnosis.data == {"may_exist": True}
    assert "answer" in eventually(executor.check, 20)
    proxy.heal()
    executor.launch([intent])
    facts.wait(Acknowledged, intent.attempt_id)
    eventually(lambda: executor.check() == "", 20)


def test_a_full_quota_keeps_the_intent_until_there_is_room(cluster: Cluster, namespace: str, start: Start) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": namespace}}
    cluster.create({**quota, "spec": {"hard": {"pods": "0"}}})
    eventually(lambda: cluster.get("resourcequota", "none", f"--namespace={namespace}").get("status", {}).get("hard"))
    executor, facts = start(quota_retry_seconds=0.1)
    intent = executor.build(workload(namespace, pod=NOWHERE))
    executor.launch([intent])
    refused = facts.wait(LaunchRefused, intent.attempt_id)
    assert (refused.retry, refused.diagnosis.category, refused.diagnosis.infrastructure) == (True, "quota", True)
    cluster.kubectl("delete", "resourcequota", "none", f"--namespace={namespace}")
    executor.launch([intent])
    facts.wait(Acknowledged, intent.attempt_id)


@pytest.mark.parametrize(
    ("pod", "category", "said"),
    [
        ({"metadata": {"labels": {"team": "not valid!"}}}, "launch_error", "metadata.labels"),
        ({"spec": {"serviceAccountName": "no-such"}}, "config", "no-such"),
        ({"spec": {"priorityClassName": "no-such"}}, "config", "no-such"),
        ({"spec": {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]}}, "launch_error", "volumes"),
    ],
)
def test_a_pod_that_the_server_does_not_accept_is_the_authors(
    namespace: str, start: Start, pod: dict[str, Any], category: str, said: str
) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, pod=pod))
    executor.launch([intent])
    refused = facts.wait(LaunchRefused, intent.attempt_id)
    assert (refused.retry, refused.new_attempt, refused.diagnosis.category) == (False, False, category)
    assert said in refused.diagnosis.sentence
    assert not refused.diagnosis.infrastructure


def test_pod_security_restricted_accepts_the_default_template_and_explains_its_refusals(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    executor, facts = start()
    good = executor.build(workload(namespace, "sh", "-c", "id -u; exit 0"))
    bad = executor.build(workload(namespace, container={"securityContext": {"privileged": True}}))
    executor.launch([good, bad])
    assert facts.wait(Gone, good.attempt_id).diagnosis.category == "succeeded"
    refused = facts.wait(LaunchRefused, bad.attempt_id)
    assert (refused.retry, refused.diagnosis.category) == (False, "admission_denied")
    assert "privileged" in refused.diagnosis.sentence
