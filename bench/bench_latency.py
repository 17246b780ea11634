"""Pods behind a slow network: the create rate when each API call takes 200 ms longer, beside the rate without.

Both deployments may have as many creates under way; a slow answer must cost time, not throughput.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from bench.bench_pods import OURS, TEMPLATE, Creates, creates
from bench.dag_files import fan_of
from bench.deployment import deployment
from bench.figures import Figure, Scale
from tests.parts.kubernetes.cluster import Cluster, Mode
from tests.parts.postgres import Postgres

DELAY_SECONDS = 0.2
CONNECTIONS = 64
BAR = 0.90


def run(scale: Scale, folder: Path) -> list[Figure]:
    count = scale.count(2_000, least=100)
    with Postgres() as postgres, Cluster(mode=Mode.CONTROL_PLANE) as cluster:
        cluster.add_kwok_nodes(5)
        cluster.create_namespace(OURS)
        direct = _rate(cluster, postgres, folder / "direct", cluster.kubeconfig, count)
        with _slow(cluster, folder) as kubeconfig:
            slow = _rate(cluster, postgres, folder / "slow", kubeconfig, count)
    name = f"{count} tasks to pods, each API call {DELAY_SECONDS * 1000:.0f} ms longer, share of the rate without"
    return [
        Figure(name=name, value=slow.rate / direct.rate, unit="of direct", reference=1.0, bar=BAR, at_least=True),
        Figure(name="  trigger to last create", value=slow.rate, unit="creates/s", reference=direct.rate),
    ]


def _rate(cluster: Cluster, postgres: Postgres, folder: Path, kubeconfig: Path, count: int) -> Creates:
    folder.mkdir()
    template = folder / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    settings = {
        "database_url": postgres.create_database(folder.name),
        "executor": "kubernetes",
        "kubernetes__kubeconfig": str(kubeconfig),
        "kubernetes__namespace": OURS,
        "kubernetes__pod_template_file": str(template),
        "kubernetes__creation_concurrency": str(CONNECTIONS),
    }
    with deployment(folder, {"warm": fan_of("warm", 20), "fan": fan_of("fan", count)}, **settings) as one:
        for dag_id in ("warm", "fan"):
            one.wait_for_dag(dag_id)
        one.query("UPDATE execplane_pool SET slots = -1")
        creates(one, cluster, "warm", 20)
        return creates(one, cluster, "fan", count)


@contextmanager
def _slow(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """A kubeconfig whose server answers late."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    where = config["clusters"][0]["cluster"]
    target = urlparse(where["server"])
    host, port = str(target.hostname), int(target.port or 443)
    command = [sys.executable, "-m", "bench.delay", host, str(port), str(DELAY_SECONDS)]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ours = process.stdout.readline().strip()
        where |= {"server": f"https://127.0.0.1:{ours}", "tls-server-name": host}
        path = folder / "slow-kubeconfig"
        path.write_text(json.dumps(config))
        try:
            yield path
        finally:
            process.terminate()
