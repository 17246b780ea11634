"""Tokens of real pods, access reviews, and logs, from a real API server."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from execplane.contract.clock import SystemClock
from execplane.kube.client import Client
from execplane.kube.errors import BadRequest, NotFound, Unauthorized
from execplane.kube.log import follow_log, read_log
from execplane.kube.review import TokenRefused, TokenVerifier, access
from tests.cluster.kube_proxy import KubeProxy, kube_proxy
from tests.cluster.kube_workloads import fast_kube
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    made = Client(fast_kube(cluster))
    yield made
    made.close()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[KubeProxy]:
    with kube_proxy(cluster) as running:
        yield running


@dataclass
class LaterClock(SystemClock):
    """The machine's clock, ahead by as much as a test wants."""

    ahead: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def make_pod(cluster: Cluster, namespace: str, name: str, *command: str) -> dict[str, Any]:
    container = {"name": "base", "image": Cluster.base_image, "command": list(command)}
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
        }
    )
    return cluster.get("pod", name, f"--namespace={namespace}")


def pod_token(cluster: Cluster, namespace: str, pod: str, audience: str = "execplane") -> str:
    """A token as the kubelet mounts it: bound to this pod."""
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}")
    return cluster.kubectl(
        "create", "token", "default", f"--namespace={namespace}", f"--audience={audience}", *bound
    ).strip()


def test_a_worker_token_names_its_pod_offline(
    cluster: Cluster, namespace: str, proxy: KubeProxy, tmp_path: Path
) -> None:
    made = make_pod(cluster, namespace, "bearer", "sleep", "600")
    token = pod_token(cluster, namespace, "bearer")
    options = fast_kube(cluster, kubeconfig=str(proxy.write_kubeconfig(tmp_path / "kubeconfig")))
    client = Client(options)
    verifier = TokenVerifier(client, SystemClock())
    for _ in range(3):
        found = verifier.verify_worker_token(token)
        assert (found.namespace, found.pod_name, found.pod_uid) == (namespace, "bearer", made["metadata"]["uid"])
        assert found.service_account == "default"
    assert proxy.requests("jwks") == 1
    assert proxy.requests("tokenreviews") == 0
    client.close()


def test_without_the_right_to_read_keys_the_api_server_is_asked(
    cluster: Cluster, namespace: str, proxy: KubeProxy, tmp_path: Path
) -> None:
    made = make_pod(cluster, namespace, "bearer", "sleep", "600")
    token = pod_token(cluster, namespace, "bearer")
    # Some clusters do not serve the keys; here the question is led to where there is nothing.
    proxy.rewrite = lambda line: line.replace("/.well-known/openid-configuration", "/no-such-path")
    restricted = Client(fast_kube(cluster, kubeconfig=str(proxy.write_kubeconfig(tmp_path / "kubeconfig"))))
    found = TokenVerifier(restricted, SystemClock()).verify_worker_token(token)
    assert (found.pod_name, found.pod_uid) == ("bearer", made["metadata"]["uid"])
    with pytest.raises(TokenRefused, match="refuses"):
        TokenVerifier(restricted, SystemClock()).verify_worker_token(pod_token(cluster, namespace, "bearer", "other"))
    restricted.close()


def _nobody(cluster: Cluster, namespace: str, folder: Path) -> Client:
    """A client with an account that may do nothing with pods."""
    cluster.kubectl("create", "serviceaccount", "reviewer", f"--namespace={namespace}")
    token = cluster.kubectl("create", "token", "reviewer", f"--namespace={namespace}").strip()
    config = msgspec.json.decode(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    file = folder / "reviewer"
    file.write_bytes(msgspec.json.encode(config))
    return Client(fast_kube(cluster, kubeconfig=str(file)))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("other audience", "[Aa]udience"),
        ("not bound", "not bound to a pod"),
        ("no token", "malformed"),
        ("tampered", "valid"),
    ],
)
def test_other_tokens_are_refused(cluster: Cluster, namespace: str, client: Client, what: str, said: str) -> None:
    make_pod(cluster, namespace, "bearer", "sleep", "600")
    token = _bad_token(cluster, namespace, what)
    with pytest.raises(TokenRefused, match=said):
        TokenVerifier(client, SystemClock()).verify_worker_token(token)


