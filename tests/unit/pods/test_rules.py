"""Operators' rules: whose pods they are about, what they set, who may say otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.errors import InvalidInput, Unavailable
from execplane.contract.workload import Layered, Workload
from execplane.pods.build import BuildOptions, Built, build_pod
from execplane.pods.builder import PodBuilder
from execplane.pods.default_template import DEFAULT_POD, default_template
from execplane.pods.hook import Mutation
from execplane.pods.layers import layers_of
from execplane.pods.merge import Layer
from execplane.pods.rules import PodRule, matching
from tests.unit.pods.samples import PODS, workload

OPTIONS = BuildOptions(image="worker:1", namespace="tasks", namespaces=("shared",), rule_namespaces=("team-a", "gpu"))
CLUSTER = "execplane.io/cluster"


def load(path: str) -> Layer:
    if "broken" in path:
        raise InvalidInput(f"Pod template {path} is not YAML.", hint="Mend the file.")
    return Layer(name="template", source=path, pod={**DEFAULT_POD, "metadata": {"labels": {"from": path[1:]}}})


def rules(*given: dict[str, Any]) -> tuple[PodRule, ...]:
    return tuple(PodRule(number=number, **fields) for number, fields in enumerate(given, start=1))


def built(one: Workload, by: tuple[PodRule, ...], options: BuildOptions = OPTIONS, mutate: Any = None) -> Built:
    return build_pod(one, layers_of(one, default_template(), load, by), options, mutate)


def override(pod: dict[str, Any], **more: Any) -> Workload:
    return workload(executor_config={"pod_override": pod}, **more)


ALL = {"dag_id": ("*",)}
TEAM_A = {"name": "team-a", "tag": ("team-a",), "namespace": "team-a"}
OF_TEAM_A: dict[str, Any] = {"tags": ("daily", "team-a")}


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({"dag_id": ("my_*",)}, True),
        ({"dag_id": ("other", "my_dag")}, True),
        ({"dag_id": ("MY_DAG",)}, False),
        ({"dag_id": ("dag",)}, False),
        ({"task_id": ("load",)}, True),
        ({"tag": ("gpu", "nightly")}, True),
        ({"tag": ("night",)}, False),
        ({"owner": ("bob",)}, True),
        ({"owner": ("alice,*",)}, False),
        ({"queue": ("big",)}, True),
        ({"pool": ("db",)}, True),
        ({"dag_id": ("my_*",), "tag": ("nightly",)}, True),
        ({"dag_id": ("my_*",), "tag": ("gpu",)}, False),
    ],
)
def test_a_rule_matches_when_all_that_it_names_does(rule: dict[str, Any], matches: bool) -> None:
    one = workload(tags=("nightly", "etl"), owner="alice, bob", queue="big", pool="db")
    assert PodRule(number=1, **rule).matches(one) is matches


def test_the_first_rule_that_matches_counts() -> None:
    by = rules({"tag": ("none",), "namespace": "x"}, TEAM_A, {**ALL, "namespace": "gpu", "service_account": "robot"})
    found = built(workload(**OF_TEAM_A), by)
    assert found.namespace == "team-a"
    assert "serviceAccountName" not in found.pod["spec"]
    assert built(workload(), by).namespace == "gpu"


def test_a_rule_that_is_not_final_lets_the_next_ones_add_what_it_left_out() -> None:
    first = {**TEAM_A, "final": False, "labels": {"cost": "a"}}
    by = rules(first, {**ALL, "namespace": "gpu", "service_account": "robot", "labels": {"cost": "b", "kind": "etl"}})
    found = built(workload(**OF_TEAM_A), by)
    assert found.namespace == "team-a"
    assert found.pod["spec"]["serviceAccountName"] == "robot"
    assert found.pod["metadata"]["labels"].items() >= {"cost": "a", "kind": "etl"}.items()
    assert found.provenance["metadata.namespace"] == "rule 1 (team-a)"
    assert found.provenance["metadata.labels.cost"] == "rule 1 (team-a)"
    assert found.provenance["spec.serviceAccountName"] == "rule 2"
    assert found.pod["metadata"]["annotations"]["execplane.io/rules"] == "rule 1 (team-a), rule 2"


def test_what_a_rule_says_is_a_default_that_a_task_may_change() -> None:
    by = rules({**TEAM_A, "service_account": "robot"})
    one = override({"metadata": {"namespace": "shared"}, "spec": {"serviceAccountName": "own"}}, **OF_TEAM_A)
    found = built(one, by)
    assert (found.namespace, found.pod["spec"]["serviceAccountName"]) == ("shared", "own")
    assert found.overruled == ()


def test_a_binding_rule_wins_and_what_gave_way_is_reported() -> None:
    by = rules({**TEAM_A, "service_account": "robot", "labels": {"cost": "a"}, "binding": True})
    one = override({"metadata": {"namespace": "elsewhere", "labels": {"cost": "b"}}, "spec": {}}, **OF_TEAM_A)
    found = built(one, by)
    assert (found.namespace, found.pod["spec"]["serviceAccountName"]) == ("team-a", "robot")
    assert found.pod["metadata"]["labels"]["cost"] == "a"
    assert set(found.overruled) == {
        Layered(path="metadata.namespace", layer="task", wanted="elsewhere"),
        Layered(path="metadata.labels.cost", layer="task", wanted="b"),
    }


def test_a_binding_rule_that_comes_later_takes_nothing_from_an_earlier_one() -> None:
    by = rules({**TEAM_A, "final": False}, {**ALL, "namespace": "gpu", "binding": True})
    assert built(workload(**OF_TEAM_A), by).namespace == "team-a"


def test_a_rules_template_stands_below_the_authors() -> None:
    by = rules({**ALL, "pod_template_file": "/rule"})
    assert built(workload(), by).pod["metadata"]["labels"]["from"] == "rule"
    own = workload(executor_config={"pod_template_file": "/own"})
    assert built(own, by).pod["metadata"]["labels"]["from"] == "own"


def test_a_binding_rules_template_stands_and_what_gave_way_is_reported() -> None:
    by = rules({**ALL, "pod_template_file": "/rule", "binding": True})
    own = workload(executor_config={"pod_template_file": "/own"}, dag_executor_config={"pod_template_file": "/dag"})
    found = built(own, by)
    assert found.pod["metadata"]["labels"]["from"] == "rule"
    assert [(each.layer, each.path, each.wanted) for each in found.overruled] == [
        ("dag", "pod_template_file", "/dag"),
        ("task", "pod_template_file", "/own"),
    ]


def test_a_rules_broken_template_is_no_fault_of_the_author() -> None:
    by = rules({**ALL, "name": "all", "pod_template_file": "/broken"})
    with pytest.raises(Unavailable, match=r"rule 1 \(all\) of kubernetes\.rules: .*not YAML"):
        built(workload(), by)
    with pytest.raises(InvalidInput):
        built(workload(executor_config={"pod_template_file": "/broken"}), ())


def test_a_namespace_that_a_rule_gives_to_one_team_is_no_others_to_choose() -> None:
    by = rules(TEAM_A)
    wish = {"metadata": {"namespace": "team-a"}}
    with pytest.raises(InvalidInput, match=r"metadata\.namespace is 'team-a' \(set by task\)") as refused:
        built(override(wish), by)
    assert "kubernetes.namespaces" in refused.value.hint
    assert built(override(wish, **OF_TEAM_A), by).namespace == "team-a"


def test_the_operators_hook_may_send_a_pod_wherever_rules_send_pods() -> None:
    def to_gpu(pod: dict[str, Any]) -> Mutation:
        return Mutation(before=pod, after={**pod, "metadata": {**pod["metadata"], "namespace": "gpu"}})

    assert built(workload(), rules(TEAM_A), mutate=to_gpu).namespace == "gpu"


def test_only_a_named_clusters_pods_carry_its_label() -> None:
    named = BuildOptions(image="worker:1", cluster="gpu")
    assert built(workload(), (), named).pod["metadata"]["labels"][CLUSTER] == "gpu"
    strange = override({"metadata": {"labels": {CLUSTER: "gpu"}}})
    found = built(strange, ())
    assert CLUSTER not in found.pod["metadata"]["labels"]
    assert [each.path for each in found.overruled] == ["metadata.labels[execplane.io/cluster]"]


NAMES = st.sampled_from(["", "a", "b"])
RULES = st.lists(
    st.fixed_dictionaries(
        {"dag_id": st.sampled_from([("my_*",), ("other",)])},
        optional={
            "namespace": NAMES,
            "service_account": NAMES,
            "pod_template_file": st.sampled_from(["", "/a", "/b"]),
            "labels": st.dictionaries(NAMES, NAMES, max_size=2),
            "binding": st.booleans(),
            "final": st.booleans(),
        },
    ),
    max_size=4,
)


@given(RULES, PODS)
def test_of_the_rules_that_match_the_first_to_set_a_field_sets_it_and_a_binding_one_for_good(
    given_rules: list[dict[str, Any]], pod: dict[str, Any]
) -> None:
    by = rules(*given_rules)
    one = override(pod)
    options = BuildOptions(image="worker:1", namespaces=("", "x", "y"))
    try:
        found = built(one, by, options)
    except InvalidInput:
        return
    builder, layers = PodBuilder(options), layers_of(one, default_template(), load, by)
    builder.build(override(pod, attempt_no=9), layers)
    assert builder.build(one, layers) == found
    speaker = next((rule for rule in matching(by, one) if rule.namespace), None)
    metadata = pod.get("metadata", {})
    # Null is a word, too: it takes away what an earlier layer said.
    if speaker is not None and (speaker.binding or "namespace" not in metadata):
        assert found.namespace == speaker.namespace
        assert found.provenance["metadata.namespace"] == speaker.layer
    elif speaker is None:
        assert found.namespace == (metadata.get("namespace") or "default")
