"""Merging layers: what Airflow does, without its pains."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from execplane.pods.merge import Layer, merge
from execplane.pods.tree import plant, walk
from tests.unit.pods.samples import PODS

Pod = dict[str, Any]


def merged(*pods: Pod) -> Pod:
    return merge([Layer(name=f"layer {number}", pod=pod) for number, pod in enumerate(pods)]).pod


def base(**fields: Any) -> Pod:
    return {"spec": {"containers": [{"name": "base", **fields}]}}


def of_base(pod: Pod, field: str) -> Any:
    return pod["spec"]["containers"][0].get(field)


@given(PODS, PODS)
def test_the_same_override_twice_changes_nothing_more(template: Pod, override: Pod) -> None:
    assert merged(template, override, override) == merged(template, override)


@given(PODS)
def test_an_empty_override_changes_nothing(template: Pod) -> None:
    assert merged(template, {}) == merged(template)


@given(PODS, PODS)
def test_every_field_knows_a_layer_that_really_said_it(template: Pod, override: Pod) -> None:
    result = merge([Layer(name="template", pod=template), Layer(name="task", pod=override)])
    provenance = result.provenance
    said = {"template": _leaves(template), "task": _leaves(override)}
    for path, leaf in walk(plant(result.pod, "")):
        layer = provenance[path]
        if leaf.value in ({}, []):
            # May be left of an object whose entries were all deleted by null.
            assert layer in said
            continue
        assert (path.rsplit("]", 1)[-1].rsplit(".", 1)[-1], repr(leaf.value)) in said[layer]
    assert len(provenance) == len(list(walk(plant(result.pod, ""))))


def _leaves(pod: Pod) -> set[tuple[str, str]]:
    return {(path.rsplit("]", 1)[-1].rsplit(".", 1)[-1], repr(leaf.value)) for path, leaf in walk(plant(pod, ""))}


@given(PODS, PODS)
def test_no_list_holds_two_items_of_one_key(template: Pod, override: Pod) -> None:
    spec = merged(template, override).get("spec", {})
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        for field, key in (("env", "name"), ("volumeMounts", "mountPath")):
            found = [item[key] for item in container.get(field, [])]
            assert len(found) == len(set(found))
    for field in ("containers", "initContainers", "volumes"):
        found = [item["name"] for item in spec.get(field, [])]
        assert len(found) == len(set(found))


@given(PODS, PODS)
def test_what_an_override_says_is_what_comes_out(template: Pod, override: Pod) -> None:
    result = merged(template, override)
    for field in ("nodeSelector", "tolerations", "hostNetwork", "terminationGracePeriodSeconds"):
        if field in override.get("spec", {}):
            wanted = override["spec"][field]
            expected = _without_nulls(wanted)
            assert result["spec"].get(field) == expected


def _without_nulls(value: Any) -> Any:
    return {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value


@pytest.mark.parametrize("value", [False, 0, "", [], {}])
def test_a_falsy_value_resets_the_template(value: Any) -> None:
    template = {"spec": {"automountServiceAccountToken": True, "x": "something"}}
    assert merged(template, {"spec": {"x": value}})["spec"]["x"] == value


@pytest.mark.parametrize("field", ["automountServiceAccountToken", "tolerations", "affinity", "volumes"])
def test_null_deletes_what_the_template_said(field: str) -> None:
    said = {"automountServiceAccountToken": True, "tolerations": [{"key": "a"}], "affinity": {"nodeAffinity": {}}}
    template = {"spec": {**said, "volumes": [{"name": "v", "emptyDir": {}}]}}
    assert field not in merged(template, {"spec": {field: None}})["spec"]


def test_null_deletes_one_label_and_leaves_the_others() -> None:
    labels = merged({"metadata": {"labels": {"a": "1", "b": "2"}}}, {"metadata": {"labels": {"a": None}}})
    assert labels == {"metadata": {"labels": {"b": "2"}}}


def test_an_empty_list_empties_a_list_that_is_otherwise_appended_to() -> None:
    template = base(env=[{"name": "A", "value": "1"}])
    assert of_base(merged(template, base(env=[])), "env") == []


def test_an_empty_list_of_containers_means_nothing_because_v1podspec_requires_the_field() -> None:
    template = base(image="one")
    assert merged(template, {"spec": {"containers": []}}) == template


def test_labels_and_annotations_unite_and_the_override_wins() -> None:
    result = merged({"metadata": {"labels": {"a": "1", "b": "1"}}}, {"metadata": {"labels": {"b": "2", "c": "2"}}})
    assert result["metadata"]["labels"] == {"a": "1", "b": "2", "c": "2"}


def test_a_sidecar_listed_first_does_not_overwrite_base() -> None:
    override = {"spec": {"containers": [{"name": "proxy", "image": "p"}, {"name": "base", "image": "new"}]}}
    result = merged(base(image="old", stdin=True), override)
    assert result["spec"]["containers"] == [
        {"name": "base", "image": "new", "stdin": True},
        {"name": "proxy", "image": "p"},
    ]


def test_a_single_container_without_a_name_is_base() -> None:
    result = merged(base(image="old"), {"spec": {"containers": [{"image": "new"}]}})
    assert result["spec"]["containers"] == [{"name": "base", "image": "new"}]


def test_init_containers_match_by_name_and_are_not_doubled() -> None:
    template = {"spec": {"initContainers": [{"name": "git-sync", "image": "1", "env": [{"name": "A", "value": "1"}]}]}}
    override = {"spec": {"initContainers": [{"name": "git-sync", "image": "2"}, {"name": "warm", "image": "3"}]}}
    assert merged(template, override)["spec"]["initContainers"] == [
        {"name": "git-sync", "image": "2", "env": [{"name": "A", "value": "1"}]},
        {"name": "warm", "image": "3"},
    ]


def test_a_volume_of_the_same_name_is_replaced_whole() -> None:
    template = {"spec": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]}}
    override = {"spec": {"volumes": [{"name": "data", "hostPath": {"path": "/data"}}]}}
    assert merged(template, override)["spec"]["volumes"] == [
        {"name": "data", "hostPath": {"path": "/data"}},
        {"name": "other", "emptyDir": {}},
    ]


def test_a_variable_of_the_same_name_is_replaced_whole_in_its_place() -> None:
    template = base(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    override = base(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "C"}])
    assert of_base(merged(template, override), "env") == [
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "B", "value": "2"},
        {"name": "C"},
    ]


def test_ports_are_told_apart_by_protocol_which_is_tcp_unless_said() -> None:
    template = base(ports=[{"containerPort": 53, "name": "old"}, {"containerPort": 53, "protocol": "UDP"}])
    override = base(ports=[{"containerPort": 53, "protocol": "TCP", "name": "new"}])
    assert of_base(merged(template, override), "ports") == [
        {"containerPort": 53, "protocol": "TCP", "name": "new"},
        {"containerPort": 53, "protocol": "UDP"},
    ]


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("nodeSelector", {"disk": "ssd"}, {"zone": "a"}),
        ("tolerations", [{"key": "a"}], [{"key": "b"}]),
        ("affinity", {"nodeAffinity": {}}, {"podAffinity": {}}),
        ("imagePullSecrets", [{"name": "a"}], [{"name": "b"}]),
        ("securityContext", {"runAsUser": 1, "fsGroup": 2}, {"runAsUser": 3}),
        ("hostAliases", [{"ip": "1.1.1.1"}], [{"ip": "2.2.2.2"}]),
    ],
)
def test_other_objects_and_lists_of_the_spec_are_replaced_whole(field: str, old: Any, new: Any) -> None:
    assert merged({"spec": {field: old}}, {"spec": {field: new}})["spec"] == {field: new}


@pytest.mark.parametrize("field", ["resources", "securityContext", "livenessProbe", "lifecycle"])
def test_objects_of_a_container_are_replaced_whole(field: str) -> None:
    assert of_base(merged(base(**{field: {"a": {"x": 1}}}), base(**{field: {"b": {}}})), field) == {"b": {}}


def test_unknown_fields_of_a_newer_kubernetes_survive() -> None:
    assert merged({"spec": {"futureField": {"deep": [1]}}}, base(image="x"))["spec"]["futureField"] == {"deep": [1]}
