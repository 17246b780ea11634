"""Watching a namespace's pods as they change, and a webhook that refuses some: the recorder's eyes and hands."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.parts.kubernetes import certificates
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.kubernetes.situations import Done


class Recording:
    """Keeps, for each pod that is looked for, the first of its states that tells."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._wanted: dict[str, Done] = {}
        self._seen: dict[str, tuple[str, dict[str, Any]]] = {}
        self._newest: dict[str, dict[str, Any]] = {}
        self._history: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Recording:
        self._process = subprocess.Popen(
            self._cluster.kubectl_command(
                "get", "pods", f"--namespace={self._namespace}", "--watch", "--output-watch-events", "--output=json"
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def look(self, name: str, done: Done) -> None:
        """Keep the first state of the pod for which `done` holds; states of before are looked at, too."""
        with self._lock:
            self._wanted[name] = done
            for kind, pod in self._history.get(name, []):
                self._judge(name, kind, pod)

    def seen(self, name: str) -> tuple[str, dict[str, Any]] | None:
        with self._lock:
            return self._seen.get(name)

    def ready(self, name: str) -> bool:
        """Whether it is time to do to the pod what is to be done: it runs, or it cannot."""
        with self._lock:
            status = self._newest.get(name, {}).get("status", {})
        stuck = any(each.get("reason") == "Unschedulable" for each in status.get("conditions", []))
        return status.get("phase") == "Running" or stuck

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self._take(event["type"], event["object"])

    def _take(self, kind: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        with self._lock:
            self._newest[name] = pod
            self._history.setdefault(name, []).append((kind, pod))
            self._judge(name, kind, pod)

    def _judge(self, name: str, kind: str, pod: dict[str, Any]) -> None:
        done = self._wanted.get(name)
        if done is not None and name not in self._seen and done(kind, pod):
            self._seen[name] = kind, pod


@contextmanager
def admission_webhook(cluster: Cluster, *, deny: str, namespace: str, unreachable: str) -> Iterator[None]:
    """An https webhook on this machine that denies one image in `namespace`; in `unreachable` nobody answers."""
    with tempfile.TemporaryDirectory() as folder:
        files = certificates.create(Path(folder) / "webhook", [cluster.host_address])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.server_certificate, files.server_key)
        server = http.server.ThreadingHTTPServer((cluster.host_address, 0), _denying(deny))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            authority = base64.b64encode(files.authority.read_bytes()).decode()
            places = {"policy.example.com": (server.server_port, namespace), "dead.example.com": (1, unreachable)}
            cluster.create(
                *(
                    _configuration(name, f"https://{cluster.host_address}:{port}/", authority, where)
                    for name, (port, where) in places.items()
                )
            )
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _denying(image: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Denying(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = review["request"]
            images = [each["image"] for each in request["object"]["spec"]["containers"]]
            response: dict[str, Any] = {"uid": request["uid"], "allowed": image not in images}
            if image in images:
                response["status"] = {"message": f"image {image} comes from a registry that is not allowed"}
            data = json.dumps({**review, "request": None, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    return Denying


def _configuration(name: str, url: str, authority: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": name,
                "clientConfig": {"url": url, "caBundle": authority},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 5,
            }
        ],
    }
