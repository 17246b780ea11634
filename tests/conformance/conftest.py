"""One running execplane per executor for the whole suite; tests that restart it leave it running again.

`EXECPLANE_TEST_DATABASE=postgresql` runs them on PostgreSQL, with the local executor: what an executor does is the same
on both databases, what the ledger makes of it need not be.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.deployed import Deployed
from tests.conformance.recorder import Recorder
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.postgres import Postgres
from tests.parts.standalone import Standalone

DAGS = Path(__file__).parent / "dags"
ON_POSTGRESQL = os.environ.get("EXECPLANE_TEST_DATABASE") == "postgresql"
EXECUTORS = ("local",) if ON_POSTGRESQL else ("local", "sequential", "kubernetes")
collect_ignore = ["test_drains.py"] if ON_POSTGRESQL else []
"""Only nodes with pods are drained."""
SETTINGS = {
    "worker__heartbeat_seconds": "1",
    "worker__grace_seconds": "5",
    # A worker that was lost without witness must be given this long before the next attempt.
    "worker__self_fence_seconds": "25",
}


@pytest.fixture(scope="package")
def recorder() -> Iterator[Recorder]:
    with Recorder() as one:
        yield one


@pytest.fixture(scope="package", params=EXECUTORS)
def deployed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, recorder: Recorder
) -> Iterator[Deployed]:
    executor: str = request.param
    home = tmp_path_factory.mktemp(executor) / "home"
    if ON_POSTGRESQL:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database(f"conformance_{executor}")
        standalone = Standalone(home, DAGS, executor=executor, database_url=url, **SETTINGS)
        yield from _started(Deployed(executor, standalone, recorder, database_url=url))
        return
    if executor != "kubernetes":
        yield from _started(Deployed(executor, Standalone(home, DAGS, executor=executor, **SETTINGS), recorder))
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    namespace = f"test-{secrets.token_hex(4)}"
    cluster.create_namespace(namespace)
    settings = {
        "executor": executor,
        "web__host": "0.0.0.0",
        "kubernetes__kubeconfig": str(cluster.kubeconfig),
        "kubernetes__namespace": namespace,
        "kubernetes__image": request.getfixturevalue("worker_image"),
        "kubernetes__delete_worker_pods_on_failure": "true",
    }
    standalone = Standalone(home, DAGS, **SETTINGS, **settings)
    standalone.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{standalone.port}"
    yield from _started(Deployed(executor, standalone, recorder, cluster, namespace))
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _started(deployed: Deployed) -> Iterator[Deployed]:
    deployed.standalone.start()
    try:
        eventually(
            lambda: len(deployed.query("SELECT dag_id FROM execplane_dag WHERE active")) >= 7,
            on_failure=deployed.standalone.tail,
        )
        yield deployed
    finally:
        deployed.standalone.stop()


@pytest.fixture(autouse=True)
def _running_afterwards(deployed: Deployed) -> Iterator[None]:
    """A test that failed half-way must not take the others with it."""
    yield
    process = deployed.standalone.process
    if process is None or process.poll() is not None:
        deployed.standalone.process = None
        deployed.standalone.start()
