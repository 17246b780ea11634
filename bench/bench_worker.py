"""From a pod's start to the first line of user code, in CPU time: what 10,000 pods a day pay 10,000 times.

Measured in pods of a real node, and on the host against an API that costs nothing here. The task itself adds up what
every thread that it sees (in a pod: all of the container's) has used so far.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.deployment import Deployment, deployment
from bench.figures import Figure, Scale, median
from execplane.bundles.manifest import bundle_digest, make_manifest
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.workload import WorkerStart
from tests.parts.kubernetes.cluster import Cluster
from tests.unit.worker.stub_api import StubApi, claim_answer
from tests.unit.worker.tarballs import bundle_of, manifest_of

BAR_MS = 300.0
ROOT = Path(__file__).parent.parent
DAG_FILE = """
{imports}
from datetime import datetime
from execplane import DAG, task

with DAG("{dag_id}", schedule=None, start_date=datetime(2026, 1, 1)):

    @task
    def tell():
        import glob, os
        used = 0.0
        for pid in ("[0-9]*",) if os.environ.get("KUBERNETES_SERVICE_HOST") else (os.getpid(), os.getppid()):
            for path in glob.glob(f"/proc/{{pid}}/task/*/schedstat"):
                used += int(open(path).read().split()[0]) / 1e6
        print("CPU", used)

    tell()
"""
KUBERNETES = "from kubernetes.client import models as k8s"


def run(scale: Scale, folder: Path) -> list[Figure]:
    repeats = 7 if scale.factor >= 1 else 2
    plain = _median_ms(DAG_FILE.format(dag_id="cost", imports=""), repeats, folder)
    heavy = _median_ms(DAG_FILE.format(dag_id="cost", imports=KUBERNETES), repeats, folder)
    pod, heavy_pod = _in_pods(repeats, folder)
    return [
        Figure(name="pod's start to user code", value=pod, unit="ms CPU", bar=BAR_MS),
        Figure(name="  the same, DAG file imports kubernetes", value=heavy_pod, unit="ms CPU"),
        Figure(name="  on the host", value=plain, unit="ms CPU"),
        Figure(name="  on the host, DAG file imports kubernetes", value=heavy, unit="ms CPU"),
    ]


def _in_pods(repeats: int, folder: Path) -> tuple[float, float]:
    """The same in pods, one after the other, the first left out: median of the plain file and of the heavy one."""
    files = {dag_id: DAG_FILE.format(dag_id=dag_id, imports=more) for dag_id, more in _PODS.items()}
    with Cluster() as cluster:
        cluster.create_namespace("bench")
        settings = {
            "executor": "kubernetes",
            "web__host": "0.0.0.0",
            "kubernetes__kubeconfig": str(cluster.kubeconfig),
            "kubernetes__namespace": "bench",
            "kubernetes__image": cluster.load_worker_image(),
        }
        with deployment(folder / "pods", files, reached_at=cluster.host_address, **settings) as one:
            found = []
            for dag_id in files:
                one.wait_for_dag(dag_id)
                runs = [one.run_dag(dag_id) for _ in range(repeats + 1)]
                found.append(median([_told(one, dag_id, run.run_id) for run in runs[1:]]))
    return found[0], found[1]


_PODS = {"plain": "", "heavy": KUBERNETES}


def _told(one: Deployment, dag_id: str, run_id: str) -> float:
    (attempt,) = one.attempts(dag_id, run_id)
    lines = one.get(f"/attempts/{attempt.id}/log.txt").splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if "CPU " in line)


def _median_ms(source: str, repeats: int, folder: Path) -> float:
    files = {"cost.py": source.encode()}
    digest = bundle_digest(make_manifest(manifest_of(files)))
    used: list[float] = []
    for number in range(repeats + 1):
        answer = claim_answer(source="bundle", bundle=digest, dag_file="cost.py", heartbeat_seconds=10.0)
        with StubApi(answer) as api:
            api.bundles[digest] = bundle_of(files)
            _run_worker(api, folder / f"{digest[:8]}-{number}")
            used += [float(line.split()[1]) for line in api.messages() if line.startswith("CPU ")]
    if len(used) != repeats + 1:
        raise RuntimeError(f"of {repeats + 1} workers {len(used)} told what they used")
    return median(used[1:])


def _run_worker(api: StubApi, folder: Path) -> None:
    folder.mkdir()
    token = folder / "token"
    token.write_text("service-account-token\n")
    key = AttemptKey(task=TaskKey(dag_id="cost", run_id="manual__1", task_id="tell"), attempt_no=1)
    start = WorkerStart(attempt_id=1, key=key, api_url=api.url, deployment_id="d")
    options = {"work_dir": str(folder / "work"), "termination_log": ""}
    subprocess.run(
        [sys.executable, "-m", "execplane.worker", msgspec.json.encode(start).decode()],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "EXECPLANE_TOKEN_FILE": str(token),
            "EXECPLANE_POD_UID": "pod-uid",
            "EXECPLANE_WORKER_OPTIONS": msgspec.json.encode(options).decode(),
        },
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
