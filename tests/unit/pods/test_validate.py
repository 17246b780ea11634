"""Wrong pods: each error names the field, the layer, and what was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.errors import InvalidInput
from execplane.pods.default_template import DEFAULT_POD
from execplane.pods.merge import Layer
from execplane.pods.validate import check_layer, check_template


def refused(pod: Any, *, template: bool = False) -> InvalidInput:
    layer = Layer(name="template" if template else "task", pod=pod, source="pods.yaml" if template else "here")
    with pytest.raises(InvalidInput) as caught:
        (check_template if template else check_layer)(layer)
    return caught.value


def of_base(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [fields]}}


@pytest.mark.parametrize(
    ("pod", "message", "hint"),
    [
        ({"spec": {"node_selector": {}}}, "spec.node_selector is not a field of PodSpec", "nodeSelector"),
        ({"spec": {"tolerationz": []}}, "spec.tolerationz is not a field of PodSpec", "tolerations"),
        (of_base(imagee="x"), "spec.containers[0].imagee is not a field of Container", "image"),
        (of_base(volume_mounts=[]), "spec.containers[0].volume_mounts is not", "volumeMounts"),
        ({"metadata": {"label": {}}}, "metadata.label is not a field of ObjectMeta", "labels"),
        ({"containers": []}, "containers is not a field of Pod", "metadata"),
        (of_base(env=[{"name": "A", "value": 1}]), "spec.containers[0].env[0].value must be a string, not 1", '"1"'),
        ({"metadata": {"labels": {"a": True}}}, "metadata.labels[a] must be a string, not true", '"true"'),
        ({"spec": {"hostNetwork": "yes"}}, 'spec.hostNetwork must be true or false, not "yes"', ""),
        ({"spec": {"activeDeadlineSeconds": 1.5}}, "spec.activeDeadlineSeconds must be a whole number, not 1.5", ""),
        ({"spec": {"containers": {"name": "base"}}}, "spec.containers must be a list, not an object", ""),
        ({"spec": [1]}, "spec must be an object (PodSpec), not a list", ""),
        (of_base(resources={"limits": {"cpu": True}}), "resources.limits[cpu] must be a quantity", ""),
        (of_base(args=[None]), "spec.containers[0].args[0] must be a string, not null", ""),
    ],
)
def test_a_wrong_field_is_named_with_the_nearest_right_one(pod: Any, message: str, hint: str) -> None:
    error = refused(pod)
    assert message in error.message
    assert hint in error.hint
    assert error.message.startswith("task (here): ")


def test_all_wrong_fields_are_counted() -> None:
    assert "(2 more: spec.b, spec.c)" in refused({"spec": {"a": 1, "b": 2, "c": 3}}).message


@pytest.mark.parametrize(
    "pod",
    [
        of_base(resources={"limits": {"cpu": 1, "memory": "2Gi"}}),
        {"spec": {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1}}]}},
        of_base(livenessProbe={"httpGet": {"port": "http"}}),
        of_base(livenessProbe={"httpGet": {"port": 8080}}),
        {"spec": {"hostNetwork": None, "containers": []}},
        {"metadata": {"creationTimestamp": None}, "status": {"anything": 1}},
    ],
)
def test_what_kubernetes_takes_is_taken(pod: dict[str, Any]) -> None:
    check_layer(Layer(name="task", pod=pod))


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (None, "is empty"),
        ([], "is list, not a mapping"),
        ("text", "is str, not a mapping"),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, "is not a Pod: apiVersion is 'apps/v1'"),
        ({"apiVersion": "v1", "kind": "List", "items": []}, "is not a Pod: kind is 'List'"),
        ({"spec": {}}, "is not a Pod: it has no apiVersion"),
        ({**DEFAULT_POD, "spec": {"containers": [{"name": "main"}]}}, "has no container named 'base' (only 'main')"),
    ],
)
def test_a_template_that_is_not_a_pod_says_what_it_is(pod: Any, message: str) -> None:
    error = refused(pod, template=True)
    assert message in error.message
    assert "pods.yaml" in error.message


def test_the_built_in_template_is_valid() -> None:
    check_template(Layer(name="template", pod=DEFAULT_POD))
