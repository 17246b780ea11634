"""The client's bytes on the wire, against a small HTTP server: what goes out, and what answers become."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import ConfigError
from execplane.kube.client import Client
from execplane.kube.errors import AnswerLost, BadRequest, Throttled, Unreachable
from execplane.kube.options import KubeOptions


@dataclass
class Served:
    """What the server saw, and what it is to say."""

    url: str = ""
    requests: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)
    peers: set[int] = field(default_factory=set)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False


@pytest.fixture
def server() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            served.requests.append((self.command, self.path, body, dict(self.headers)))
            served.peers.add(self.client_address[1])
            if served.drop:
                self.close_connection = True
                return
            said = b'{"message": "text"}'
            self.send_response(served.status)
            for name, value in {**served.headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = do_PATCH = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        served.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        running.shutdown()
        thread.join()


def connected(url: str, folder: Path) -> Client:
    user = {"name": "user", "user": {"token": "secret-token"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [user],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "user"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return Client(KubeOptions(kubeconfig=str(file), in_cluster=False, connect_timeout_seconds=2.0))


def test_a_create_posts_exactly_the_given_bytes(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    body = b'{"b":1, "a" : "\\u00e4",  "futureField":{}}'
    client.create_pod("ns/with slash", body)
    method, path, sent, headers = server.requests[0]
    assert (method, path) == ("POST", "/api/v1/namespaces/ns%2Fwith%20slash/pods?fieldValidation=Strict")
    assert sent == body
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer secret-token"
    client.close()


def test_a_delete_names_the_uid(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    client.delete_pod("ns", "pod", uid="u-1", grace_seconds=5)
    sent = json.loads(server.requests[0][2])
    assert (sent["preconditions"], sent["gracePeriodSeconds"]) == ({"uid": "u-1"}, 5)
    client.close()


def test_connections_are_kept_and_used_again(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    for _ in range(5):
        client.get_pod("ns", "pod")
    assert len(server.peers) == 1
    client.close()


def test_a_throttled_request_is_not_repeated_behind_our_back(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    server.status, server.headers = 429, {"Retry-After": "7"}
    with pytest.raises(Throttled) as caught:
        client.get_pod("ns", "pod")
    assert caught.value.retry_after_seconds == 7
    assert len(server.requests) == 1
    client.close()


def test_a_redirect_is_not_followed_with_our_token(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    server.status, server.headers = 302, {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(BadRequest):
        client.request("GET", "/version")
    assert len(server.requests) == 1
    client.close()


def test_a_dropped_answer_is_told_from_no_connection(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    server.drop = True
    with pytest.raises(AnswerLost, match="sent, but no answer came"):
        client.create_pod("ns", b"{}")
    assert len(server.requests) == 1
    client.close()
    nobody = connected("http://127.0.0.1:1", tmp_path)
    with pytest.raises(Unreachable, match="Connection refused"):
        nobody.create_pod("ns", b"{}")
    nobody.close()


def test_errors_never_show_the_token(server: Served, tmp_path: Path) -> None:
    client = connected(server.url, tmp_path)
    server.status = 500
    with pytest.raises(Exception, match="text") as caught:
        client.get_pod("ns", "pod")
    assert "secret-token" not in str(caught.value)
    client.close()


def test_a_missing_kubeconfig_says_which_setting_to_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(KubeOptions(kubeconfig=str(tmp_path / "none"), in_cluster=False))
    assert str(tmp_path / "none") in caught.value.message
    assert "EXECPLANE_KUBERNETES__KUBECONFIG" in caught.value.hint
