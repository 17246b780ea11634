"""`execplane kubernetes check` step by step, against a small API server that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.errors import ExecplaneError, InvalidInput, PolicyViolation
from execplane.kube.check import Elsewhere, Found, Plan, Result, check
from execplane.kube.client import Client
from execplane.kube.options import KubeOptions
from execplane.kube.rights import RIGHTS, Tier
from tests.unit.kube.api_server import ApiServer, api_server, kubeconfig


@dataclass
class Cluster:
    """What the server has and allows."""

    server: ApiServer
    denied: set[str] = field(default_factory=set)
    """"create pods", "get pods/log"."""
    quotas: list[dict[str, Any]] = field(default_factory=list)
    reads_keys: bool = True
    dry_run: tuple[int, dict[str, Any]] = (201, {})
    posted: list[tuple[str, bytes]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/version":
            return 200, {"gitVersion": "v1.34.4"}
        if "selfsubjectaccessreviews" in path:
            wanted = json.loads(body)["spec"]["resourceAttributes"]
            sub = f"/{wanted['subresource']}" if wanted["subresource"] else ""
            allowed = f"{wanted['verb']} {wanted['resource']}{sub}" not in self.denied
            return 201, {"status": {"allowed": allowed}}
        if "resourcequotas" in path:
            return 200, {"items": self.quotas}
        if "openid" in path:
            return (200, {}) if self.reads_keys else (403, {"message": "no"})
        if method == "POST":
            self.posted.append((path, body))
            return self.dry_run
        return 200, {"metadata": {"resourceVersion": "7"}, "items": []}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with api_server() as server:
        made = Cluster(server)
        server.answer = made.answer
        yield made


def checked(cluster: Cluster, folder: Path, token: str = "t", **plan: Any) -> list[Found]:
    file = kubeconfig(folder, cluster.server.url, {"token": token})
    client = Client(KubeOptions(kubeconfig=str(file), in_cluster=False), SystemClock())
    wanted: dict[str, Any] = {"namespaces": ("jobs",), "pod": lambda namespace: namespace.encode(), **plan}
    found = list(check(client, Plan(**wanted)))
    client.close()
    return found


def troubles(found: list[Found]) -> list[tuple[str, Result]]:
    return [(one.step, one.result) for one in found if one.result is not Result.OK]


def test_a_cluster_that_has_everything_passes_every_step(cluster: Cluster, tmp_path: Path) -> None:
    found = checked(cluster, tmp_path, tier=Tier.EXPLAIN, namespaces=("jobs", "gpu"))
    assert troubles(found) == []
    assert {one.step for one in found} == {"connect", "clock", "access", "quota", "dry run", "watch"}
    assert [body for _, body in cluster.posted] == [b"jobs", b"gpu"]
    assert all("dryRun=All" in path for path, _ in cluster.posted)
    asked = {(right.words, right.cluster_wide) for right in RIGHTS}
    assert len([one for one in found if one.step == "access"]) == sum(1 if wide else 2 for _, wide in asked)


_TELLING = ("create pods", "get pods/log", "list nodes", "create tokenreviews.authentication.k8s.io")
"""Of each tier and of each kind, one."""


@pytest.mark.parametrize("right", [one for one in RIGHTS if one.words in _TELLING], ids=lambda right: right.words)
def test_a_missing_right_fails_its_tier_and_is_noted_below_it(cluster: Cluster, tmp_path: Path, right: Any) -> None:
    cluster.denied.add(f"{right.verb} {right.rule_resource}")
    cluster.reads_keys = False
    found = checked(cluster, tmp_path, tier=right.tier)
    assert ("access", Result.FAILED) in troubles(found)
    (missing,) = [one for one in found if one.result is Result.FAILED]
    assert right.words in missing.what
    assert right.without in missing.said
    assert f"--tier {right.tier:d}" in missing.hint
    if right.tier > Tier.RUN:
        assert troubles(checked(cluster, tmp_path, tier=Tier(right.tier - 1))) == [("access", Result.NOTE)]


def test_token_reviews_are_not_missed_where_tokens_are_checked_by_keys(cluster: Cluster, tmp_path: Path) -> None:
    cluster.denied.add("create tokenreviews")
    assert troubles(checked(cluster, tmp_path)) == []


def test_a_full_quota_is_named_with_what_is_full(cluster: Cluster, tmp_path: Path) -> None:
    status = {"hard": {"pods": "10", "requests.memory": "4Gi"}, "used": {"pods": "3", "requests.memory": "4096Mi"}}
    cluster.quotas = [{"metadata": {"name": "team"}, "status": status}]
    (found,) = [one for one in checked(cluster, tmp_path) if one.result is not Result.OK]
    assert (found.step, found.result) == ("quota", Result.WARNING)
    assert "requests.memory: 4096Mi of 4Gi used (ResourceQuota team)" in found.said
    assert "pods" not in found.said


def test_a_pod_that_the_cluster_refuses_fails_with_the_clusters_words(cluster: Cluster, tmp_path: Path) -> None:
    cluster.dry_run = (403, {"reason": "Forbidden", "message": 'violates PodSecurity "restricted:latest"'})
    (found,) = [one for one in checked(cluster, tmp_path) if one.result is Result.FAILED]
    assert (found.step, found.what) == ("dry run", "jobs")
    assert "violates PodSecurity" in found.said


def test_a_template_that_is_no_pod_fails_the_dry_run_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    def broken(namespace: str) -> bytes:
        raise InvalidInput("Pod template x.yaml is not YAML.", hint="Mend the file.")

    found = checked(cluster, tmp_path, pod=broken)
    assert troubles(found) == [("dry run", Result.FAILED)]


@pytest.mark.parametrize("error", [PolicyViolation("It must have the label team."), Elsewhere("It goes to gpu.")])
def test_a_default_pod_that_tasks_must_add_to_is_noted_and_fails_nothing(
    cluster: Cluster, tmp_path: Path, error: ExecplaneError
) -> None:
    def refused(namespace: str) -> bytes:
        raise error

    found = checked(cluster, tmp_path, pod=refused)
    assert troubles(found) == [("dry run", Result.NOTE)]
    assert cluster.posted == []


@pytest.mark.parametrize(
    ("ahead_seconds", "result", "said"),
    [(0, Result.OK, "agree"), (15, Result.WARNING, "behind"), (-15, Result.WARNING, "ahead"), (300, Result.FAILED, "")],
)
def test_clocks_that_differ_are_told(
    cluster: Cluster, tmp_path: Path, ahead_seconds: int, result: Result, said: str
) -> None:
    cluster.server.ahead = timedelta(seconds=ahead_seconds)
    (clock,) = [one for one in checked(cluster, tmp_path) if one.step == "clock"]
    assert clock.result is result
    assert said in clock.said


@pytest.mark.parametrize(
    ("days", "result"), [(-1, Result.FAILED), (3, Result.WARNING), (100, Result.OK)], ids=["ended", "soon", "later"]
)
def test_a_token_that_ends_soon_is_told(cluster: Cluster, tmp_path: Path, days: int, result: Result) -> None:
    at = datetime.now(UTC) + timedelta(days=days)
    token = jwt.encode({"exp": int(at.timestamp())}, "k" * 32, algorithm="HS256")
    (expiry,) = [one for one in checked(cluster, tmp_path, token) if one.step == "expiry"]
    assert expiry.result is result
    assert f"{at:%Y-%m-%d}" in expiry.said


def test_without_an_answer_the_rest_is_not_tried(tmp_path: Path) -> None:
    with api_server() as server:
        cluster = Cluster(server)
    found = checked(cluster, tmp_path)
    assert [(one.step, one.result) for one in found] == [("connect", Result.FAILED)]
    assert "cannot be reached" in found[0].said
