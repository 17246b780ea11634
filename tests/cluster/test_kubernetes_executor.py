"""The kubernetes executor against a real API server, scheduler and kubelet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.contract.messages import Verdict
from execplane.contract.observations import Acknowledged, Cleaned, Gone, LaunchRefused, Progress
from execplane.contract.workload import Intent
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.kube.client import Client, pods_path
from execplane.kube.errors import PreconditionFailed
from tests.cluster.kube_proxy import KubeProxy, kube_proxy
from tests.cluster.kube_workloads import Facts, fast_kube, handle_of, options_for, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster, KubectlError

Start = Callable[..., tuple[KubernetesExecutor, Facts]]


@pytest.fixture
def start(cluster: Cluster, namespace: str) -> Iterator[Start]:
    """Makes started executors and closes them at the end."""
    made: list[KubernetesExecutor] = []

    def started(**options: Any) -> tuple[KubernetesExecutor, Facts]:
        executor = KubernetesExecutor(options_for(cluster, namespace, **options))
        made.append(executor)
        facts = Facts(lambda: cluster.dump(namespace))
        executor.start(facts.report)
        return executor, facts

    yield started
    for executor in made:
        executor.close()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[KubeProxy]:
    with kube_proxy(cluster) as running:
        yield running


@pytest.fixture
def start_behind(start: Start, cluster: Cluster, proxy: KubeProxy, tmp_path: Path) -> Start:
    """The same, with the proxy between executor and API server."""
    kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")

    def started(**options: Any) -> tuple[KubernetesExecutor, Facts]:
        return start(kube=replace(fast_kube(cluster), kubeconfig=str(kubeconfig)), **options)

    return started


NOWHERE = {"spec": {"nodeSelector": {"no-such-label": "anywhere"}}}
"""For pods that need not run."""
SLEEP = ("sh", "-c", "trap 'exit 143' TERM; sleep 600 & wait")


def pod_of(cluster: Cluster, intent: Intent) -> dict[str, Any] | None:
    try:
        return cluster.get("pod", intent.name, f"--namespace={intent.namespace}")
    except KubectlError as error:
        assert "NotFound" in str(error)  # noqa: PT017 - anything else is not an answer
        return None


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

    executor.clean([handle_of(intent, gone.uid)], failed=False)
    facts.wait(Cleaned, intent.attempt_id)
    assert pod_of(cluster, intent) is None


# A name that is taken


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


# Answers that are lost


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


def test_an_api_server_restart_loses_nothing(own_cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start()
    before = executor.build(workload(namespace, "sh", "-c", "sleep 6; exit 3"))
    executor.launch([before])
    facts.wait(Acknowledged, before.attempt_id)
    own_cluster.stop_apiserver()
    during = executor.build(workload(namespace, "true"))
    executor.launch([during])
    assert facts.wait(LaunchRefused, during.attempt_id).retry
    own_cluster.start_apiserver()
    executor.launch([during])
    assert facts.wait(Gone, during.attempt_id, 90).diagnosis.category == "succeeded"
    ended = facts.wait(Gone, before.attempt_id, 90)
    assert (ended.diagnosis.category, ended.diagnosis.exit_code) == ("user_code", 3)


# Ends


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
    executor.clean([handle_of(intent, gone.uid)], failed=True)
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
    executor.clean([handle_of(intent, gone.uid)], failed=True)
    facts.wait(Cleaned, intent.attempt_id)
    assert pod_of(cluster, intent) is None


def test_a_clean_up_waits_for_the_end_of_a_container_that_has_reported_its_own(namespace: str, start: Start) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, "sh", "-c", "sleep 2; exit 0"))
    executor.launch([intent])
    eventually(lambda: any(fact.started_at for fact in facts.of(Progress, intent.attempt_id)), 60)
    executor.clean([handle_of(intent, facts.of(Acknowledged, intent.attempt_id)[0].uid)], failed=False)
    gone = facts.wait(Gone, intent.attempt_id)
    assert (gone.finished, gone.diagnosis.exit_code) == (True, 0)
    assert not facts.wait(Cleaned, intent.attempt_id).kept


def test_a_container_that_does_not_end_is_deleted_all_the_same(namespace: str, start: Start) -> None:
    executor, facts = start(settle_seconds=0.5)
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    uid = facts.wait(Acknowledged, intent.attempt_id).uid
    executor.clean([handle_of(intent, uid)], failed=False)
    facts.wait(Cleaned, intent.attempt_id)


# After a restart of ours


def test_adoption_answers_each_handle_without_a_call_per_pod(
    cluster: Cluster, namespace: str, start: Start, proxy: KubeProxy, start_behind: Start
) -> None:
    before, before_facts = start()
    alive = before.build(workload(namespace, *SLEEP))
    dead = before.build(workload(namespace, "sh", "-c", "exit 5"))
    lost = before.build(workload(namespace, pod=NOWHERE))
    never = before.build(workload(namespace, pod=NOWHERE))
    before.launch([alive, dead])
    uids = {intent.attempt_id: before_facts.wait(Acknowledged, intent.attempt_id).uid for intent in (alive, dead)}
    before_facts.wait(Gone, dead.attempt_id)
    before.close()

    after, facts = start_behind()
    after.adopt(
        [
            handle_of(alive, uids[alive.attempt_id]),
            handle_of(dead),
            handle_of(lost, "11111111-2222-3333-4444-555555555555"),
            handle_of(never),
        ]
    )
    assert facts.wait(Acknowledged, alive.attempt_id).adopted
    assert facts.wait(Gone, dead.attempt_id).diagnosis.exit_code == 5
    gone = facts.wait(Gone, lost.attempt_id)
    assert (gone.finished, gone.diagnosis.category) == (False, "deleted")
    assert facts.wait(LaunchRefused, never.attempt_id).retry
    assert proxy.requests("^GET .*/pods/") == 0


def test_a_list_repairs_what_a_deaf_watch_missed(
    cluster: Cluster, namespace: str, proxy: KubeProxy, start: Start, tmp_path: Path
) -> None:
    deaf = fast_kube(cluster, watch_timeout_seconds=600, watch_silence_seconds=600.0)
    kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")
    proxy.next("watch=1", "stall", times=1000)
    executor, facts = start(kube=replace(deaf, kubeconfig=str(kubeconfig)), list_interval_seconds=1.0)
    intent = executor.build(workload(namespace, pod=NOWHERE))
    executor.launch([intent])
    facts.wait(Acknowledged, intent.attempt_id)
    cluster.kubectl("delete", "pod", intent.name, f"--namespace={namespace}")
    gone = facts.wait(Gone, intent.attempt_id)
    assert (gone.finished, gone.diagnosis.category) == (False, "deleted")


def test_pods_that_nobody_asked_about_are_strays(cluster: Cluster, namespace: str, start: Start) -> None:
    before, _ = start()
    intent = before.build(workload(namespace, pod=NOWHERE))
    cluster.create(msgspec.json.decode(intent.body))
    executor, _ = start()
    stray = eventually(executor.strays, 20)[0]
    assert (stray.key, stray.name) == (intent.key, intent.name)


# Refusals


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


# Waiting, and other namespaces


@pytest.mark.parametrize(
    ("more", "category", "said"),
    [
        ({"pod": NOWHERE}, "unschedulable", "node affinity/selector"),
        ({"container": {"image": "localhost/none:1", "imagePullPolicy": "Never"}}, "image_missing", "localhost/none:1"),
        (
            {"container": {"envFrom": [{"secretRef": {"name": "absent"}}]}},
            "config",
            'secret "absent" not found',
        ),
    ],
)
def test_a_pod_that_waits_says_why(
    namespace: str, start: Start, more: dict[str, Any], category: str, said: str
) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, **more))
    executor.launch([intent])

    def reason() -> Progress | None:
        waits = [fact for fact in facts.of(Progress, intent.attempt_id) if fact.waiting]
        return next((fact for fact in waits if fact.waiting and fact.waiting.category == category), None)

    found = eventually(reason, 60, on_failure=lambda: str(facts.of(Progress, intent.attempt_id)))
    assert found.waiting is not None
    assert said in found.waiting.sentence


def test_one_namespaces_missing_rights_do_not_stop_the_others(
    cluster: Cluster, namespace: str, proxy: KubeProxy, start_behind: Start
) -> None:
    proxy.next("^GET .*/namespaces/elsewhere/pods", "lose_request", times=1000)
    executor, facts = start_behind(namespaces=("elsewhere",))
    intent = executor.build(workload(namespace, "true"))
    executor.launch([intent])
    facts.wait(Gone, intent.attempt_id)
    eventually(lambda: executor.watches()["elsewhere"].last_error, 10)
    assert executor.watches()[namespace].last_error == ""
    assert executor.check() == ""


def test_nothing_is_left_of_a_closed_executor_but_its_pods(namespace: str, start: Start, cluster: Cluster) -> None:
    executor, facts = start()
    intent = executor.build(workload(namespace, *SLEEP))
    executor.launch([intent])
    facts.wait(Acknowledged, intent.attempt_id)
    executor.close()

    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("kube-")]

    eventually(lambda: not ours(), 10, on_failure=lambda: str(ours()))
    assert pod_of(cluster, intent) is not None


def test_the_list_is_read_page_by_page(cluster: Cluster, namespace: str, start: Start) -> None:
    executor, facts = start(kube=fast_kube(cluster, page_size=2))
    intents = [executor.build(workload(namespace, pod=NOWHERE)) for _ in range(5)]
    executor.launch(intents)
    for intent in intents:
        facts.wait(Acknowledged, intent.attempt_id)
    pages = list(executor.client.list_pages(pods_path(namespace)))
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert isinstance(executor.client, Client)
