"""Where an executor may create pods, asked before it launches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from execplane.executors.kubernetes import KubernetesExecutor
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.kube.client import Client
from execplane.kube.errors import Unreachable
from execplane.pods.rules import PodRule
from tests.parts.eventually import eventually


class Authoriser:
    """Answers SelfSubjectAccessReviews: yes in some namespaces."""

    host = "https://k"

    def __init__(self) -> None:
        self.allowed: set[str] = set()
        self.asked: list[str] = []
        self.away = False

    def request(self, method: str, path: str, *, body: bytes) -> bytes:
        if self.away:
            raise Unreachable("The API server cannot be reached.")
        namespace = msgspec.json.decode(body)["spec"]["resourceAttributes"]["namespace"]
        self.asked.append(namespace)
        status: dict[str, Any] = {"allowed": namespace in self.allowed, "reason": "no role"}
        return msgspec.json.encode({"status": status})

    def close(self) -> None:
        pass


@pytest.fixture
def authoriser() -> Authoriser:
    return Authoriser()


@pytest.fixture
def executor(authoriser: Authoriser) -> Iterator[KubernetesExecutor]:
    options = KubernetesOptions(
        deployment_id="dep",
        namespace="tasks",
        namespaces=("shared",),
        rules=(PodRule(number=1, dag_id=("*",), namespace="team-a"),),
    )
    made = KubernetesExecutor(options, client=cast(Client, authoriser))
    yield made
    made.close()


def test_one_namespace_that_may_be_used_is_enough_to_launch(
    executor: KubernetesExecutor, authoriser: Authoriser
) -> None:
    authoriser.allowed = {"team-a"}
    assert executor.probe() == ""
    assert authoriser.asked == ["tasks", "shared", "team-a"]


def test_the_first_namespace_that_may_be_used_ends_the_asking(
    executor: KubernetesExecutor, authoriser: Authoriser
) -> None:
    authoriser.allowed = {"tasks"}
    assert executor.probe() == ""
    assert authoriser.asked == ["tasks"]


def test_where_no_namespace_may_be_used_the_first_is_named(
    executor: KubernetesExecutor, authoriser: Authoriser
) -> None:
    assert executor.probe() == "execplane may not create pods in namespace tasks: no role. Check its roles."


def test_an_api_server_that_is_away_says_nothing_about_rights(
    executor: KubernetesExecutor, authoriser: Authoriser
) -> None:
    authoriser.away = True
    assert "cannot be reached" in executor.probe()


def test_an_answer_about_rights_that_cannot_be_read_is_a_reason_to_launch_nothing(
    executor: KubernetesExecutor, authoriser: Authoriser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authoriser, "request", lambda *args, **more: b"<html>")
    assert "may create pods in tasks cannot be told" in executor.probe()


def test_housekeeping_goes_on_after_a_round_that_failed(
    executor: KubernetesExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.options = replace(executor.options, repair_seconds=0.01)
    rounds: list[str] = []

    def tick() -> float | None:
        rounds.append("tick")
        if len(rounds) == 1:
            raise RuntimeError("broken")
        return None

    monkeypatch.setattr(executor._remover, "tick", tick)
    executor._thread(executor._housekeeping, "kube-housekeeping")
    eventually(lambda: len(rounds) > 1, 20)
