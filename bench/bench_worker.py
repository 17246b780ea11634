"""From a pod's start to the first line of user code, in CPU time: what 10,000 pods a day pay 10,000 times.

The worker runs as in a pod, with its bundle fetched by digest from an API that costs nothing here. The task itself
adds up what its process and the supervisor that forked it have used so far.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.figures import Figure, Scale, median
from execplane.bundles.manifest import bundle_digest, make_manifest
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.workload import WorkerStart
from tests.unit.worker.stub_api import StubApi, claim_answer
from tests.unit.worker.tarballs import bundle_of, manifest_of

BAR_MS = 300.0
ROOT = Path(__file__).parent.parent
DAG_FILE = """
{imports}
from datetime import datetime
from execplane import DAG, task

with DAG("cost", schedule=None, start_date=datetime(2026, 1, 1)):

    @task
    def tell():
        import os
        def used(pid):
            fields = open(f"/proc/{{pid}}/schedstat").read().split()
            return int(fields[0]) / 1e6
        print("CPU", used(os.getpid()) + used(os.getppid()))

    tell()
"""


def run(scale: Scale, folder: Path) -> list[Figure]:
    repeats = 7 if scale.factor >= 1 else 2
    plain = _median_ms(DAG_FILE.format(imports=""), repeats, folder)
    heavy = _median_ms(DAG_FILE.format(imports="from kubernetes.client import models as k8s"), repeats, folder)
    return [
        Figure(name="worker start to user code", value=plain, unit="ms CPU", bar=BAR_MS),
        Figure(name="  the same, DAG file imports kubernetes", value=heavy, unit="ms CPU"),
    ]


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
