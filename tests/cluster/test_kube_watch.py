"""The watch against a real API server: bookmarks, 410, cut and silent connections, a restart."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from execplane.kube.client import Client, list_all, pods_path
from execplane.kube.errors import Expired
from execplane.kube.watch import Changed, Interrupted, Listed, Watch, WatchEvent, stream_once
from tests.cluster.kube_proxy import KubeProxy, kube_proxy
from tests.cluster.kube_workloads import fast_kube
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster, KubectlError

LABEL = "test=watch"


class Watcher:
    """Runs a watch in a thread and remembers what it said."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.watch = Watch(client, pods_path(namespace), label_selector=LABEL)
        self.events: list[WatchEvent] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for event in self.watch.events():
            self.events.append(event)

    def names(self, kind: str) -> list[str]:
        changes = [event for event in self.events if isinstance(event, Changed) and event.type == kind]
        return [msgspec.json.decode(event.object)["metadata"]["name"] for event in changes]

    def lists(self) -> list[Listed]:
        return [event for event in self.events if isinstance(event, Listed)]

    def wait_for(self, kind: str, name: str) -> None:
        eventually(lambda: name in self.names(kind), 30, on_failure=lambda: f"{self.events} {self.watch.health}")

    def close(self) -> None:
        self.watch.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[KubeProxy]:
    with kube_proxy(cluster) as running:
        yield running


@pytest.fixture
def watcher(cluster: Cluster, namespace: str, proxy: KubeProxy, tmp_path: Path) -> Iterator[Watcher]:
    kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")
    patient = {"watch_timeout_seconds": 60, "watch_silence_seconds": 3.0, "backoff_first_seconds": 0.05}
    client = Client(replace(fast_kube(cluster, **patient), kubeconfig=str(kubeconfig)))
    running = Watcher(client, namespace)
    eventually(lambda: proxy.requests("watch=1"), 10)
    yield running
    running.close()
    client.close()


def sleeper(cluster: Cluster, namespace: str, name: str) -> None:
    """A pod that no node will take: the watch sees it, and nothing has to run."""
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"test": "watch"}},
            "spec": {
                "nodeSelector": {"no-such-label": "anywhere"},
                "containers": [{"name": "base", "image": Cluster.base_image}],
            },
        }
    )


def test_a_closed_watch_ends_at_once_although_it_waits_for_bytes(watcher: Watcher) -> None:
    watcher.close()


def test_a_cut_connection_resumes_without_a_list_and_without_a_gap(
    cluster: Cluster, namespace: str, proxy: KubeProxy, watcher: Watcher
) -> None:
    sleeper(cluster, namespace, "before")
    watcher.wait_for("ADDED", "before")
    proxy.next("watch=1", "lose_request", times=3)
    proxy.cut()
    sleeper(cluster, namespace, "meanwhile")
    watcher.wait_for("ADDED", "meanwhile")
    assert watcher.names("ADDED") == ["before", "meanwhile"]
    assert len(watcher.lists()) == 1
    assert watcher.watch.health.restarts >= 3
    assert watcher.watch.health.last_error == ""


def test_a_silent_connection_is_noticed_and_resumed(
    cluster: Cluster, namespace: str, proxy: KubeProxy, watcher: Watcher
) -> None:
    proxy.next("watch=1", "stall")
    proxy.cut()
    eventually(lambda: proxy.requests("watch=1") >= 2, 10)
    sleeper(cluster, namespace, "unheard")
    # The stalled stream swallows it; only the next one can bring it.
    watcher.wait_for("ADDED", "unheard")
    assert len(watcher.lists()) == 1


@pytest.fixture
def young_path(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A collection that the server began to remember a moment ago: it calls version 1 too old, and means it."""
    group = f"{namespace}.example.org"
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    cluster.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": names,
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
    )
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    eventually(lambda: cluster.kubectl("get", "--raw", path), 20, ignore=(KubectlError,))
    yield path
    cluster.kubectl("delete", "crd", f"widgets.{group}", "--wait=false")


def test_the_api_server_says_gone_to_an_old_version(cluster: Cluster, young_path: str) -> None:
    client = Client(fast_kube(cluster))
    with pytest.raises(Expired):
        list(stream_once(client, young_path, "", "1"))
    client.close()


def test_an_expired_version_lists_again(
    cluster: Cluster, namespace: str, proxy: KubeProxy, watcher: Watcher, young_path: str
) -> None:
    # The next watch is led to where the server has forgotten its version, and gets a real 410.
    used: list[str] = []

    def age_once(line: str) -> str:
        if "watch=1" in line and not used:
            used.append(line)
            return re.sub(r"resourceVersion=\d+", "resourceVersion=1", line.replace(pods_path(namespace), young_path))
        return line

    sleeper(cluster, namespace, "old")
    watcher.wait_for("ADDED", "old")
    # Not before: a silent watch asks anew by itself, and would be led there while nothing is to be listed.
    proxy.rewrite = age_once
    proxy.cut()
    eventually(lambda: len(watcher.lists()) == 2, 20, on_failure=lambda: str(watcher.events))
    assert [msgspec.json.decode(item)["metadata"]["name"] for item in watcher.lists()[1].items] == ["old"]
    sleeper(cluster, namespace, "new")
    watcher.wait_for("ADDED", "new")
    assert watcher.watch.health.relists == 1


def test_bookmarks_carry_the_version_on_while_nothing_of_ours_changes(cluster: Cluster, namespace: str) -> None:
    client = Client(fast_kube(cluster, watch_timeout_seconds=6))
    _, version = list_all(client, pods_path(namespace), label_selector=LABEL)
    others = (f"other-{number}" for number in itertools.count())

    def change_another(_response: object) -> None:
        # An API server tells what it has learned since the watch began: without any change it has nothing to tell.
        spec = {"containers": [{"name": "any", "image": Cluster.base_image}], "nodeSelector": {"is": "nowhere"}}
        metadata = {"name": next(others), "namespace": namespace}
        cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    # It sends a bookmark before a watch's end where it can: a busy one may leave it out once.
    seen = eventually(
        lambda: list(stream_once(client, pods_path(namespace), LABEL, version, on_open=change_another)), 60
    )
    assert all(change is None for change, _ in seen)
    client.close()


def test_an_unreachable_server_is_asked_again_and_again(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with kube_proxy(cluster) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")
    client = Client(replace(fast_kube(cluster, backoff_first_seconds=0.01), kubeconfig=str(kubeconfig)))
    watcher = Watcher(client, namespace)
    eventually(lambda: len(watcher.events) >= 3, 10)
    assert all(isinstance(event, Interrupted) for event in watcher.events)
    assert "cannot be reached" in watcher.watch.health.last_error
    watcher.close()
    client.close()
