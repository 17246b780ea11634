"""Why a pod waits, asked of a real scheduler and a real kubelet: each row of the table, first as an administrator,
then with an account that may read pods and nothing else."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.pending import Code, Pending, ranked
from execplane.kube.client import Client
from execplane.kube.options import KubeOptions
from execplane.kube.pending import Looker
from execplane.pods.pending import reasons
from execplane.pods.surroundings import Wanted
from tests.cluster.pending_situations import ROOM, Situation, situations
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster, KubectlError
from tests.parts.ports import free_ports

TABLE = situations("n", "registry", "2")
NAMES = [row.name for row in TABLE]
CLUSTER_WIDE = ("Node", "PersistentVolume", "StorageClass", "PriorityClass")


@dataclass
class Scene:
    """All pods of the table, waiting."""

    cluster: Cluster
    namespace: str
    rows: dict[str, Situation]
    uids: dict[str, str]
    administrator: Client
    blind: Client

    def ask(self, client: Client, name: str) -> Pending:
        """As if nobody had asked before."""
        wanted = Wanted(namespace=self.namespace, name=name, uid=self.uids[name], known=b"{}")
        around = Looker(lambda: client, SystemClock()).look(wanted)
        return ranked(reasons(around), unread=around.unread)

    def until(self, client: Client, name: str, code: Code, words: tuple[str, ...]) -> Pending:
        """The answer, once it is what the row says; the cluster takes its time to find some reasons."""
        last: list[Pending] = []

        def right() -> Pending | None:
            last[:] = [self.ask(client, name)]
            fits = last[0].first.code is code and all(word in last[0].sentence for word in words)
            return last[0] if fits else None

        return eventually(right, 60, on_failure=lambda: f"{last}\n{self._dump(name)}", interval_seconds=0.3)

    def _dump(self, name: str) -> str:
        with contextlib.suppress(KubectlError):
            return self.cluster.kubectl("describe", "pod", name, f"--namespace={self.namespace}")
        return ""


@pytest.fixture(scope="module")
def scene(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not cluster.is_own:
        pytest.skip("adds nodes that do not exist")
    namespace = f"why-{secrets.token_hex(3)}"
    cluster.create_namespace(namespace)
    node_cpu = cluster.get("node", cluster.node_name)["status"]["allocatable"]["cpu"]
    with silent_server(cluster) as registry:
        rows = {row.name: row for row in situations(namespace, registry, node_cpu)}
        try:
            make(cluster, namespace, rows)
            uids = {
                item["metadata"]["name"]: item["metadata"]["uid"]
                for item in cluster.get("pods", f"--namespace={namespace}")["items"]
            }
            for row in rows.values():
                if row.then is not None:
                    row.then(cluster, f"{namespace}/{row.name}")
            yield Scene(
                cluster=cluster,
                namespace=namespace,
                rows=rows,
                uids=uids,
                administrator=client_of(cluster.kubeconfig),
                blind=client_of(blind_kubeconfig(cluster, namespace, tmp_path_factory.mktemp("blind"))),
            )
        finally:
            clear(cluster, namespace, rows)


@contextlib.contextmanager
def silent_server(cluster: Cluster) -> Iterator[str]:
    """An address whose connections are never made: its queue is full and nobody takes from it."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((cluster.host_address, 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filling.connect(address)
        yield f"{address[0]}:{address[1]}"


def make(cluster: Cluster, namespace: str, rows: dict[str, Situation]) -> None:
    """In two waves: pods that hold something first, then those that want it."""
    patch_status(cluster, cluster.node_name, {"capacity": {ROOM: "1"}, "allocatable": {ROOM: "1"}})
    objects = [one for row in rows.values() for one in row.objects]
    cluster.create(*(in_namespace(one, namespace) for one in objects))
    for one in objects:
        if one["kind"] == "Node":
            make_ready(cluster, one)
    for row in rows.values():
        if row.before is not None:
            row.before(cluster, f"{namespace}/{row.name}")
    waves = [[row for row in rows.values() if bool(row.after) is later] for later in (False, True)]
    cluster.create(*(in_namespace(row.pod, namespace) for row in waves[0]))
    for name in {row.after for row in waves[1]}:
        eventually(
            lambda name=name: cluster.get("pod", name, f"--namespace={namespace}")["status"]["phase"] == "Running",  # type: ignore[misc]
            60,
            on_failure=lambda: cluster.dump(namespace),
            interval_seconds=0.2,
        )
    cluster.create(*(in_namespace(row.pod, namespace) for row in waves[1]))


