"""Independent tasks to pods on KWOK nodes, with PostgreSQL: the create rate beside the API server's own.

KWOK's pods run for ever and never start a worker, so what is measured is the way from the trigger to the last create.
The API server's audit log says when that was. Before and after, the same bodies are posted by threads that do nothing
else (`raw_creates`), with as many connections; the mean of both rates is the reference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench.dag_files import fan_of
from bench.deployment import Deployment, deployment
from bench.figures import Figure, Scale
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster, Mode
from tests.parts.kubernetes.kwok import FOREVER, NODE_SELECTOR, RUN_ANNOTATION, TOLERATION
from tests.parts.postgres import Postgres

BAR = 0.40
CONNECTIONS = 16
OURS, RAW = "bench", "bench-raw"
TEMPLATE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"annotations": {RUN_ANNOTATION: FOREVER}},
    "spec": {
        "nodeSelector": NODE_SELECTOR,
        "tolerations": [TOLERATION],
        "serviceAccountName": "default",
        "containers": [{"name": "base", "image": "localhost/execplane:bench"}],
    },
}


def run(scale: Scale, folder: Path) -> list[Figure]:
    count = scale.count(500, least=25)
    with Postgres() as postgres, Cluster(mode=Mode.CONTROL_PLANE) as cluster:
        cluster.add_kwok_nodes(5)
        for namespace in (OURS, RAW):
            cluster.create_namespace(namespace)
        template = folder / "template.json"
        template.write_text(json.dumps(TEMPLATE))
        settings = {
            "database_url": postgres.create_database("bench"),
            "executor": "kubernetes",
            "kubernetes__kubeconfig": str(cluster.kubeconfig),
            "kubernetes__namespace": OURS,
            "kubernetes__pod_template_file": str(template),
            "kubernetes__creation_concurrency": str(CONNECTIONS),
        }
        with deployment(folder, {"warm": fan_of("warm", 20), "fan": fan_of("fan", count)}, **settings) as one:
            return _measure(one, cluster, count)


@dataclass(frozen=True, kw_only=True)
class Creates:
    """Pods made from a trigger on, and the CPU that the deployment used for them."""

    rate: float
    cpu_seconds: float
    seconds: float


def _measure(one: Deployment, cluster: Cluster, count: int) -> list[Figure]:
    for dag_id in ("warm", "fan"):
        one.wait_for_dag(dag_id)
    one.query("UPDATE execplane_pool SET slots = -1")
    _creates(one, cluster, "warm", 20)
    raw = [_raw(cluster, _bodies(one, "warm"), count, "before")]
    ours = _creates(one, cluster, "fan", count)
    raw.append(_raw(cluster, _bodies(one, "fan"), count, "after"))
    reference = sum(each.rate for each in raw) / len(raw)
    return [
        Figure(name=f"{count} tasks to pods on KWOK, PostgreSQL, share of the raw rate", value=ours.rate / reference,
               unit="of raw", reference=1.0, bar=BAR, at_least=True),
        Figure(name="  trigger to last create", value=ours.rate, unit="creates/s", reference=reference),
        Figure(name="  trigger to last create", value=ours.seconds, unit="s"),
        Figure(name="  CPU of the deployment", value=ours.cpu_seconds / count * 1000, unit="ms CPU/pod"),
        Figure(name="  CPU of a raw create", value=raw[-1].cpu_seconds / count * 1000, unit="ms CPU/pod"),
    ]  # fmt: skip


def _creates(one: Deployment, cluster: Cluster, dag_id: str, count: int) -> Creates:
    one.call("GET", "health")
    cpu, triggered_at = one.cpu_seconds(), datetime.now(UTC)
    one.trigger(dag_id)
    moments = eventually(
        lambda: found if len(found := _created(cluster, OURS, triggered_at)) >= count else None,
        120,
        on_failure=one.tail,
        interval_seconds=0.2,
    )
    used = one.cpu_seconds() - cpu
    _settle(cluster, OURS)
    seconds = (max(moments) - triggered_at).total_seconds()
    return Creates(rate=count / seconds, cpu_seconds=used, seconds=seconds)


def _created(cluster: Cluster, namespace: str, since: datetime) -> list[datetime]:
    """When the API server answered each create in that namespace, by its audit log."""
    found: list[datetime] = []
    for line in cluster.audit_log.read_bytes().splitlines():
        if b'"verb":"create"' not in line or f'"namespace":"{namespace}"'.encode() not in line:
            continue
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # the last line is still being written
        moment = datetime.fromisoformat(event["stageTimestamp"])
        created = event["objectRef"].get("subresource") is None and event["responseStatus"]["code"] == 201
        if created and moment >= since:
            found.append(moment)
    return found


def _bodies(one: Deployment, dag_id: str) -> list[dict[str, Any]]:
    """The bytes that were posted, from the ledger's intents."""
    rows = one.query(
        "SELECT b.codec, b.data FROM execplane_attempt a JOIN execplane_blob b ON b.sha256 = a.intent_sha256"
        " WHERE a.dag_id = %s ORDER BY a.id",
        dag_id,
    )
    return [msgspec.json.decode(zlib.decompress(data) if codec == "zlib" else bytes(data)) for codec, data in rows]


def _raw(cluster: Cluster, bodies: list[dict[str, Any]], count: int, round_name: str) -> Creates:
    pods = []
    for number in range(count):
        body = bodies[number % len(bodies)]
        suffix = f"-{round_name}-{number}"
        name = body["metadata"]["name"][: 63 - len(suffix)] + suffix
        pods.append({**body, "metadata": {**body["metadata"], "name": name, "namespace": RAW}})
    done = subprocess.run(
        [sys.executable, "-m", "bench.raw_creates", str(cluster.kubeconfig), RAW, str(CONNECTIONS)],
        cwd=Path(__file__).parent.parent,
        input=msgspec.json.encode(pods),
        stdout=subprocess.PIPE,
        check=True,
    )
    answer = json.loads(done.stdout)
    _settle(cluster, RAW)
    return Creates(rate=count / answer["seconds"], cpu_seconds=answer["cpu"], seconds=answer["seconds"])


def _settle(cluster: Cluster, namespace: str) -> None:
    """Wait until every pod runs: scheduler and KWOK must not be busy with the last round during the next."""

    def all_run() -> bool:
        phases = cluster.kubectl(
            "get", "pods", f"--namespace={namespace}", "--output=jsonpath={.items[*].status.phase}"
        ).split()
        return bool(phases) and set(phases) == {"Running"}

    eventually(all_run, 120, interval_seconds=0.5)
