"""Nodes that failed a task are avoided softly, and what was killed for memory asks for more, within bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.workload import Workload
from execplane.pods.build import BuildOptions, Built
from execplane.pods.builder import PodBuilder
from execplane.pods.default_template import default_template
from execplane.pods.lessons import AVOIDED_NODES, RAISED_MEMORY, LessonOptions
from execplane.pods.merge import Layer
from execplane.pods.quantities import mebibytes, memory_bytes
from tests.unit.pods.samples import workload

USERS = {
    "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
    "weight": 7,
}
REQUIRED = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
TOLD = {
    "spec": {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": REQUIRED,
                "preferredDuringSchedulingIgnoredDuringExecution": [USERS],
            },
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
        }
    }
}


def build(given: Workload, *pods: dict[str, Any], **lessons: Any) -> Built:
    options = BuildOptions(image="app:1", lessons=LessonOptions(**lessons))
    layers = [default_template(), *(Layer(name="task", pod=pod) for pod in pods)]
    return PodBuilder(options).build(given, layers)


def memory(**resources: str) -> dict[str, Any]:
    kinds = {kind: {"memory": amount} for kind, amount in resources.items()}
    return {"spec": {"containers": [{"name": "base", "resources": kinds}, {"name": "side", "image": "s", **SIDE}]}}


SIDE: dict[str, Any] = {"resources": {"limits": {"memory": "64Mi"}}}


def test_a_node_that_failed_is_avoided_by_preference_and_what_the_author_said_stays() -> None:
    built = build(workload(avoid_nodes=("node-2", "node-1")), TOLD)
    node_affinity = built.pod["spec"]["affinity"]["nodeAffinity"]
    away = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-2", "node-1"]}
    assert node_affinity["preferredDuringSchedulingIgnoredDuringExecution"] == [
        USERS,
        {"weight": 100, "preference": {"matchExpressions": [away]}},
    ]
    assert node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] == REQUIRED
    assert "podAntiAffinity" in built.pod["spec"]["affinity"]
    path = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    assert built.provenance[f"{path}[0].weight"] == "task"
    assert built.provenance[f"{path}[1].weight"] == AVOIDED_NODES


def test_a_pod_without_affinity_gets_one_that_requires_nothing() -> None:
    built = build(workload(avoid_nodes=("node-1",)))
    assert list(built.pod["spec"]["affinity"]["nodeAffinity"]) == ["preferredDuringSchedulingIgnoredDuringExecution"]


def test_no_more_nodes_are_avoided_than_the_settings_say_the_latest_first() -> None:
    nodes = tuple(f"node-{number}" for number in range(9))
    preferred = build(workload(avoid_nodes=nodes), avoid_nodes=2).pod["spec"]["affinity"]["nodeAffinity"]
    term = preferred["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert term["preference"]["matchExpressions"][0]["values"] == ["node-0", "node-1"]
    assert "affinity" not in build(workload(avoid_nodes=nodes), avoid_nodes=0).pod["spec"]


def test_each_oom_kill_raises_the_memory_of_base_alone_up_to_the_cap() -> None:
    pod = memory(limits="512Mi", requests="256Mi")
    cap = {"oom_memory_factor": 1.5, "oom_memory_cap_bytes": 1000 << 20}
    found = []
    for kills in range(5):
        built = build(workload(oom_kills=kills), pod, **cap)
        base, side = built.pod["spec"]["containers"]
        assert side["resources"] == SIDE["resources"]
        found.append((base["resources"]["limits"]["memory"], base["resources"]["requests"]["memory"]))
    assert found == [
        ("512Mi", "256Mi"),
        ("768Mi", "384Mi"),
        ("1000Mi", "576Mi"),
        ("1000Mi", "864Mi"),
        ("1000Mi", "1000Mi"),
    ]
    assert built.provenance["spec.containers[0].resources.limits.memory"] == RAISED_MEMORY


def test_memory_above_the_cap_is_left_as_the_author_wrote_it() -> None:
    built = build(workload(oom_kills=3), memory(limits="4Gi"), oom_memory_factor=2.0, oom_memory_cap_bytes=1 << 30)
    assert built.pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "4Gi"


def test_nothing_is_learned_about_memory_unless_it_is_set() -> None:
    pod = memory(limits="512Mi")
    assert build(workload(oom_kills=3), pod).body == build(workload(), pod).body


def test_what_one_attempt_learned_is_not_known_of_the_next() -> None:
    builder = PodBuilder(BuildOptions(image="app:1"))
    for _ in range(2):
        assert "affinity" not in builder.build(workload(), [default_template()]).pod["spec"]
        learned = builder.build(workload(avoid_nodes=("node-1",)), [default_template()])
        assert "affinity" in learned.pod["spec"]


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("64Mi", 64 << 20),
        ("1.5Gi", 3 << 29),
        ("1G", 10**9),
        ("500k", 500_000),
        ("1e3", 1000),
        ("2E", 2 * 10**18),
        ("1Ei", 1 << 60),
        ("1000m", 1),
        (1024, 1024),
        ("0", 0),
        ("lots", None),
        ("1.2.3", None),
        ("", None),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(quantity: Any, amount: int | None) -> None:
    assert memory_bytes(quantity) == amount


@given(st.integers(0, 1 << 50))
def test_mebibytes_never_round_down(amount: int) -> None:
    assert amount <= (memory_bytes(mebibytes(amount)) or 0) < amount + (1 << 20)
