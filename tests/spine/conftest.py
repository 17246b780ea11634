"""The databases and executors we claim. Nothing here is skipped: what is missing fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.kubernetes.cluster import Cluster
from tests.parts.postgres import Postgres
from tests.parts.standalone import Standalone

DAGS = Path(__file__).parent / "dags"


@pytest.fixture
def database_settings(request: pytest.FixtureRequest, database: str) -> dict[str, str]:
    if database == "sqlite":
        return {}
    server: Postgres = request.getfixturevalue("postgres")
    name = f"spine_{abs(hash(request.node.nodeid)) % 10**8}"
    return {"database_url": server.create_database(name)}


@pytest.fixture
def executor_settings(request: pytest.FixtureRequest, executor: str) -> dict[str, str]:
    if executor != "kubernetes":
        return {"executor": executor}
    cluster: Cluster = request.getfixturevalue("cluster")
    return {
        "executor": executor,
        "web__host": "0.0.0.0",
        "kubernetes__kubeconfig": str(cluster.kubeconfig),
        "kubernetes__namespace": request.getfixturevalue("namespace"),
        "kubernetes__image": request.getfixturevalue("worker_image"),
    }


@pytest.fixture
def standalone(
    request: pytest.FixtureRequest, tmp_path: Path, database_settings: dict[str, str], executor_settings: dict[str, str]
) -> Iterator[Standalone]:
    one = Standalone(tmp_path / "home", DAGS, **database_settings, **executor_settings)
    if executor_settings["executor"] == "kubernetes":
        cluster: Cluster = request.getfixturevalue("cluster")
        one.environment["EXECPLANE_KUBERNETES__API_URL"] = f"http://{cluster.host_address}:{one.port}"
    one.start()
    yield one
    one.stop()
