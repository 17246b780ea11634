"""`execplane pods reconcile`, `decide` and `release`, as commands of their own beside a driver that is one, too."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.executors.kubernetes import KubernetesExecutor
from execplane.executors.kubernetes_options import KubernetesOptions
from tests.cluster.conftest import NOWHERE, pod_of
from tests.cluster.kube_workloads import fast_kube, workload
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster

ROOT = Path(__file__).parents[2]


@dataclass
class Shell:
    """A deployment's command line."""

    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "execplane.cli", *words]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def driver(self, log: Path) -> Iterator[None]:
        with log.open("wb") as out:
            command = [sys.executable, "-m", "execplane.cli", "run", "driver:kubernetes"]
            child = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=out)
        try:
            yield
        finally:
            child.terminate()
            child.wait(30)


@pytest.fixture
def shell(cluster: Cluster, namespace: str, tmp_path: Path) -> Shell:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXECPLANE_")}
    made = Shell(
        {
            **kept,
            "EXECPLANE_HOME": str(tmp_path),
            "EXECPLANE_EXECUTOR": "kubernetes",
            "EXECPLANE_KUBERNETES__KUBECONFIG": str(cluster.kubeconfig),
            "EXECPLANE_KUBERNETES__NAMESPACE": namespace,
        }
    )
    done = made.run("migrate")
    assert done.returncode == 0, done.stderr
    return made


def test_drift_is_seen_without_a_driver_and_decided_with_one(
    shell: Shell, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    assert shell.run("pods", "reconcile", "--timeout", "1").returncode == 4, "nobody drives"
    with closing(sqlite3.connect(next(tmp_path.glob("*.sqlite3")))) as ledger:
        (number,) = ledger.execute("SELECT uuid FROM execplane_deployment").fetchone()
    deployment = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"
    options = KubernetesOptions(
        deployment_id=deployment, namespace=namespace, kube=fast_kube(cluster), image=Cluster.base_image
    )
    builder = KubernetesExecutor(options)
    lost = builder.build(msgspec.structs.replace(workload(namespace, pod=NOWHERE), deployment_id=deployment))
    builder.close()
    cluster.create(msgspec.json.decode(lost.body))

    (seen,) = shell.json("pods", "reconcile", "--dry-run", "--seconds", "0")

    assert (seen["kind"], seen["pod_name"], seen["follows"]) == (
        "foreign_incarnation",
        lost.name,
        "An operator decides.",
    )
    with shell.driver(tmp_path / "driver.log"):
        (found,) = shell.json("pods", "reconcile")
        assert (found["pod_name"], found["holds"]) == (lost.name, True)
        assert "launches again" in shell.run("pods", "release", "kubernetes", "--reason", "a drill").stdout
        assert shell.run("pods", "release", "kubernetes").returncode == 3, "nothing holds it any more"
        assert shell.run("pods", "decide", str(found["id"]), "delete").returncode == 0
        eventually(lambda: pod_of(cluster, lost) is None, 30)
