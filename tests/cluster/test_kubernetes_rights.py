"""The printed roles are enough for all that is done, and the check names each right that is missing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.flight import unpack
from execplane.contract.observations import Acknowledged, Cleaned, Gone, Recorded
from execplane.contract.states import AttemptState
from execplane.executors.kubernetes_launch import launch_one
from execplane.executors.kubernetes_pods import PodMaker
from execplane.kube.check import Found, Plan, Result, check
from execplane.kube.client import MERGE_PATCH, Client, list_all
from execplane.kube.errors import NotFound
from execplane.kube.rbac import Account, manifests
from execplane.kube.review import TokenVerifier
from execplane.kube.rights import RIGHTS, Right, Tier
from tests.cluster.conftest import NOWHERE, SLEEP, Start, pod_of
from tests.cluster.kube_workloads import fast_kube, handle_of, options_for, workload
from tests.cluster.test_kube_access import make_pod, pod_token
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


@dataclass(frozen=True, kw_only=True)
class Granted:
    """An account with the printed roles and nothing else."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path

    def apply(self) -> None:
        """As an operator does."""
        objects = {"apiVersion": "v1", "kind": "List", "items": self.manifests}
        self.cluster.kubectl("apply", "-f", "-", stdin=msgspec.json.encode(objects).decode())

    def take_away(self, right: Right | None) -> None:
        """Everything but this right; None: everything."""
        admin = Client(fast_kube(self.cluster))
        for role in [_without(one, right) for one in self.manifests if one["kind"].endswith("Role")]:
            place = f"namespaces/{self.namespace}/roles" if role["kind"] == "Role" else "clusterroles"
            path = f"/apis/rbac.authorization.k8s.io/v1/{place}/{role['metadata']['name']}"
            body = msgspec.json.encode({"rules": role["rules"]})
            admin.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        admin.close()

    @property
    def manifests(self) -> list[dict[str, Any]]:
        return manifests(Account(name="runner", namespace=self.namespace), [self.namespace], Tier)

    def client(self) -> Client:
        return Client(fast_kube(self.cluster, kubeconfig=str(self.kubeconfig)))

    def check(self) -> list[Found]:
        """With a clean pod of this namespace, as `execplane kubernetes check --tier 3` does it."""
        client = self.client()
        intent = workload(self.namespace)

        def pod(namespace: str) -> bytes:
            maker = PodMaker(options_for(self.cluster, namespace), SystemClock())
            try:
                return maker.pod(intent).body
            finally:
                maker.close()

        try:
            return list(check(client, Plan(namespaces=[self.namespace], pod=pod, tier=Tier.EXPLAIN)))
        finally:
            client.close()

    def failed(self) -> list[str]:
        return [f"{one.step}: {one.what}" for one in self.check() if one.result is Result.FAILED]


def _without(manifest: dict[str, Any], right: Right | None) -> dict[str, Any]:
    """The manifest less one verb; a rule must keep one, so a last verb becomes one that nobody needs."""
    found = copy.deepcopy(manifest)
    for rule in found.get("rules", []) if right else []:
        assert right is not None
        if (rule["apiGroups"], rule["resources"]) == ([right.group], [right.rule_resource]):
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != right.verb] or ["deletecollection"]
    return found


