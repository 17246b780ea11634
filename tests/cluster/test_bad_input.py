"""What clusters do to an executor on a bad day: each of it is survived, loses nothing, and is said where one looks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from execplane.contract.clock import SystemClock
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.observations import Acknowledged, Gone, LaunchRefused, Progress
from execplane.contract.workload import Intent
from execplane.executors.kubernetes import KubernetesExecutor
from tests.cluster.conftest import NOWHERE, SLEEP, Start, pod_of
from tests.cluster.kube_proxy import KubeProxy
from tests.cluster.kube_workloads import Facts, fast_kube, handle_of, options_for, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


def test_an_api_server_that_is_away_under_load_costs_no_launch_and_makes_no_pod_twice(
    cluster: Cluster, namespace: str, proxy: KubeProxy, start_behind: Start
) -> None:
    executor, facts = start_behind()
    intents = [executor.build(workload(namespace, pod=NOWHERE)) for _ in range(30)]
    proxy.next("^POST .*/pods", "lose_answer", times=5)
    proxy.next("^(POST|GET) .*/pods", "lose_request", times=10_000)
    proxy.cut()
    executor.launch(intents)
    eventually(lambda: "cannot be reached" in executor.check() or "answer" in executor.check(), 30)
    proxy.heal()

    def launched() -> bool:
        """As the driver does with what was refused for now."""
        missing = [one for one in intents if not facts.of(Acknowledged, one.attempt_id)]
        waiting = executor.unsent()
        again = [one for one in missing if facts.of(LaunchRefused, one.attempt_id) and one.attempt_id not in waiting]
        executor.launch(again)
        return not missing

    eventually(launched, 60, on_failure=lambda: f"{facts.all[-5:]}", interval_seconds=0.5)
    refused = [fact for one in intents for fact in facts.of(LaunchRefused, one.attempt_id)]
    assert all(fact.retry and fact.diagnosis.infrastructure for fact in refused)
    found = cluster.get("pods", f"--namespace={namespace}")["items"]
    assert sorted(pod["metadata"]["name"] for pod in found) == sorted(one.name for one in intents)
    eventually(lambda: executor.check() == "", 30)


def test_a_token_that_is_revoked_in_the_middle_is_said_and_its_successor_is_taken(
    cluster: Cluster, namespace: str, start: Start, tmp_path: Path
) -> None:
    account = bound_account(cluster, namespace)
    file = tmp_path / "token"
    file.write_text(account)
    kubeconfig = tmp_path / "kubeconfig"
    config = msgspec.json.decode(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"tokenFile": str(file)}}]
    kubeconfig.write_bytes(msgspec.json.encode(config))
    executor, facts = start(kube=fast_kube(cluster, kubeconfig=str(kubeconfig)))
    first = executor.build(workload(namespace, *SLEEP))
    executor.launch([first])
    facts.wait(Acknowledged, first.attempt_id)

    cluster.kubectl("delete", "serviceaccount", "runner", f"--namespace={namespace}")

    def refused() -> Intent | None:
        """The API server remembers a good token for some seconds."""
        late = executor.build(workload(namespace, pod=NOWHERE))
        executor.launch([late])
        eventually(lambda: [fact for fact in facts.all if getattr(fact, "attempt_id", 0) == late.attempt_id], 30)
        return late if facts.of(LaunchRefused, late.attempt_id) else None

    late = eventually(refused, 60, interval_seconds=1.0)
    answer = facts.of(LaunchRefused, late.attempt_id)[0]
    assert (answer.retry, answer.diagnosis.infrastructure) == (True, True)
    assert "401" in answer.diagnosis.sentence

    file.write_text(bound_account(cluster, namespace))

    def launched() -> bool:
        executor.launch([late])
        return bool(facts.of(Acknowledged, late.attempt_id))

    eventually(launched, 90, interval_seconds=1.0)
    eventually(lambda: executor.check() == "", 60)
    assert not facts.of(Gone, first.attempt_id), "what ran was left alone"


def bound_account(cluster: Cluster, namespace: str) -> str:
    """A new token of a service account that may do everything in its namespace."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
    metadata = {"name": "runner", "namespace": namespace}
    subject = {"kind": "ServiceAccount", **metadata}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": role,
        "subjects": [subject],
    }
    objects = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, binding]
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    cluster.kubectl("apply", "-f", "-", stdin=msgspec.json.encode(listed).decode())
    return cluster.kubectl("create", "token", "runner", f"--namespace={namespace}").strip()


