"""The test cluster itself: what the other cluster tests rely on, and that it leaves nothing behind."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.parts.eventually import eventually
from tests.parts.kubernetes import kwok
from tests.parts.kubernetes.cluster import HOST_ADDRESS_VARIABLE, KUBECONFIG_VARIABLE, Cluster, KubectlError, Mode
from tests.parts.postgres import URL_VARIABLE

GREETING = b"hello from the host\n"
# A Service that was created a moment ago refuses connections until kube-proxy has heard of its endpoints.
FETCH = """
import sys, threading, urllib.request
for _ in range(50):
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode(), end="")
        sys.exit()
    except OSError as error:
        last = error
        threading.Event().wait(0.2)
sys.exit(str(last))
"""


def pod(name: str, namespace: str, *command: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "base", "image": Cluster.base_image, "command": [*command]}
    container |= {"imagePullPolicy": "IfNotPresent", **spec.pop("container", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": spec.pop("annotations", {})},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **spec,
        },
    }


def wait_for_phase(cluster: Cluster, namespace: str, name: str, phase: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        found = cluster.get("pod", name, f"--namespace={namespace}")
        now = found["status"].get("phase")
        if now in {"Succeeded", "Failed"} - {phase}:
            pytest.fail(f"pod {name}: {now} instead of {phase}")
        return found if now == phase else None

    return eventually(reached, 60, on_failure=lambda: cluster.dump(namespace), interval_seconds=0.2)


def log_of(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.kubectl("logs", name, f"--namespace={namespace}")


def run_to_end(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> str:
    cluster.create(manifest)
    name = manifest["metadata"]["name"]
    wait_for_phase(cluster, namespace, name, "Succeeded")
    return log_of(cluster, namespace, name)


def is_gone(cluster: Cluster, namespace: str, name: str) -> bool:
    try:
        cluster.get("pod", name, f"--namespace={namespace}")
    except KubectlError as error:
        return "NotFound" in str(error)
    return False


@contextmanager
def server_on_host(address: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GREETING)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_raw_pod_runs_and_is_gone(cluster: Cluster, namespace: str) -> None:
    command = ["python3", "-c", "import sys; print('ran', sys.version_info[:2])"]
    assert run_to_end(cluster, namespace, pod("raw", namespace, *command)) == "ran (3, 11)\n"

    cluster.kubectl("delete", "pod", "raw", f"--namespace={namespace}", "--wait=false")
    eventually(lambda: is_gone(cluster, namespace, "raw"), 30, on_failure=lambda: cluster.dump(namespace))


def test_a_pod_above_its_memory_limit_is_oom_killed(cluster: Cluster, namespace: str) -> None:
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    cluster.create(pod("greedy", namespace, "python3", "-c", "bytearray(200 << 20)", container=limits))
    found = wait_for_phase(cluster, namespace, "greedy", "Failed")
    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"


def test_a_pod_gets_a_token_for_execplane_that_the_jwks_verify(cluster: Cluster, namespace: str) -> None:
    token_source = {"serviceAccountToken": {"path": "token", "audience": "execplane", "expirationSeconds": 600}}
    volumes = [{"name": "token", "projected": {"sources": [token_source]}}]
    mounts = {"volumeMounts": [{"name": "token", "mountPath": "/var/run/execplane"}]}
    manifest = pod("bearer", namespace, "cat", "/var/run/execplane/token", container=mounts, volumes=volumes)
    token = run_to_end(cluster, namespace, manifest)

    keys = jwt.PyJWKSet.from_json(cluster.kubectl("get", "--raw", "/openid/v1/jwks"))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience="execplane", issuer=cluster.issuer)
    uid = cluster.get("pod", "bearer", f"--namespace={namespace}")["metadata"]["uid"]
    assert claims["kubernetes.io"]["pod"] == {"name": "bearer", "uid": uid}


def test_pods_reach_the_host_by_address_and_by_service_name(cluster: Cluster, namespace: str) -> None:
    with server_on_host(cluster.host_address) as port:
        address = f"http://{cluster.host_address}:{port}/"
        by_address = pod("by-address", namespace, "python3", "-c", FETCH, address)
        assert run_to_end(cluster, namespace, by_address) == GREETING.decode()

        cluster.create(*service_for_host("host", namespace, cluster.host_address, port))
        by_name = pod("by-name", namespace, "python3", "-c", FETCH, f"http://host.{namespace}.svc/")
        assert run_to_end(cluster, namespace, by_name) == GREETING.decode()


def service_for_host(name: str, namespace: str, address: str, port: int) -> list[dict[str, Any]]:
    metadata = {"name": name, "namespace": namespace}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"port": 80, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"port": port, "name": ""}],
        },
    ]


@pytest.mark.parametrize(("end", "phase"), [("", "Succeeded"), ("OOMKilled", "Failed")])
def test_a_pod_on_a_fake_node_runs_and_ends(own_cluster: Cluster, namespace: str, end: str, phase: str) -> None:
    own_cluster.add_kwok_nodes(1)
    run_fake_pod(own_cluster, namespace, end, phase)


@pytest.mark.usefixtures("own_cluster")
def test_a_control_plane_alone_runs_fake_pods() -> None:
    with Cluster(Mode.CONTROL_PLANE) as alone:
        alone.add_kwok_nodes(2)
        alone.create_namespace("alone")
        run_fake_pod(alone, "alone", "", "Succeeded")


def run_fake_pod(cluster: Cluster, namespace: str, end: str, phase: str) -> None:
    annotations = {kwok.RUN_ANNOTATION: "3s", **({kwok.END_ANNOTATION: end} if end else {})}
    place = {"nodeSelector": kwok.NODE_SELECTOR, "tolerations": [kwok.TOLERATION]}
    cluster.create(pod("fake", namespace, "true", annotations=annotations, **place))
    wait_for_phase(cluster, namespace, "fake", "Running")
    found = wait_for_phase(cluster, namespace, "fake", phase)
    reason = found["status"]["containerStatuses"][0]["state"]["terminated"]["reason"]
    assert reason == (end or "Completed")


def test_the_audit_log_witnesses_creates_and_deletes(own_cluster: Cluster, namespace: str) -> None:
    own_cluster.create(pod("witnessed", namespace, "true"))
    own_cluster.kubectl("delete", "pod", "witnessed", f"--namespace={namespace}", "--wait=false")

    def verbs() -> list[str]:
        events = map(json.loads, own_cluster.audit_log.read_text().splitlines())
        pods = (event for event in events if not event["objectRef"].get("subresource"))
        mine = (event for event in pods if event["objectRef"].get("namespace") == namespace)
        return [event["verb"] for event in mine if event["user"]["username"] == "test-admin"]

    eventually(lambda: verbs()[:2] == ["create", "delete"], 10, on_failure=lambda: str(verbs()))


def test_the_apiserver_comes_back_where_it_was(own_cluster: Cluster, namespace: str) -> None:
    own_cluster.create(pod("survivor", namespace, "sleep", "600"))
    before = wait_for_phase(own_cluster, namespace, "survivor", "Running")
    own_cluster.restart_apiserver()
    after = wait_for_phase(own_cluster, namespace, "survivor", "Running")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]


def test_the_worker_image_runs_where_pods_are_restricted(cluster: Cluster, namespace: str, worker_image: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    script = "import execplane, getpass, os; print(getpass.getuser(), os.getuid(), execplane.__file__)"
    container = {"image": worker_image, "securityContext": security}
    manifest = pod("worker", namespace, "python", "-c", script, container=container)
    user, uid, place = run_to_end(cluster, namespace, manifest).split()
    assert (user, uid) == ("execplane", "50000")
    assert place.startswith("/opt/execplane/")


def test_a_killed_run_leaves_no_process_mount_network_or_folder() -> None:
    # A short path: Unix sockets below it must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ep-") as name:
        place = Path(name)
        place.chmod(0o711)
        owner = subprocess.Popen(
            [sys.executable, "-m", "tests.parts", "up", "postgres", "kubernetes"],
            cwd=Path(__file__).parents[2],
            env={**environment_without_existing_parts(), "TMPDIR": name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert owner.stdin is not None
        assert owner.stdout is not None
        with owner.stdin, owner.stdout:
            exports = dict(owner.stdout.readline().removeprefix("export ").split("=", 1) for _ in range(4))
            address = exports[HOST_ADDRESS_VARIABLE].strip("'\n")
            names = {path.name for path in place.iterdir()}
            kinds = {trace.split()[0] for trace in traces(place, names, address)}
            assert kinds == {"process", "cgroup", "folder", "address"}
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            eventually(
                lambda: not traces(place, names, address),
                30,
                on_failure=lambda: "\n".join(traces(place, names, address)),
            )


def environment_without_existing_parts() -> dict[str, str]:
    existing = (KUBECONFIG_VARIABLE, HOST_ADDRESS_VARIABLE, URL_VARIABLE)
    return {key: value for key, value in os.environ.items() if key not in existing}


def traces(place: Path, names: set[str], address: str) -> list[str]:
    """All that this machine shows of the servers whose folders are in `place`: one line each, kind first."""
    found = [f"folder {path}" for path in place.iterdir()]
    groups = [path for pattern in ("*", "*/*") for path in Path("/sys/fs/cgroup").glob(pattern)]
    found += [f"cgroup {path}" for path in groups if path.name in names]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if f"{place}/" in line]
    local = Path("/proc/net/fib_trie").read_text().splitlines()
    found += [f"address {line}" for line in local if line.endswith(f" {address}")]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{place}/" in line:
                found.append(f"process {entry.parent.name} {line}")
    return found
