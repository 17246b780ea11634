"""`execplane kubernetes …`: roles that can be applied, and a check whose exit code a script can use. No database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from execplane.config import load
from execplane.executors.kubernetes_pods import PodMaker
from execplane.kube.rbac import Account, manifests
from execplane.kube.rights import Tier
from tests.integration.cli_runner import execplane
from tests.unit.kube.api_server import ApiServer, api_server, kubeconfig


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(**settings: str) -> None:
        environ = {f"EXECPLANE_{name.upper()}": value for name, value in settings.items()}
        monkeypatch.setattr("execplane.config.current", lambda: load(environ))

    return set_to


@pytest.fixture
def server() -> Iterator[ApiServer]:
    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        if "selfsubjectaccessreviews" in path:
            return 201, {"status": {"allowed": b'"watch"' not in body}}
        return 200, {"gitVersion": "v1.34.4", "metadata": {"resourceVersion": "7"}, "items": []}

    with api_server() as running:
        running.answer = answer
        yield running


def test_the_printed_roles_are_for_the_namespaces_of_the_settings(settle: Any) -> None:
    settle(kubernetes__namespace="jobs", kubernetes__namespaces="gpu")
    said = execplane("kubernetes", "rbac", "--tier", "3", "--account", "runner", "--account-namespace", "system")
    expected = manifests(Account(name="runner", namespace="system"), ["jobs", "gpu"], Tier)
    assert list(yaml.safe_load_all(said.out)) == expected
    assert "&id" not in said.out, "references are not for people"
    as_json = execplane("kubernetes", "rbac", "--tier", "2", "--only", "-n", "jobs", "-o", "json").json
    names = {one["metadata"]["name"] for one in as_json["items"]}
    assert names == {"execplane", "execplane-record"}


def test_a_check_that_finds_something_missing_ends_with_1_and_says_what(
    settle: Any, server: ApiServer, tmp_path: Path
) -> None:
    file = kubeconfig(tmp_path, server.url, {"token": "t"})
    settle(
        kubernetes__kubeconfig=str(file),
        kubernetes__in_cluster="false",
        kubernetes__namespace="jobs",
        kubernetes__image="i",
    )
    said = execplane("kubernetes", "check")
    assert said.code == 1
    assert "! access, watch pods in jobs: Not allowed." in said.out
    assert "1 of " in said.out
    found = execplane("kubernetes", "check", "-o", "json").json
    assert found["ok"] is False
    failed = [one for one in found["checks"] if one["result"] == "failed"]
    assert [(one["executor"], one["check"]) for one in failed] == [("kubernetes", "access")]


def test_the_default_pod_is_what_is_tried(settle: Any, server: ApiServer, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, server.url, {"token": "t"})
    settle(kubernetes__kubeconfig=str(file), kubernetes__in_cluster="false", kubernetes__image="repo/image:1")
    posted: list[bytes] = []
    allowed = server.answer

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        if "dryRun=All" in path:
            posted.append(body)
        return (201, {"status": {"allowed": True}}) if "accessreviews" in path else allowed(method, path, body)

    server.answer = answer
    assert execplane("kubernetes", "check").code == 0
    assert b"repo/image:1" in posted[0]
    assert b'"restartPolicy":"Never"' in posted[0]


def test_a_kubeconfig_that_is_not_there_fails_the_check(settle: Any, tmp_path: Path) -> None:
    settle(kubernetes__kubeconfig=str(tmp_path / "none"), kubernetes__in_cluster="false")
    said = execplane("kubernetes", "check")
    assert said.code == 1
    assert "No usable Kubernetes configuration" in said.out


def test_an_executor_that_makes_no_pods_is_refused(settle: Any) -> None:
    settle()
    said = execplane("kubernetes", "check", "--executor", "local")
    assert said.code == 3
    assert "No executor 'local' makes pods here." in said.err


def allowed(server: ApiServer) -> list[tuple[str, str]]:
    """All that is asked for is; the (path's, body's) namespaces of the pods that are posted."""
    posted: list[tuple[str, str]] = []
    before = server.answer

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        if "dryRun=All" in path:
            posted.append((path.split("/")[4], json.loads(body)["metadata"]["namespace"]))
        return (201, {"status": {"allowed": True}}) if "accessreviews" in path else before(method, path, body)

    server.answer = answer
    return posted


def test_every_namespace_that_pods_go_to_is_tried_with_a_pod_of_its_own(
    settle: Any, server: ApiServer, tmp_path: Path
) -> None:
    posted = allowed(server)
    template = tmp_path / "template.yaml"
    template.write_text(
        "{kind: Pod, apiVersion: v1, metadata: {namespace: wide}, spec: {containers: [{name: base, image: i}]}}"
    )
    rules = [{"dag_id": ["*"], "namespace": "team-a", "binding": True}, {"dag_id": ["x"], "namespace": "team-b"}]
    settle(
        kubernetes__kubeconfig=str(kubeconfig(tmp_path, server.url, {"token": "t"})),
        kubernetes__in_cluster="false",
        kubernetes__namespace="jobs",
        kubernetes__namespaces="wide",
        kubernetes__rules=json.dumps(rules),
        kubernetes__pod_template_file=str(template),
    )
    said = execplane("kubernetes", "check")
    assert (said.code, said.err) == (0, ""), said.out
    assert posted == [(name, name) for name in ("jobs", "wide", "team-a", "team-b")]


def test_a_mutation_hook_that_takes_long_to_import_is_waited_for(
    settle: Any, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted = allowed(server)
    waited: list[float | None] = []
    check = PodMaker.check

    def watched(pods: PodMaker, wait_seconds: float | None = None) -> str:
        waited.append(wait_seconds)
        return check(pods, wait_seconds)

    monkeypatch.setattr(PodMaker, "check", watched)
    settle(
        kubernetes__kubeconfig=str(kubeconfig(tmp_path, server.url, {"token": "t"})),
        kubernetes__in_cluster="false",
        kubernetes__image="i",
    )
    assert execplane("kubernetes", "check").code == 0
    assert waited == [120.0]
    assert posted == [("default", "default")]