def test_a_namespace_that_is_deleted_ends_its_own_attempts_and_nobody_elses(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    doomed = f"{namespace}-doomed"
    cluster.create_namespace(doomed)
    executor, facts = start(namespaces=(doomed,))
    away, here = (executor.build(in_namespace(workload(namespace, *SLEEP), place)) for place in (doomed, namespace))
    executor.launch([away, here])
    for intent in (away, here):
        facts.wait(Acknowledged, intent.attempt_id)
    cluster.kubectl("delete", "namespace", doomed, "--wait=false")
    late = executor.build(in_namespace(workload(namespace, *SLEEP), doomed))
    gone = facts.wait(Gone, away.attempt_id, 90)
    assert gone.diagnosis.category == "deleted"
    executor.launch([late])
    refused = facts.wait(LaunchRefused, late.attempt_id)
    assert doomed in refused.diagnosis.sentence
    after = executor.build(workload(namespace, pod=NOWHERE))
    executor.launch([after])
    facts.wait(Acknowledged, after.attempt_id)
    assert not facts.of(Gone, here.attempt_id)


def in_namespace(work: Any, namespace: str) -> Any:
    override = work.executor_config["pod_override"]
    pod = {**override, "metadata": {**override.get("metadata", {}), "namespace": namespace}}
    return msgspec.structs.replace(work, executor_config={"pod_override": pod})


@contextmanager
def hanging_webhook(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Asked about every pod of the namespace, it takes the connection and says nothing."""
    with socket.create_server((cluster.host_address, 0)) as listener:
        name = f"{namespace}.example.org"
        url = "https://{}:{}/".format(*listener.getsockname())
        webhook = {
            "name": name,
            "clientConfig": {"url": url},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "timeoutSeconds": 2,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        kind = "ValidatingWebhookConfiguration"
        cluster.create(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name},
                "webhooks": [webhook],
            }
        )
        try:
            yield
        finally:
            cluster.kubectl("delete", kind, name)


def test_a_webhook_that_hangs_is_named_and_delays_no_other_namespace(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    watched = f"{namespace}-watched"
    cluster.create_namespace(watched)
    executor, facts = start(namespaces=(watched,))
    with hanging_webhook(cluster, watched):

        def refusal() -> LaunchRefused | None:
            slow = executor.build(in_namespace(workload(namespace, pod=NOWHERE), watched))
            executor.launch([slow])
            eventually(lambda: [fact for fact in facts.all if getattr(fact, "attempt_id", 0) == slow.attempt_id], 30)
            return next(iter(facts.of(LaunchRefused, slow.attempt_id)), None)

        # A new webhook counts some moments after it is made.
        refused = eventually(refusal, 60)
        assert f"{watched}.example.org" in refused.diagnosis.sentence
        assert (refused.retry, refused.diagnosis.infrastructure) == (True, True)
        quick = executor.build(workload(namespace, pod=NOWHERE))
        executor.launch([quick])
        facts.wait(Acknowledged, quick.attempt_id)
    cluster.kubectl("delete", "namespace", watched, "--wait=false")


class Ahead(SystemClock):
    """A host's clock that is five minutes ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=5)


def test_a_clock_that_is_five_minutes_off_loses_no_end(cluster: Cluster, namespace: str) -> None:
    executor = KubernetesExecutor(options_for(cluster, namespace), clock=Ahead())
    facts = Facts(lambda: cluster.dump(namespace))
    executor.start(facts.report)
    try:
        intent = executor.build(workload(namespace, "sh", "-c", "exit 3"))
        executor.launch([intent])
        gone = facts.wait(Gone, intent.attempt_id)
        assert gone.diagnosis.exit_code == 3
        seen = facts.of(Progress, intent.attempt_id)[-1]
        assert seen.scheduled_at is not None
        assert executor.check() == ""
    finally:
        executor.close()


def test_a_pod_of_nearly_a_megabyte_runs_and_a_larger_one_than_the_cluster_keeps_is_refused_with_its_size(
    namespace: str, start: Start
) -> None:
    executor, facts = start()

    def with_bytes(count: int) -> Intent:
        env = [{"name": f"BYTES_{number}", "value": "x" * 100_000} for number in range(count // 100_000)]
        return executor.build(workload(namespace, spec=NOWHERE["spec"], container={"env": env}))

    large, too_large = with_bytes(900_000), with_bytes(4_000_000)
    executor.launch([large, too_large])
    facts.wait(Acknowledged, large.attempt_id)
    refused = facts.wait(LaunchRefused, too_large.attempt_id)
    assert (refused.retry, refused.diagnosis.infrastructure) == (False, False)
    assert "large" in refused.diagnosis.sentence


def test_a_dag_of_any_script_and_length_gets_a_pod_that_can_be_found_by_it(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    executor, facts = start()
    names = [
        "日次売上集計",
        "ежедневный_отчёт",
        "تقرير_يومي",
        "दैनिक",
        "emoji_🚀_dag",
        "Ünïcödé.dag-1",
        "x" * 250,
        "é" * 250,
    ]
    intents: dict[str, Intent] = {}
    for name in names:
        made = workload(namespace, pod=NOWHERE)
        task = TaskKey(dag_id=name, run_id=f"manual__{name}"[:250], task_id=name)
        intents[name] = executor.build(msgspec.structs.replace(made, key=AttemptKey(task=task, attempt_no=1)))
    executor.launch(list(intents.values()))
    for name, intent in intents.items():
        facts.wait(Acknowledged, intent.attempt_id)
        found = pod_of(cluster, intent)
        assert found is not None
        assert found["metadata"]["annotations"]["dag_id"] == name


def test_two_deployments_in_one_namespace_touch_only_their_own(cluster: Cluster, namespace: str, start: Start) -> None:
    ours, our_facts = start(deployment_id="ours")
    theirs, their_facts = start(deployment_id="theirs")
    mine = ours.build(replace_deployment(workload(namespace, *SLEEP, task_id="same"), "ours"))
    other = theirs.build(replace_deployment(workload(namespace, *SLEEP, task_id="same"), "theirs"))
    assert mine.name != other.name
    ours.launch([mine])
    theirs.launch([other])
    made = our_facts.wait(Acknowledged, mine.attempt_id)
    their_facts.wait(Acknowledged, other.attempt_id)
    ours.stop([handle_of(mine, made.uid)], grace_seconds=1)
    our_facts.wait(Gone, mine.attempt_id)
    assert not [fact for fact in our_facts.all if getattr(fact, "attempt_id", 0) == other.attempt_id]
    assert not their_facts.of(Gone, other.attempt_id)
    found = pod_of(cluster, other)
    assert found is not None
    assert "deletionTimestamp" not in found["metadata"]


def replace_deployment(work: Any, deployment_id: str) -> Any:
    return msgspec.structs.replace(work, deployment_id=deployment_id)


def test_a_quota_that_is_cut_to_zero_stops_new_pods_and_leaves_those_that_run(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    executor, facts = start(quota_retry_seconds=0.1)
    before, after = (executor.build(workload(namespace, *SLEEP)) for _ in range(2))
    executor.launch([before])
    facts.wait(Acknowledged, before.attempt_id)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "cut", "namespace": namespace}}
    cluster.create({**quota, "spec": {"hard": {"pods": "0"}}})
    eventually(lambda: cluster.get("resourcequota", "cut", f"--namespace={namespace}").get("status", {}).get("hard"))
    executor.launch([after])
    refused = facts.wait(LaunchRefused, after.attempt_id)
    assert (refused.retry, refused.diagnosis.category) == (True, "quota")
    assert not facts.of(Gone, before.attempt_id)
