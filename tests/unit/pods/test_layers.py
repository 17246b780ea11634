"""From executor_config and resources to layers."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.errors import InvalidInput
from execplane.pods.default_template import DEFAULT_POD, default_template
from execplane.pods.layers import layers_of, translate_resources
from execplane.pods.legacy import KNOWN_KEYS, translate
from execplane.pods.merge import Layer
from execplane.pods.validate import check_layer
from tests.unit.pods.samples import workload


def load(path: str) -> Layer:
    return Layer(name="template", source=path, pod={**DEFAULT_POD, "metadata": {"labels": {"from": path}}})


def layers(**given: Any) -> list[Layer]:
    return layers_of(workload(**given), default_template(), load)


def test_layers_come_in_the_order_in_which_they_win() -> None:
    found = layers(
        dag_executor_config={"pod_override": {"spec": {}}},
        resources={"cpus": 1},
        executor_config={"KubernetesExecutor": {"image": "x"}, "pod_override": {"spec": {}}},
    )
    assert [layer.name for layer in found] == ["template", "dag", "task resources", "task", "task"]


@pytest.mark.parametrize("where", ["executor_config", "dag_executor_config"])
def test_a_template_file_of_dag_or_task_replaces_the_template(where: str) -> None:
    found = layers(**{where: {"pod_template_file": "/my.yaml"}})
    assert found[0].source == "/my.yaml"


def test_the_tasks_template_file_beats_the_dags() -> None:
    found = layers(
        dag_executor_config={"pod_template_file": "/dag.yaml"}, executor_config={"pod_template_file": "/task.yaml"}
    )
    assert found[0].source == "/task.yaml"


def test_the_older_spelling_of_the_override_is_taken() -> None:
    assert layers(executor_config={"podOverride": {"spec": {}}})[1].name == "task"


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"pod_overide": {}}, "unknown key 'pod_overide'", "pod_override"),
        ({"pod_override": "{'spec': {}}"}, "pod_override is str, not a pod", "V1Pod"),
        ({"pod_override": {}, "podOverride": {}}, "both pod_override and podOverride", "one"),
        ({"KubernetesExecutor": {"request_memroy": "1Gi"}}, "unknown key 'request_memroy'", "request_memory"),
        ({"KubernetesExecutor": "x"}, "is str, not a dict", "dict"),
    ],
)
def test_a_wrong_executor_config_says_what_is_wrong(config: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        layers(executor_config=config)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_another_executors_section_is_that_executors_business() -> None:
    assert len(layers(executor_config={"CeleryExecutor": {"queue": "x"}})) == 1


def test_operator_resources_become_requests_and_gpus_a_limit() -> None:
    assert translate_resources({"cpus": 2, "ram": 512, "disk": 100, "gpus": 1}) == {
        "requests": {"cpu": "2", "memory": "512Mi", "ephemeral-storage": "100Mi"},
        "limits": {"nvidia.com/gpu": "1"},
    }
    with pytest.raises(InvalidInput, match="'cpu'"):
        translate_resources({"cpu": 1})


LEGACY: dict[str, Any] = {
    "request_cpu": "1",
    "request_memory": "1Gi",
    "request_ephemeral_storage": "1Gi",
    "limit_cpu": "2",
    "limit_memory": "2Gi",
    "limit_ephemeral_storage": "2Gi",
    "limit_gpu": 1,
    "resources": {"request_cpu": "3"},
    "gcp_service_account_key": "robot",
    "image": "image:1",
    "namespace": "team-a",
    "envs": {"A": "1"},
    "labels": {"a": "b"},
    "annotations": {"c": "d"},
    "node_selectors": {"disk": "ssd"},
    "affinity": {"nodeAffinity": {}},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "volumes": [{"name": "v", "hostPath": {"path": "/tmp"}}],
    "volume_mounts": [{"name": "v", "mountPath": "/v"}],
    "image_pull_policy": "Always",
    "image_pull_secrets": "a, b",
    "service_account_name": "robot",
    "init_containers": [{"name": "init", "image": "x"}],
    "security_context": {"runAsUser": 1},
    "configmaps": ["one"],
    "cmds": ["/entry"],
    "args": ["x"],
    "ports": [{"containerPort": 80}],
    "hostnetwork": True,
    "dnspolicy": "Default",
    "schedulername": "mine",
    "priority_class_name": "high",
    "restart_policy": "Never",
}


def test_every_legacy_key_has_an_example_here() -> None:
    assert set(LEGACY) == KNOWN_KEYS


@pytest.mark.parametrize("key", sorted(LEGACY))
def test_every_legacy_key_has_an_effect_and_makes_a_valid_pod(key: str) -> None:
    pod = translate({key: LEGACY[key]})
    assert pod
    check_layer(Layer(name="task", pod=pod))


def test_the_legacy_dict_means_what_it_meant() -> None:
    assert translate(LEGACY) == {
        "metadata": {
            "namespace": "team-a",
            "labels": {"a": "b"},
            "annotations": {"c": "d", "iam.cloud.google.com/service-account": "robot"},
        },
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "affinity": {"nodeAffinity": {}},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "volumes": [{"name": "v", "hostPath": {"path": "/tmp"}}],
            "imagePullSecrets": [{"name": "a"}, {"name": "b"}],
            "serviceAccountName": "robot",
            "initContainers": [{"name": "init", "image": "x"}],
            "securityContext": {"runAsUser": 1},
            "hostNetwork": True,
            "dnsPolicy": "Default",
            "schedulerName": "mine",
            "priorityClassName": "high",
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "base",
                    "image": "image:1",
                    "env": [{"name": "A", "value": "1"}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "imagePullPolicy": "Always",
                    "envFrom": [{"configMapRef": {"name": "one"}}],
                    "command": ["/entry"],
                    "args": ["x"],
                    "ports": [{"containerPort": 80}],
                    "resources": {
                        "requests": {"cpu": "3", "memory": "1Gi", "ephemeral-storage": "1Gi"},
                        "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "2Gi", "nvidia.com/gpu": 1},
                    },
                }
            ],
        },
    }


def test_a_falsy_legacy_value_says_nothing() -> None:
    assert translate({"image": "", "tolerations": [], "limit_gpu": None}) == {}
