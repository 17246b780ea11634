"""The kubernetes executor follows its pods through restarts, outages and deaf watches, and says why one waits."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.observations import Acknowledged, Gone, LaunchRefused, Progress
from execplane.kube.client import Client, pods_path
from tests.cluster.conftest import NOWHERE, SLEEP, Start, pod_of
from tests.cluster.kube_proxy import KubeProxy
from tests.cluster.kube_workloads import fast_kube, handle_of, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


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
    # What has ended is read for its flight record.
    assert proxy.requests(f"^GET .*/pods/({alive.name}|{never.name})") == 0


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