def _bad_token(cluster: Cluster, namespace: str, what: str) -> str:
    if what == "no token":
        return "garbage"
    if what == "other audience":
        return pod_token(cluster, namespace, "bearer", "elsewhere")
    if what == "not bound":
        return cluster.kubectl("create", "token", "default", f"--namespace={namespace}", "--audience=execplane").strip()
    head, payload, signature = pod_token(cluster, namespace, "bearer").split(".")
    return f"{head}.{payload}.{signature[:-8]}AAAAAAAA"


def test_an_expired_token_is_refused_by_our_clock(cluster: Cluster, namespace: str, client: Client) -> None:
    make_pod(cluster, namespace, "bearer", "sleep", "600")
    token = pod_token(cluster, namespace, "bearer")
    with pytest.raises(TokenRefused, match="expired"):
        TokenVerifier(client, LaterClock(ahead=timedelta(hours=2))).verify_worker_token(token)


def test_forged_key_ids_do_not_become_requests(
    cluster: Cluster, namespace: str, proxy: KubeProxy, tmp_path: Path
) -> None:
    client = Client(fast_kube(cluster, kubeconfig=str(proxy.write_kubeconfig(tmp_path / "kubeconfig"))))
    verifier = TokenVerifier(client, SystemClock())
    forged = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImZvcmdlZCJ9.e30.AAAA"
    for _ in range(5):
        with pytest.raises(TokenRefused, match="not this cluster's"):
            verifier.verify_worker_token(forged)
    assert proxy.requests("jwks") == 1
    client.close()


def test_access_is_what_the_authoriser_says(cluster: Cluster, namespace: str, client: Client, tmp_path: Path) -> None:
    assert access(client, "create", "pods", namespace).allowed
    restricted = _nobody(cluster, namespace, tmp_path)
    assert not access(restricted, "create", "pods", namespace).allowed
    restricted.close()


def test_credentials_that_are_not_accepted_are_called_so(cluster: Cluster, tmp_path: Path) -> None:
    config = msgspec.json.decode(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    config["users"][0]["user"] = {"token": "wrong"}
    file = tmp_path / "wrong"
    file.write_bytes(msgspec.json.encode(config))
    client = Client(fast_kube(cluster, kubeconfig=str(file)))
    with pytest.raises(Unauthorized) as caught:
        client.get_pod("default", "x")
    assert "expired" in caught.value.hint
    client.close()


def test_a_log_is_read_and_followed_to_its_end(cluster: Cluster, namespace: str, client: Client) -> None:
    script = "for i in 1 2 3; do echo line $i; sleep 0.3; done"
    make_pod(cluster, namespace, "talker", "sh", "-c", script)

    def started() -> list[bytes]:
        return list(follow_log(client, namespace, "talker"))

    assert eventually(started, 30, ignore=(BadRequest,)) == [b"line 1", b"line 2", b"line 3"]
    assert read_log(client, namespace, "talker", tail_lines=1) == b"line 3\n"
    assert read_log(client, namespace, "talker", limit_bytes=4) == b"line"


def test_a_reader_who_stops_leaves_no_broken_connection_behind(
    cluster: Cluster, namespace: str, client: Client
) -> None:
    make_pod(cluster, namespace, "talker", "sh", "-c", "while true; do echo again; sleep 0.05; done")
    eventually(lambda: read_log(client, namespace, "talker"), 30, ignore=(BadRequest,))
    following = cast("Generator[bytes, None, None]", follow_log(client, namespace, "talker"))
    assert next(following) == b"again"
    following.close()
    for _ in range(5):
        assert client.get_pod(namespace, "talker")


def test_the_log_of_no_pod_is_not_found(namespace: str, client: Client) -> None:
    with pytest.raises(NotFound):
        read_log(client, namespace, "nobody")
