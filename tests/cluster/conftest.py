"""One real cluster for the whole run, a namespace of its own for each test, and evidence when one fails."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator

import pytest

from tests.parts.kubernetes.cluster import Cluster


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
