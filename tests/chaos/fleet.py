"""A deployment of several processes on PostgreSQL and a real cluster, with ways to hurt each of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.cluster.kube_proxy import KubeProxy
from tests.conformance.recorder import Recorder
from tests.parts.eventually import eventually, scaled
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.standalone import COMMAND, Standalone

DAGS = Path(__file__).parent / "dags"
LOOPS = ("scheduler", "parsing", "driver")
PROCESSES = {"web": ("web",), "runner-0": ("run", *LOOPS), "runner-1": ("run", *LOOPS)}
PARALLELISM = 20
SETTINGS = {
    "executor": "kubernetes",
    "web__host": "0.0.0.0",
    "parallelism": str(PARALLELISM),
    "worker__heartbeat_seconds": "1",
    "worker__grace_seconds": "3",
    # A worker that was lost without witness must be given this long before the next attempt.
    "worker__self_fence_seconds": "30",
    "scheduler__infra_retries": "20",
    "scheduler__infra_backoff_seconds": "0.5",
    "scheduler__infra_backoff_cap_seconds": "2",
    "kubernetes__request_timeout_seconds": "5",
    "kubernetes__list_interval_seconds": "10",
    "kubernetes__delete_worker_pods_on_failure": "true",
}


@dataclass
class Fleet:
    """One web server and two processes with all loops, of which the leases make one work. Not thread-safe."""

    cluster: Cluster
    namespace: str
    proxy: KubeProxy
    recorder: Recorder
    database_url: str
    shell: Standalone
    """Never started: its settings are everybody's, its commands are the shell's."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """The kernel kills it when the tests are killed."""
        log = self.shell.home.parent / f"{name}.log"
        command = ["setpriv", "--pdeathsig", "KILL", COMMAND, *PROCESSES[name]]
        with log.open("ab") as file:
            self.processes[name] = subprocess.Popen(
                command, env=self.shell.environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.shell.url}/login", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(scaled(30))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def trigger(self, dag_id: str, run_id: str) -> None:
        address = f"{self.cluster.host_address}:{self.recorder.port}"
        self.shell.run("dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps({"recorder": address}))

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(sql.encode(), values).fetchall()

    def runs(self) -> dict[str, str]:
        """run_id -> state."""
        return dict(self.query("SELECT run_id, state FROM execplane_dagrun"))

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.get("pods", f"--namespace={self.namespace}")["items"]
        return found

    def evidence(self) -> str:
        """For a storm that does not end."""
        rows = self.query(
            "SELECT id, task_id, attempt_no, state, category, reason, not_claimed_reason, queued_at, launched_at,"
            " running_at FROM execplane_attempt WHERE state IN ('queued', 'claimed', 'launched', 'running', 'stopping')"
            " ORDER BY id LIMIT 30"
        )
        failed = self.query(
            "SELECT task_id, attempt_no, state, category, reason FROM execplane_attempt WHERE state = 'failed'"
            " ORDER BY id DESC LIMIT 10"
        )
        pods = [(pod["metadata"]["name"], pod["status"].get("phase")) for pod in self.pods()[:30]]
        logs = (self.shell.home.parent / f"{name}.log" for name in PROCESSES)
        tails = [f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]) for log in logs if log.exists()]
        return "\n".join([str(self.runs()), *map(str, rows), "failed:", *map(str, failed), str(pods), *tails])


@contextmanager
def fleet(
    folder: Path,
    cluster: Cluster,
    namespace: str,
    image: str,
    proxy: KubeProxy,
    recorder: Recorder,
    database_url: str,
    *,
    broken_build: str = "",
    **more: str,
) -> Iterator[Fleet]:
    """All processes running and the DAGs read. `broken_build` names a promise that this deployment is built without."""
    settings = {
        **SETTINGS,
        **more,
        "database_url": database_url,
        "kubernetes__kubeconfig": str(proxy.write_kubeconfig(folder / "kubeconfig")),
        "kubernetes__namespace": namespace,
        "kubernetes__image": image,
    }
    shell = Standalone(folder / "home", DAGS, **settings)
    shell.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{shell.port}"
    if broken_build:
        shell.environment["BROKEN_BUILD"] = broken_build
        shell.environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "broken_builds"), *sys.path])
    shell.run("migrate")
    one = Fleet(cluster, namespace, proxy, recorder, database_url, shell)
    try:
        for name in PROCESSES:
            one.start(name)
        eventually(one.answers, 60, on_failure=one.evidence)
        eventually(
            lambda: len(one.query("SELECT dag_id FROM execplane_dag WHERE active")) >= 3, 60, on_failure=one.evidence
        )
        yield one
    finally:
        one.stop()