@pytest.fixture
def granted(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Granted]:
    made = Granted(cluster=cluster, namespace=namespace, kubeconfig=tmp_path / "runner")
    made.apply()
    token = cluster.kubectl("create", "token", "runner", f"--namespace={namespace}").strip()
    config = msgspec.json.decode(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    made.kubeconfig.write_bytes(msgspec.json.encode(config))
    eventually(lambda: made.failed() == [], 30, on_failure=lambda: str(made.failed()))
    yield made
    for one in made.manifests:
        if one["kind"].startswith("Cluster"):
            cluster.kubectl("delete", one["kind"], one["metadata"]["name"], "--wait=false")


def test_the_printed_roles_are_enough_for_all_that_the_executor_does(
    granted: Granted, cluster: Cluster, namespace: str, start: Start
) -> None:
    executor, facts = start(kube=fast_kube(cluster, kubeconfig=str(granted.kubeconfig)))
    assert executor.probe() == ""
    intent = executor.build(workload(namespace, "sh", "-c", "echo last words; exit 3"))
    sleeper = executor.build(workload(namespace, *SLEEP))
    sidecar = {"name": "side", "image": Cluster.base_image, "command": ["sleep", "600"]}
    kept = executor.build(workload(namespace, "true", sidecars=[sidecar]))
    executor.launch([intent, sleeper, kept])
    facts.wait(Acknowledged, sleeper.attempt_id)
    again = launch_one(executor.client, sleeper, executor.options, SystemClock())
    assert isinstance(again, Acknowledged), "get pods, to know whose the name is"
    assert again.adopted
    gone = facts.wait(Gone, intent.attempt_id)
    assert gone.diagnosis.exit_code == 3
    flight = unpack(facts.wait(Recorded, intent.attempt_id).body)
    assert flight.unread == ()
    assert flight.events
    assert flight.node is not None
    assert [one.text.strip() for one in flight.lines] == ["last words"]
    executor.clean([handle_of(intent, gone.uid)], outcome=AttemptState.SUCCESS)
    eventually(lambda: pod_of(cluster, intent) is None, 60, on_failure=lambda: cluster.dump(namespace))
    facts.wait(Gone, kept.attempt_id)
    executor.clean([handle_of(kept, facts.wait(Acknowledged, kept.attempt_id).uid)], outcome=AttemptState.FAILED)
    facts.wait(Cleaned, kept.attempt_id)
    assert pod_of(cluster, kept) is not None, "patched, and kept"
    executor.stop([handle_of(sleeper, facts.wait(Acknowledged, sleeper.attempt_id).uid)], grace_seconds=1)
    facts.wait(Gone, sleeper.attempt_id)


def test_the_printed_roles_let_why_pending_read_all_that_it_may_need(granted: Granted, namespace: str) -> None:
    client = granted.client()
    with pytest.raises(NotFound):
        client.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/none")
    assert list_all(client, "/api/v1/nodes")[0]
    client.close()


def test_the_printed_roles_allow_token_reviews(granted: Granted, cluster: Cluster, namespace: str) -> None:
    made = make_pod(cluster, namespace, "bearer", "sleep", "600")
    client = granted.client()
    found = TokenVerifier(client, SystemClock())._reviewed(pod_token(cluster, namespace, "bearer"))
    assert found.pod_uid == made["metadata"]["uid"]
    client.close()


_TAKEN_AWAY = (
    "create pods",
    "watch pods",
    "delete pods",
    "create tokenreviews.authentication.k8s.io",
    "get pods/log",
    "list events",
    "list nodes",
)


def test_without_a_right_the_check_fails_and_names_it(granted: Granted) -> None:
    """Token reviews are spared where keys can be read, as they can here: that is said."""
    for right in [one for one in RIGHTS if one.words in _TAKEN_AWAY]:
        granted.take_away(right)
        place = "in the whole cluster" if right.cluster_wide else f"in {granted.namespace}"
        if right.resource == "tokenreviews":
            eventually(lambda: any("not needed" in one.said for one in granted.check()), 30)
            assert granted.failed() == []
            continue
        missing = f"access: {right.words} {place}"
        eventually(lambda missing=missing: missing in granted.failed(), 30, on_failure=lambda: str(granted.failed()))  # type: ignore[misc]
        others = [one for one in granted.failed() if one.startswith("access") and one != missing]
        assert others == []


def test_a_full_quota_is_told_by_the_check(granted: Granted, cluster: Cluster, namespace: str) -> None:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "few", "namespace": namespace},
            "spec": {"hard": {"pods": "0"}},
        }
    )

    def full() -> list[Found]:
        return [one for one in granted.check() if one.step == "quota" and one.said.startswith("pods")]

    quota = eventually(full, 30)
    assert "0 of 0 used (ResourceQuota few)" in quota[0].said
    assert granted.failed() == [f"dry run: {namespace}"]


def test_a_plugins_token_is_accepted_by_a_real_api_server(
    cluster: Cluster, namespace: str, start: Start, tmp_path: Path
) -> None:
    config = msgspec.json.decode(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    token = config["users"][0]["user"]["token"]
    api = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": api, "kind": "ExecCredential", "status": {"token": token}}
    (tmp_path / "answer").write_bytes(msgspec.json.encode(answer))
    plugin = {"apiVersion": api, "command": "cat", "args": [str(tmp_path / "answer")], "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": plugin}
    file = tmp_path / "with-plugin"
    file.write_bytes(msgspec.json.encode(config))
    executor, facts = start(kube=fast_kube(cluster, kubeconfig=str(file)))
    intent = executor.build(workload(namespace, pod=NOWHERE))
    executor.launch([intent])
    assert facts.wait(Acknowledged, intent.attempt_id).uid
