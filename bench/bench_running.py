"""What thousands of running pods cost, on KWOK with PostgreSQL: a quiet driver, an end's way, a take-over.

The driver is a process of its own, with another that stands by, as in a cluster. Pods' ends are written by us, and
the ledger is asked until it knows: both clocks are this machine's.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from bench import processes
from bench.bench_pods import CONNECTIONS, OURS, TEMPLATE
from bench.dag_files import fan_of
from bench.deployment import Deployment
from bench.figures import Figure, Scale, median
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster, Mode
from tests.parts.postgres import Postgres
from tests.parts.standalone import COMMAND, PASSWORD

QUIET_PODS, TAKEN_OVER_PODS = 5_000, 10_000
FAN = 1_000
TICK_BAR_MS, MEMORY_BAR_MIB, TAKE_OVER_BAR_SECONDS, END_BAR_MS = 50.0, 300.0, 10.0, 500.0
CREATE_BARS_MS = (50.0, 250.0)
DRIVER = "driver:kubernetes"


class Parts(Deployment):
    """The web server, the deciding loops, and a driver, each in a process of its own."""

    def __init__(self, home: Path, dags: Path, **settings: str) -> None:
        super().__init__(home, dags, **settings)
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.run("migrate")
        admin = ("createsuperuser", "--noinput", "--username=admin", "--email=admin@example.org")
        environment = {**self.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        subprocess.run([sys.executable, "manage.py", *admin], env=environment, check=True, stdout=subprocess.DEVNULL)
        self.spawn("web", "web")
        self.spawn("loops", "run", "scheduler", "parsing")
        self.spawn("driver", "run", "driver")
        eventually(lambda: self.call("GET", "health"), 60, on_failure=self.tail, ignore=(OSError,))

    def spawn(self, name: str, *words: str) -> None:
        with self.log.open("ab") as log:
            self.started[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", COMMAND, *words],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        for process in self.started.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)
        for process in self.started.values():
            process.wait(60)


def run(scale: Scale, folder: Path) -> list[Figure]:
    fan = scale.count(FAN, least=50)
    with Postgres() as postgres, Cluster(mode=Mode.CONTROL_PLANE) as cluster:
        cluster.add_kwok_nodes(10)
        cluster.create_namespace(OURS)
        with _deployment(folder, cluster, postgres.create_database("running"), fan) as one:
            one.wait_for_dag("single")
            one.wait_for_dag("fan")
            one.query("UPDATE execplane_pool SET slots = -1")
            figures = _unloaded(one, cluster, scale.count(100, least=5))
            quiet = _fill(one, scale.count(QUIET_PODS, least=100), fan)
            figures += _quiet(one, quiet, scale.seconds(70, least=8))
            figures += _ends(one, cluster, scale.count(200, least=10))
            return figures + _take_over(one, cluster, _fill(one, scale.count(TAKEN_OVER_PODS, least=200), fan))


@contextmanager
def _deployment(folder: Path, cluster: Cluster, database_url: str, fan: int) -> Iterator[Parts]:
    dags = folder / "dags"
    dags.mkdir()
    (dags / "single.py").write_text(fan_of("single", 1, runs=1_000))
    (dags / "fan.py").write_text(fan_of("fan", fan, runs=1_000))
    template = folder / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    settings = {
        "database_url": database_url,
        "executor": "kubernetes",
        "scheduler__infra_retries": "0",
        "kubernetes__kubeconfig": str(cluster.kubeconfig),
        "kubernetes__namespace": OURS,
        "kubernetes__pod_template_file": str(template),
        "kubernetes__creation_concurrency": str(CONNECTIONS),
        # The pods never claim, and are not to be ended for it while they are measured.
        "deadlines__claim_seconds": "0",
    }
    one = Parts(folder / "home", dags, **settings)
    try:
        one.start()
        yield one
    finally:
        one.stop()


def _unloaded(one: Parts, cluster: Cluster, count: int) -> list[Figure]:
    """From queued to the create's arrival at the API server, one task at a time."""
    before = one.trigger("single")
    _wait_for(one, lambda: _known(one) == 1, before)
    queued: list[tuple[str, datetime]] = []
    for _ in range(count):
        known = _known(one)
        one.trigger("single")
        _wait_for(one, lambda known=known: _known(one) > known, "an acknowledged create")  # type: ignore[misc]
        queued += one.query("SELECT pod_name, queued_at FROM execplane_attempt ORDER BY id DESC LIMIT 1")
    sent = _creates_sent(cluster)
    took = sorted((sent[name] - at).total_seconds() * 1000 for name, at in queued)
    half, most = CREATE_BARS_MS
    return [
        Figure(name="queued to create sent, unloaded, median", value=median(took), unit="ms", bar=half),
        Figure(name="queued to create sent, unloaded, p99", value=_p99(took), unit="ms", bar=most),
    ]


def _creates_sent(cluster: Cluster) -> dict[str, datetime]:
    """Pod name -> when the API server got its create."""
    found: dict[str, datetime] = {}
    for line in cluster.audit_log.read_bytes().splitlines():
        if b'"verb":"create"' in line and f'"namespace":"{OURS}"'.encode() in line:
            with suppress(msgspec.DecodeError):
                event = msgspec.json.decode(line)
                if event["objectRef"].get("subresource"):
                    continue
                name = event["objectRef"].get("name") or ""
                found.setdefault(name, datetime.fromisoformat(event["requestReceivedTimestamp"]))
    return found


def _fill(one: Parts, count: int, fan: int) -> int:
    """At least so many pods run; gives how many."""
    while (alive := _alive(one)) < count:
        one.trigger("fan")
        _wait_for(one, lambda alive=alive: _alive(one) >= alive + fan, f"{count} running pods", 240)  # type: ignore[misc]
    return alive


