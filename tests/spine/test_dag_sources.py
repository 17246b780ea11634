"""A task runs in a pod whichever way its files get there, and reports the digest of the very files that were parsed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.standalone import Standalone

DAG = """
from datetime import datetime

from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("from_everywhere", schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 0}):
    for source in ("bundle", "volume", "git-sync"):
        BashOperator(task_id=source, executor=source, bash_command=f"echo by {source}")
"""
EXAMPLES = Path(__file__).parents[2] / "examples"
IN_THE_IMAGE = "/opt/execplane/lib/python3.11/site-packages/execplane/examples"
LAYOUTS = {
    "volume": 'mkdir -p /files/dags && printf %s "$SOURCE" > /files/dags/everywhere.py',
    # A worktree per revision, with a file .git in it, and a symlink that is swapped.
    "git-sync": "set -e; tree=/files/.worktrees/0123abcd; mkdir -p $tree/dags; cd $tree; echo gitdir: /x > .git; "
    'echo beside > README.md; printf %s "$SOURCE" > dags/everywhere.py; cd /files; ln -s .worktrees/0123abcd current',
}
FOLDERS = {"volume": "/files/dags", "git-sync": "/files/current/dags"}


def template(layout: str) -> dict[str, Any]:
    """As an operator would write it: an init container brings the files, as git-sync's `--one-time` does."""
    mount = {"name": "files", "mountPath": "/files"}
    bring = {"name": "bring", "image": Cluster.base_image, "imagePullPolicy": "IfNotPresent", "volumeMounts": [mount]}
    script = {"command": ["sh", "-c", LAYOUTS[layout]], "env": [{"name": "SOURCE", "value": DAG}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "securityContext": {"runAsUser": 50000, "runAsNonRoot": True, "fsGroup": 50000},
            "volumes": [{"name": "files", "emptyDir": {}}],
            "initContainers": [{**bring, **script}],
            "containers": [{"name": "base", "imagePullPolicy": "IfNotPresent", "volumeMounts": [mount]}],
        },
    }


@pytest.fixture
def standalone(tmp_path: Path, cluster: Cluster, namespace: str, worker_image: str) -> Iterator[Standalone]:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "everywhere.py").write_text(DAG)
    clusters: dict[str, Any] = {"bundle": {"worker_source": "bundle", "worker_dags_folder": ""}}
    for layout, folder in FOLDERS.items():
        file = tmp_path / f"{layout}.yaml"
        file.write_text(json.dumps(template(layout)))
        clusters[layout] = {
            "worker_source": "volume",
            "worker_dags_folder": folder,
            "pod_template_file": str(file),
        }
    one = Standalone(
        tmp_path / "home",
        dags,
        executor="kubernetes",
        # The other examples have schedules.
        dags_are_paused_at_creation="true",
        web__host="0.0.0.0",
        kubernetes__kubeconfig=str(cluster.kubeconfig),
        kubernetes__namespace=namespace,
        kubernetes__image=worker_image,
        kubernetes__worker_source="image",
        kubernetes__worker_dags_folder=IN_THE_IMAGE,
        clusters=json.dumps(clusters),
    )
    one.environment["EXECPLANE_DAGS_FOLDERS"] = f"{dags}:{EXAMPLES}"
    one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{one.port}"
    one.start()
    yield one
    one.stop()


def test_a_task_runs_from_bundle_image_volume_and_git_syncs_layout(standalone: Standalone) -> None:
    wanted = {"from_everywhere": 3, "typed_params": 1}

    def parsed() -> bool:
        return all(dag in standalone.run("dags", "list") for dag in wanted)

    eventually(parsed, timeout_seconds=60, on_failure=standalone.tail)
    for dag in wanted:
        standalone.run("dags", "trigger", dag, "--run-id", "by-hand")
    standalone.run("dags", "unpause", *wanted)

    def all_ended() -> list[sqlite3.Row]:
        found = _attempts(standalone)
        return found if len(found) == sum(wanted.values()) and all(one["state"] == "success" for one in found) else []

    found = eventually(
        all_ended, timeout_seconds=180, on_failure=lambda: f"{[tuple(one) for one in _attempts(standalone)]}"
    )
    for one in found:
        if one["task_id"] == "bundle":
            assert one["bundle_found"] == "", "it was fetched by its digest"
        else:
            assert one["bundle_found"] == one["bundle_id"], one["task_id"]


def _attempts(standalone: Standalone) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(f"file:{standalone.home / 'execplane.sqlite3'}?mode=ro", uri=True)) as base:
        base.row_factory = sqlite3.Row
        return base.execute(
            "SELECT a.task_id, a.state, a.reason, a.bundle_found, r.bundle_id FROM execplane_attempt a "
            "JOIN execplane_taskinstance t ON a.ti_id = t.id JOIN execplane_dagrun r ON t.dagrun_id = r.id"
        ).fetchall()