def in_namespace(one: dict[str, Any], namespace: str) -> dict[str, Any]:
    if one["kind"] in CLUSTER_WIDE:
        return one
    return {**one, "metadata": {**one["metadata"], "namespace": namespace}}


def make_ready(cluster: Cluster, node: dict[str, Any]) -> None:
    """What a kubelet would report; of the one that is to be not ready, the contrary."""
    name = node["metadata"]["name"]
    ready = "False" if name.endswith("unready") else "True"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "Ready", "status": ready, "reason": "Test", "message": "the test says so"}
    room = {"cpu": "4", "memory": "4Gi", "pods": node["metadata"]["annotations"]["allocatable-pods"]}
    status = {
        "capacity": room,
        "allocatable": room,
        "conditions": [{**condition, "lastHeartbeatTime": now, "lastTransitionTime": now}],
    }
    patch_status(cluster, name, status)


def patch_status(cluster: Cluster, node: str, status: dict[str, Any]) -> None:
    patch = f"-p={json.dumps({'status': status})}"
    cluster.kubectl("patch", "node", node, "--subresource=status", "--type=merge", patch)


def client_of(kubeconfig: Path) -> Client:
    return Client(KubeOptions(kubeconfig=str(kubeconfig), in_cluster=False))


def blind_kubeconfig(cluster: Cluster, namespace: str, folder: Path) -> Path:
    """Of an account with the smallest role: its own pods."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "blind", "namespace": namespace}}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "blind", "namespace": namespace}}
    cluster.create(
        account,
        {**role, "kind": "Role", "rules": rules},
        {
            **role,
            "kind": "RoleBinding",
            "subjects": [{"kind": "ServiceAccount", "name": "blind", "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "blind"},
        },
    )
    token = cluster.kubectl("create", "token", "blind", f"--namespace={namespace}").strip()
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def clear(cluster: Cluster, namespace: str, rows: dict[str, Situation]) -> None:
    here, free = f"--namespace={namespace}", '-p={"metadata":{"finalizers":null}}'
    for kind, name in (("pod", "deleting"), ("pvc", "leaving")):
        with contextlib.suppress(KubectlError):
            cluster.kubectl("patch", kind, name, here, "--type=merge", free)
    cluster.kubectl("delete", "pods", "--all", here, "--force", "--grace-period=0", "--wait=false")
    patch_status(cluster, cluster.node_name, {"capacity": {ROOM: None}, "allocatable": {ROOM: None}})
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    for one in (found for row in rows.values() for found in row.objects if found["kind"] in CLUSTER_WIDE):
        with contextlib.suppress(KubectlError):
            cluster.kubectl("delete", one["kind"].lower(), one["metadata"]["name"], "--wait=false")


# What passes by itself is asked first.
@pytest.mark.parametrize("name", sorted(NAMES, key=lambda name: name != "image-coming"))
def test_the_answer_to_each_situation_is_right(scene: Scene, name: str) -> None:
    row = scene.rows[name]
    answer = scene.until(scene.administrator, name, row.code, row.words)

    assert answer.unread == ()
    if row.besides is not None:
        assert row.besides in [one.code for one in answer.others]


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.blind])
def test_what_may_not_be_read_is_said_with_the_right_that_would_allow_it(scene: Scene, name: str) -> None:
    row = scene.rows[name]
    assert row.blind_code is not None
    scene.until(scene.blind, name, row.blind_code, row.blind)


def test_an_api_server_that_does_not_answer_leaves_what_the_ledger_knows(scene: Scene, tmp_path: Path) -> None:
    known = json.dumps(scene.cluster.get("pod", "selector", f"--namespace={scene.namespace}")).encode()
    wanted = Wanted(namespace=scene.namespace, name="selector", uid=scene.uids["selector"], known=known)
    config = json.loads(scene.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_ports(1)[0]}"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))

    around = Looker(lambda: client_of(path), SystemClock()).look(wanted)
    answer = ranked(reasons(around), unread=around.unread)

    assert answer.first.code is Code.NODE_SELECTOR
    assert "The pod could not be read" in answer.unread[0].sentence
    assert "cannot be reached" in answer.unread[0].sentence


def test_a_pod_that_took_the_name_is_not_ours(scene: Scene) -> None:
    wanted = Wanted(namespace=scene.namespace, name="selector", uid="another", known=b"{}")
    around = Looker(lambda: scene.administrator, SystemClock()).look(wanted)

    assert ranked(reasons(around)).first.code is Code.POD_GONE


def test_the_table_is_large_enough() -> None:
    assert len({row.code for row in TABLE}) >= 25