def _alive(one: Parts) -> int:
    sql = "SELECT count(*) FROM execplane_attempt WHERE started_at IS NOT NULL AND ended_at IS NULL"
    return int(one.query(sql)[0][0])


def _known(one: Parts) -> int:
    sql = "SELECT count(*) FROM execplane_attempt WHERE acknowledged_at IS NOT NULL"
    return int(one.query(sql)[0][0])


def _quiet(one: Parts, pods: int, seconds: float) -> list[Figure]:
    """The driver's ticks while nothing changes, whole lists among them, and its memory."""
    ticks: dict[datetime, float] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for at, took in one.query(
            "SELECT last_tick_at, last_tick_seconds FROM execplane_loopstatus WHERE name = %s AND state = 'running'",
            DRIVER,
        ):
            ticks[at] = took * 1000
        time.sleep(0.25)
    memory = processes.pss_bytes(processes.tree(one.started["driver"].pid)) / 2**20
    return [
        Figure(name=f"a driver's tick without change, {pods} running pods, median", value=median(list(ticks.values())),
               unit="ms", bar=TICK_BAR_MS),
        Figure(name="  the longest of them", value=max(ticks.values()), unit="ms"),
        Figure(name=f"the driver's memory, {pods} running pods", value=memory, unit="MiB PSS", bar=MEMORY_BAR_MIB),
    ]  # fmt: skip


def _ends(one: Parts, cluster: Cluster, count: int) -> list[Figure]:
    """From a pod's end in the API server to the attempt's in the ledger."""
    rows = one.query(
        "SELECT id, pod_name FROM execplane_attempt WHERE ended_at IS NULL AND started_at IS NOT NULL"
        " ORDER BY id LIMIT %s",
        count,
    )
    took: list[float] = []
    with psycopg.connect(one.database_url, autocommit=True) as connection:
        for attempt_id, pod in rows:
            _fail(cluster, pod)
            began = time.monotonic()
            eventually(lambda pk=attempt_id: _ended(connection, pk), 30, on_failure=one.tail, interval_seconds=0.002)  # type: ignore[misc]
            took.append((time.monotonic() - began) * 1000)
    return [
        Figure(name="pod's end to attempt's end, p99", value=_p99(sorted(took)), unit="ms", bar=END_BAR_MS),
        Figure(name="  median", value=median(took), unit="ms"),
    ]


def _fail(cluster: Cluster, pod: str) -> None:
    """As a kubelet would say that the container's process failed."""
    now = "2026-01-01T00:00:00Z"
    state = {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}}
    base = {"name": "base", "image": "any", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    patch = {"status": {"phase": "Failed", "containerStatuses": [base]}}
    words = ("patch", "pod", pod, f"--namespace={OURS}", "--subresource=status", "--type=merge")
    cluster.kubectl(*words, f"--patch={json.dumps(patch)}")


def _take_over(one: Parts, cluster: Cluster, pods: int) -> list[Figure]:
    """kill -9 of the driver, while another stands by: from its lease to the end of what nobody saw meanwhile.

    The pod that ends is the last that is adopted: when its end is known, all others are looked after.
    """
    one.spawn("standby", "run", "driver")
    sql = "SELECT count(*) FROM execplane_loopstatus WHERE name = %s"
    _wait_for(one, lambda: int(one.query(sql, DRIVER)[0][0]) >= 2, "the standby", 60)
    last = "SELECT id, pod_name FROM execplane_attempt WHERE ended_at IS NULL AND started_at IS NOT NULL"
    attempt_id, pod = one.query(f"{last} ORDER BY id DESC LIMIT 1")[0]
    holder = "SELECT token FROM execplane_lease WHERE name = %s"
    token = one.query(holder, DRIVER)[0][0]
    reads = _pod_reads(cluster)
    killed = time.monotonic()
    one.started["driver"].kill()
    _fail(cluster, pod)
    with psycopg.connect(one.database_url, autocommit=True) as connection:

        def taken() -> bool:
            row = connection.execute(holder.encode(), [DRIVER]).fetchone()
            return row is not None and row[0] != token

        eventually(taken, 60, on_failure=one.tail, interval_seconds=0.005)
        leased = time.monotonic()
        eventually(lambda: _ended(connection, attempt_id), 120, on_failure=one.tail, interval_seconds=0.005)
        done = time.monotonic()
    return [
        Figure(name=f"take-over of {pods} running pods, from the lease on", value=done - leased, unit="s",
               bar=TAKE_OVER_BAR_SECONDS),
        Figure(name="  from kill -9 to the lease", value=leased - killed, unit="s", bar=15.0),
        Figure(name="  lists and reads of pods meanwhile", value=_pod_reads(cluster) - reads, unit="API calls"),
    ]  # fmt: skip


def _pod_reads(cluster: Cluster) -> float:
    """GET and LIST of pods that the API server has answered, whoever asked."""
    lines = cluster.kubectl("get", "--raw", "/metrics").splitlines()
    found = re.compile(r'apiserver_request_total\{.*resource="pods".*subresource="".*verb="(GET|LIST)".*\} (\S+)')
    return sum(float(match[2]) for line in lines if (match := found.match(line)))


def _ended(connection: psycopg.Connection[Any], attempt_id: int) -> bool:
    row = connection.execute("SELECT ended_at FROM execplane_attempt WHERE id = %s", [attempt_id]).fetchone()
    return row is not None and row[0] is not None


def _wait_for(one: Parts, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    eventually(condition, seconds, on_failure=lambda: f"{what}: {one.tail()}", interval_seconds=0.05)


def _p99(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
