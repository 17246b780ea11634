"""Looking around a pod: kept for seconds, bounded in time and in how many look at once, and 403 is an answer, too."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from execplane.contract.errors import ConfigError
from execplane.kube.client import Client
from execplane.kube.pending import Looker
from execplane.pods.surroundings import Wanted
from tests.conftest import TestClock
from tests.parts.eventually import eventually
from tests.unit.kube.test_client import connected

MESSAGE = "0/1 nodes are available: 1 Insufficient cpu."
POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u"},
    "spec": {"containers": [{"name": "base"}]},
    "status": {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": MESSAGE}]},
}
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "/api/v1/namespaces/n/pods/p": (200, POD),
    "/api/v1/namespaces/n/events": (200, {"items": []}),
    "/api/v1/nodes": (200, {"items": [{"metadata": {"name": "n1"}}]}),
}
KNOWN = json.dumps({**POD, "spec": {"nodeName": "from-the-ledger"}}).encode()
WANTED = Wanted(namespace="n", name="p", uid="u", known=KNOWN)


@dataclass
class Cluster:
    """Answers by path; `hold` is called before each answer."""

    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=lambda: dict(ANSWERS))
    asked: list[str] = field(default_factory=list)
    hold: Callable[[], None] = lambda: None
    url: str = ""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            found.asked.append(path)
            found.hold()
            status, said = found.answers.get(path, (404, {"reason": "NotFound"}))
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        found.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        running.shutdown()
        thread.join()


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path) -> Client:
    return connected(cluster.url, tmp_path)


def test_what_was_seen_is_kept_for_seconds_and_nodes_longer(cluster: Cluster, client: Client, clock: TestClock) -> None:
    looker = Looker(lambda: client, clock)

    first = looker.look(WANTED)
    assert looker.look(WANTED) is first
    assert cluster.asked == list(ANSWERS)

    clock.advance(4)
    looker.look(WANTED)

    assert cluster.asked[len(ANSWERS) :] == ["/api/v1/namespaces/n/pods/p", "/api/v1/namespaces/n/events"]


def test_what_may_not_be_read_is_told_and_the_rest_is_read_all_the_same(
    cluster: Cluster, client: Client, clock: TestClock
) -> None:
    denied = (403, {"reason": "Forbidden", "message": "nodes is forbidden"})
    cluster.answers |= {"/api/v1/nodes": denied, "/api/v1/namespaces/n/events": denied}

    around = Looker(lambda: client, clock).look(WANTED)

    assert around.live
    assert (around.events, around.nodes) == (None, None)
    assert [(one.what, one.why) for one in around.unread] == [("Events", "403 Forbidden"), ("Nodes", "403 Forbidden")]
    assert all(one.rule for one in around.unread)


def test_a_slow_api_server_is_asked_for_six_seconds_and_no_longer(
    cluster: Cluster, client: Client, clock: TestClock
) -> None:
    cluster.hold = lambda: clock.advance(3.5)

    around = Looker(lambda: client, clock).look(WANTED)

    assert len(cluster.asked) == 2
    assert [(one.what, one.why) for one in around.unread] == [("Nodes", "the API server is too slow")]


def test_while_three_wait_for_an_api_server_that_hangs_the_fourth_is_answered_from_the_ledger(
    cluster: Cluster, client: Client, clock: TestClock
) -> None:
    released = threading.Event()

    def hang() -> None:
        released.wait(20)

    cluster.hold = hang
    looker = Looker(lambda: client, clock)
    others = [Wanted(namespace="n", name=f"other-{number}", uid="", known=KNOWN) for number in range(3)]
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(looker.look, one) for one in others]
        eventually(lambda: len(cluster.asked) == 3, 10)

        around = looker.look(WANTED)
        released.set()
        assert all(one.result().pod is None for one in waiting)

    assert not around.live
    assert around.pod is not None
    assert around.pod.spec.node_name == "from-the-ledger"
    assert "others are asking" in around.unread[0].why
    assert looker.look(WANTED).live


def test_a_deployment_without_a_cluster_answers_from_the_ledger(clock: TestClock) -> None:
    def none() -> Client:
        raise ConfigError("No usable Kubernetes configuration in ~/.kube/config.")

    around = Looker(none, clock).look(WANTED)

    assert around.pod is not None
    assert "No usable Kubernetes configuration" in around.unread[0].why
