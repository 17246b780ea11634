"""Larger than any node: what a pod asks for in all, and which nodes count."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.pods.node_fit import asked, may_use, too_large
from execplane.pods.quantities import amount, shown
from execplane.pods.surroundings import Node, PodSpec, pod_spec


def spec(*requests: dict[str, str], init: list[dict[str, Any]] | None = None, **more: Any) -> PodSpec:
    containers = [{"name": f"c{n}", "resources": {"requests": one}} for n, one in enumerate(requests)]
    pod = {"spec": {"containers": containers, "initContainers": init or [], **more}}
    return pod_spec(msgspec.json.encode(pod))


def init(cpu: str, *, sidecar: bool = False) -> dict[str, Any]:
    more = {"restartPolicy": "Always"} if sidecar else {}
    return {"name": f"i{cpu}", "resources": {"requests": {"cpu": cpu}}, **more}


def node(
    name: str = "n", *, taints: list[dict[str, str]] | None = None, labels: Any = None, **allocatable: str
) -> Node:
    said = {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": taints or []},
        "status": {"allocatable": allocatable},
    }
    return msgspec.json.decode(msgspec.json.encode(said), type=Node)


@pytest.mark.parametrize(
    ("written", "number"),
    [("500m", "0.5"), ("1.5Gi", "1610612736"), ("2e3", "2000"), ("1k", "1000"), ("3", "3"), ("100n", "1e-7")],
)
def test_a_quantity_is_read_exactly(written: str, number: str) -> None:
    assert amount(written) == Decimal(number)


@given(st.text(max_size=8) | st.none() | st.floats())
def test_what_is_no_quantity_is_none_and_never_an_error(written: object) -> None:
    found = amount(written)
    assert found is None or found.is_finite()


def test_containers_run_together_and_init_containers_one_after_the_other() -> None:
    assert asked(spec({"cpu": "1"}, {"cpu": "500m"}, init=[init("1"), init("1200m")])) == {"cpu": Decimal("1.5")}
    assert asked(spec({"cpu": "1"}, init=[init("3")])) == {"cpu": 3}


def test_a_sidecar_counts_beside_the_containers_and_beside_later_init_containers() -> None:
    assert asked(spec({"cpu": "1"}, init=[init("2", sidecar=True), init("4")])) == {"cpu": 6}
    assert asked(spec({"cpu": "1"}, init=[init("4"), init("2", sidecar=True)])) == {"cpu": 4}


def test_overhead_comes_on_top_and_the_pods_own_requests_overrule() -> None:
    own: dict[str, Any] = {"resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "250m"}}
    assert asked(spec({"cpu": "1"}, **own)) == {"cpu": Decimal("2.25")}


def test_a_pod_that_no_node_could_hold_says_what_and_how_much() -> None:
    found = too_large(spec({"cpu": "8", "memory": "1Gi"}), [node("a", cpu="2", memory="4Gi"), node("b", cpu="4")])

    assert found is not None
    assert found.sentence == "The pod asks for 8 cpu, and no node it may use is that large: the largest, b, has 4 cpu."


def test_a_node_that_the_pod_may_not_use_is_not_large_enough() -> None:
    big = node("big", cpu="64", taints=[{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}])
    small = node("small", cpu="2")
    wanted: dict[str, Any] = {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}

    assert too_large(spec({"cpu": "8"}), [big, small]) is not None
    assert too_large(spec({"cpu": "8"}, **wanted), [big, small]) is None


def test_each_resource_somewhere_but_nowhere_all_of_them() -> None:
    found = too_large(spec({"cpu": "8", "memory": "8Gi"}), [node(cpu="8", memory="1Gi"), node(cpu="1", memory="8Gi")])

    assert found is not None
    assert found.sentence == "No node has all that the pod asks for at once, even when empty."


def test_size_is_not_the_matter_where_the_pod_may_use_no_node() -> None:
    assert too_large(spec({"cpu": "8"}, nodeSelector={"disk": "ssd"}), [node(cpu="1")]) is None


def test_a_resource_that_no_node_has_is_said_so() -> None:
    found = too_large(spec({"nvidia.com/gpu": "1"}), [node(cpu="4")])

    assert found is not None
    assert "1 nvidia.com/gpu" in found.sentence
    assert "none has any" in found.sentence


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ({"key": "zone", "operator": "In", "values": ["a"]}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "disk", "operator": "Exists"}, False),
        ({"key": "disk", "operator": "DoesNotExist"}, True),
        ({"key": "gen", "operator": "Gt", "values": ["3"]}, True),
        ({"key": "gen", "operator": "Lt", "values": ["3"]}, False),
    ],
)
def test_required_node_affinity_decides_which_nodes_count(expression: dict[str, Any], allowed: bool) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    wanted = spec({"cpu": "1"}, affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})

    assert may_use(wanted, node(labels={"zone": "a", "gen": "5"})) is allowed


@pytest.mark.parametrize(
    ("resource", "number", "words"),
    [
        ("memory", 8053063680, "7.5Gi memory"),
        ("cpu", Decimal("0.25"), "0.25 cpu"),
        ("nvidia.com/gpu", 10, "10 nvidia.com/gpu"),
    ],
)
def test_amounts_are_said_as_people_write_them(resource: str, number: Any, words: str) -> None:
    assert shown(resource, Decimal(number)) == words
