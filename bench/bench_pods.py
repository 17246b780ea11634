"""Independent tasks to pods on KWOK nodes, with PostgreSQL: the create rate beside the API server's own.

KWOK's pods run for ever and never start a worker, so what is measured is the way from the trigger to the last create.
The API server's audit log says when that was. Before and after, the same bodies are posted by threads that do nothing
else (`raw_creates`), with as many connections; the mean of both rates is the reference. All share this machine, so the
CPU of each program stands beside what it took for a raw create.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench import processes
from bench.dag_files import fan_of
from bench.deployment import Deployment, deployment
from bench.figures import Figure, Scale
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster, Mode
from tests.parts.kubernetes.kwok import FOREVER, NODE_SELECTOR, RUN_ANNOTATION, TOLERATION
from tests.parts.postgres import Postgres

BAR = 0.60
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
    count = scale.count(2000, least=25)
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
    """Pods made from a trigger on, and the CPU that each program used meanwhile."""

    count: int
    seconds: float
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def cpu_ms(self, *programs: str) -> float:
        """Milliseconds a pod; of all programs when none is named."""
        return sum(self.cpu.get(name, 0.0) for name in programs or self.cpu) / self.count * 1000


def _measure(one: Deployment, cluster: Cluster, count: int) -> list[Figure]:
    for dag_id in ("warm", "fan"):
        one.wait_for_dag(dag_id)
    one.query("UPDATE execplane_pool SET slots = -1")
    creates(one, cluster, "warm", 20)
    before = _raw(cluster, _bodies(one, "warm"), count, "before")
    ours = creates(one, cluster, "fan", count)
    after = _raw(cluster, _bodies(one, "fan"), count, "after")
    reference = (before.rate + after.rate) / 2
    return [
        Figure(name=f"{count} tasks to pods on KWOK, PostgreSQL, share of the raw rate", value=ours.rate / reference,
               unit="of raw", reference=1.0, bar=BAR, at_least=True),
        Figure(name="  trigger to last create", value=ours.rate, unit="creates/s", reference=reference),
        Figure(name="  trigger to last create", value=ours.seconds, unit="s"),
        *(_cpu(f"  CPU of {part}", ours, after, *programs) for part, programs in PARTS.items()),
        _cpu("  CPU of all that runs here", ours, after),
    ]  # fmt: skip


PARTS = {
    "the deployment": ("execplane", RAW),
    "PostgreSQL": ("postgres",),
    "API server and etcd": ("apiserver", "etcd"),
    "the cluster's scheduler, controllers and KWOK": ("scheduler", "controller-manager", "kwok"),
}
"""Beside a raw create's, whose own program counts as the deployment."""


def _cpu(name: str, ours: Creates, raw: Creates, *programs: str) -> Figure:
    return Figure(name=name, value=ours.cpu_ms(*programs), unit="ms CPU/pod", reference=raw.cpu_ms(*programs))


def creates(one: Deployment, cluster: Cluster, dag_id: str, count: int) -> Creates:
    one.call("GET", "health")
    made = CreatesSeen(cluster.audit_log, OURS)
    with _measured() as cpu:
        triggered_at = datetime.now(UTC)
        one.trigger(dag_id)
        eventually(lambda: made.look() >= count, 300, on_failure=one.tail, interval_seconds=0.2)
    _settle(cluster, OURS)
    return Creates(count=count, seconds=(made.last - triggered_at).total_seconds(), cpu=cpu)


@contextmanager
def _measured() -> Iterator[dict[str, float]]:
    """The CPU seconds of each program below us, once the block is left."""
    before, used = processes.cpu_seconds_by_program(processes.tree(os.getpid())[1:]), dict[str, float]()
    yield used
    after = processes.cpu_seconds_by_program(processes.tree(os.getpid())[1:])
    used.update({name: seconds - before.get(name, 0.0) for name, seconds in after.items()})


class CreatesSeen:
    """Answered creates in a namespace, from the end of the API server's audit log on: who looks on must not read all
    of it each time, on the CPUs that are measured."""

    def __init__(self, log: Path, namespace: str) -> None:
        self.log = log
        self.namespace = namespace
        self.place = log.stat().st_size
        self.count = 0
        self.last = datetime.now(UTC)

    def look(self) -> int:
        """How many by now."""
        with self.log.open("rb") as log:
            log.seek(self.place)
            whole, end, _ = log.read().rpartition(b"\n")
        self.place += len(whole) + len(end)
        for line in whole.splitlines():
            if b'"verb":"create"' not in line or f'"namespace":"{self.namespace}"'.encode() not in line:
                continue
            event = msgspec.json.decode(line)
            if event["objectRef"].get("subresource") is None and event["responseStatus"]["code"] == 201:
                self.count += 1
                self.last = max(self.last, datetime.fromisoformat(event["stageTimestamp"]))
        return self.count


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
    with _measured() as cpu:
        done = subprocess.run(
            [sys.executable, "-m", "bench.raw_creates", str(cluster.kubeconfig), RAW, str(CONNECTIONS)],
            cwd=Path(__file__).parent.parent,
            input=msgspec.json.encode(pods),
            stdout=subprocess.PIPE,
            check=True,
        )
    answer = json.loads(done.stdout)
    _settle(cluster, RAW)
    return Creates(count=count, seconds=answer["seconds"], cpu={**cpu, RAW: answer["cpu"]})


def _settle(cluster: Cluster, namespace: str) -> None:
    """Wait until every pod runs: scheduler and KWOK must not be busy with the last round during the next."""

    def all_run() -> bool:
        phases = cluster.kubectl(
            "get", "pods", f"--namespace={namespace}", "--output=jsonpath={.items[*].status.phase}"
        ).split()
        return bool(phases) and set(phases) == {"Running"}

    eventually(all_run, 300, interval_seconds=0.5)
