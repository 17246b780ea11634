"""Fields that execplane has no opinion on arrive in the pod as they were written, from wherever they were written."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.workload import Workload
from execplane.pods.build import BuildOptions, build_pod
from execplane.pods.default_template import default_template
from execplane.pods.layers import layers_of
from execplane.pods.merge import Layer
from execplane.pods.validate import check_template
from tests.unit.pods.samples import workload

TOLERATIONS = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"dag_id": "my_dag"}},
    }
]
SPEC: dict[str, Any] = {
    "priorityClassName": "high",
    "preemptionPolicy": "Never",
    "topologySpreadConstraints": SPREAD,
    "schedulerName": "volcano",
    "runtimeClassName": "nvidia",
    "tolerations": TOLERATIONS,
    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}],
    "dnsConfig": {"nameservers": ["10.0.0.2"]},
    "securityContext": {"runAsNonRoot": True, "fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
    "terminationGracePeriodSeconds": 90,
    "activeDeadlineSeconds": 3600,
    "shareProcessNamespace": True,
    "automountServiceAccountToken": False,
    "overhead": {"cpu": "250m"},
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
    "schedulingGates": [{"name": "example.com/quota"}],
}
BASE: dict[str, Any] = {
    "resources": {
        "requests": {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "20Gi"},
        "limits": {"nvidia.com/gpu": "1", "ephemeral-storage": "40Gi", "example.com/fpga": "2"},
    },
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    "lifecycle": {"preStop": {"exec": {"command": ["sync"]}}},
    "imagePullPolicy": "Never",
}
PLACES = ("template", "dag", "task")


def pod_of(place: str, spec: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The pod as it would be sent, with these fields written in that place."""
    written = {"spec": {**spec, "containers": [{"name": "base", **base}]}}
    template, given = default_template(), workload()
    if place == "template":
        template = Layer(name="template", pod={"apiVersion": "v1", "kind": "Pod", **written})
        check_template(template)
    else:
        given = workload(**{f"{'dag_' if place == 'dag' else ''}executor_config": {"pod_override": written}})
    return sent(given, template)


def sent(given: Workload, template: Layer) -> dict[str, Any]:
    def no_files(path: str) -> Layer:
        raise AssertionError(path)

    return build_pod(given, layers_of(given, template, no_files), BuildOptions(image="worker:1")).pod


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("field", SPEC)
def test_a_field_of_the_pod_arrives_as_it_was_written(field: str, place: str) -> None:
    assert pod_of(place, {field: SPEC[field]}, {})["spec"][field] == SPEC[field]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("field", BASE)
def test_a_field_of_the_tasks_container_arrives_as_it_was_written(field: str, place: str) -> None:
    base = next(one for one in pod_of(place, {}, {field: BASE[field]})["spec"]["containers"] if one["name"] == "base")
    assert base[field] == BASE[field]


@pytest.mark.parametrize(
    ("key", "value", "where", "arrives"),
    [
        ("priority_class_name", "high", "priorityClassName", "high"),
        ("schedulername", "volcano", "schedulerName", "volcano"),
        ("tolerations", TOLERATIONS, "tolerations", TOLERATIONS),
        ("limit_gpu", 1, "limits", {"nvidia.com/gpu": 1}),
        ("request_ephemeral_storage", "20Gi", "requests", {"ephemeral-storage": "20Gi"}),
        ("limit_ephemeral_storage", "40Gi", "limits", {"ephemeral-storage": "40Gi"}),
    ],
)
def test_the_legacy_dict_reaches_the_same_fields(key: str, value: object, where: str, arrives: object) -> None:
    spec = sent(workload(executor_config={"KubernetesExecutor": {key: value}}), default_template())["spec"]
    base = next(one for one in spec["containers"] if one["name"] == "base")
    assert {**spec, **base.get("resources", {})}[where] == arrives
