"""What stands beside a pod and explains it: its events, its node. Raw answers."""

from __future__ import annotations

from urllib.parse import quote

from execplane.kube.client import Client


def read_events(client: Client, namespace: str, uid: str, *, limit: int, timeout_seconds: float) -> bytes:
    """The events of exactly this pod: a name may have been another pod's before."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
    query = [("fieldSelector", f"involvedObject.uid={uid}"), ("limit", str(limit))]
    return client.request("GET", path, query=query, timeout_seconds=timeout_seconds)


def read_node(client: Client, name: str, *, timeout_seconds: float) -> bytes:
    """A node belongs to no namespace: reading it needs a ClusterRole, which many deployments are not given."""
    return client.request("GET", f"/api/v1/nodes/{quote(name, safe='')}", timeout_seconds=timeout_seconds)
