"""Fixtures for every tier: one PostgreSQL and one cluster a run, a namespace of its own for each test, and evidence
when one fails. What is missing fails; nothing is skipped."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.parts.kubernetes.cluster import Cluster
from tests.parts.postgres import Postgres

# How long an example takes depends on what else the machine does; a test that is slow shows in its tier's time.
settings.register_profile("execplane", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("execplane")


class TestClock:
    """A clock that moves only when it is told to."""

    __test__ = False

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SQLite in a file: its in-memory form with a shared cache locks whole tables against other threads."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        folder: Path = tmp_path_factory.mktemp("database")
        database.setdefault("TEST", {})["NAME"] = str(folder / "test.sqlite3")


@pytest.fixture(autouse=True)
def _no_versions_of_other_tests() -> None:
    """What is cached by a DagVersion's key is immutable in a deployment; tests use the keys anew."""
    for module, name in (
        ("execplane.store.queries.versions", "spec"),
        ("execplane.scheduler.loop", "compiled"),
        ("execplane.executors.driver.ends", "_reported"),
    ):
        if module in sys.modules:
            getattr(sys.modules[module], name).cache_clear()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole run."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster with one real node; a machine that cannot have one fails here, it does not skip."""
    with Cluster() as running:
        yield running


@pytest.fixture
def own_cluster(cluster: Cluster) -> Cluster:
    """The cluster, for tests that stop servers, read their files or add fake nodes: not with an existing one."""
    if not cluster.is_own:
        pytest.skip("needs a cluster that the tests started themselves")
    return cluster


@pytest.fixture(scope="session")
def worker_image(cluster: Cluster) -> str:
    """The name under which pods of this run find the project's own image, built from these sources."""
    return cluster.load_worker_image()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace; its end is not waited for, so that a stuck pod holds nobody up."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.create_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the namespace's pods and events to the report of a failed test, while they are still there."""
    report = yield
    arguments: dict[str, object] = getattr(item, "funcargs", {})
    cluster, namespace = arguments.get("cluster"), arguments.get("namespace")
    if call.when == "call" and report.failed and isinstance(cluster, Cluster) and isinstance(namespace, str):
        report.sections.append((f"namespace {namespace}", cluster.dump(namespace)))
    return report
