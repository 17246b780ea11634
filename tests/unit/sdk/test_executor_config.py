from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kubernetes.client import models as k8s

from execplane.contract.errors import DagImportError
from execplane.sdk import EmptyOperator
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise
from tests.unit.sdk.building import new_dag, spec_of


def stored(config: Any) -> Any:
    with new_dag() as dag:
        EmptyOperator(task_id="t", executor_config=config)
    return spec_of(dag, "t").executor_config


def test_a_pod_object_becomes_the_raw_dict_of_the_api() -> None:
    pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(labels={"a": "b"}, annotations={"snake_case/key": "kept"}),
        spec=k8s.V1PodSpec(
            service_account_name="sa",
            automount_service_account_token=False,
            host_network=False,
            containers=[
                k8s.V1Container(
                    name="base",
                    image_pull_policy="Always",
                    env=[k8s.V1EnvVar(name="A", value="")],
                    env_from=[k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name="c"))],
                    resources=k8s.V1ResourceRequirements(requests={"cpu": "1", "ephemeral-storage": "1Gi"}),
                    volume_mounts=[k8s.V1VolumeMount(name="v", mount_path="/v", read_only=True)],
                )
            ],
            volumes=[k8s.V1Volume(name="v", empty_dir=k8s.V1EmptyDirVolumeSource())],
            tolerations=[],
        ),
    )
    assert stored({"pod_override": pod}) == {
        "pod_override": {
            "metadata": {"labels": {"a": "b"}, "annotations": {"snake_case/key": "kept"}},
            "spec": {
                "serviceAccountName": "sa",
                "automountServiceAccountToken": False,
                "hostNetwork": False,
                "containers": [
                    {
                        "name": "base",
                        "imagePullPolicy": "Always",
                        "env": [{"name": "A", "value": ""}],
                        "envFrom": [{"configMapRef": {"name": "c"}}],
                        "resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}},
                        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}],
                    }
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "tolerations": [],
            },
        }
    }


class OldModel:
    """The shape of kubernetes' models up to 36: openapi_types and attribute_map on the class."""

    openapi_types = {"api_version": "str", "node_name": "str", "items": "list"}
    attribute_map = {"api_version": "apiVersion", "node_name": "nodeName", "items": "items"}

    def __init__(self, node_name: str, items: Any = None) -> None:
        self.api_version = None
        self.node_name = node_name
        self.items = items


def test_objects_of_older_clients_become_raw_dicts_too() -> None:
    assert stored({"podOverride": OldModel("n", [OldModel("inner")])}) == {
        "podOverride": {"nodeName": "n", "items": [{"nodeName": "inner"}]}
    }


@pytest.mark.parametrize(
    "config",
    [
        {"pod_override": {"spec": {"x": None, "unknownField": [0, False, "", {}]}, "metadata": {}}},
        {"podOverride": {"spec": {"automountServiceAccountToken": False}}},
        {"pod_template_file": "/etc/template.yaml"},
        {"KubernetesExecutor": {"request_memory": "1Gi", "image": "x", "tolerations": [{"key": "a"}], "unknown": 1}},
    ],
    ids=lambda config: next(iter(config)),
)
def test_dicts_are_stored_exactly(config: dict[str, Any]) -> None:
    assert stored(config) == config


def test_objects_inside_dicts_are_turned_as_well() -> None:
    config = {
        "KubernetesExecutor": {"volumes": [k8s.V1Volume(name="v", host_path=k8s.V1HostPathVolumeSource(path="/p"))]}
    }
    assert stored(config) == {"KubernetesExecutor": {"volumes": [{"name": "v", "hostPath": {"path": "/p"}}]}}


def test_the_dag_has_a_default_of_its_own() -> None:
    pod = k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", image="i")]))
    spec = serialise(new_dag(executor_config={"pod_override": pod}), defaults=Defaults())
    assert spec.executor_config == {"pod_override": {"spec": {"containers": [{"name": "base", "image": "i"}]}}}


def test_a_pod_in_default_args_reaches_every_task() -> None:
    pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(labels={"a": "b"}))
    with new_dag(default_args={"executor_config": {"pod_override": pod}}) as dag:
        EmptyOperator(task_id="t")
    assert spec_of(dag, "t").executor_config == {"pod_override": {"metadata": {"labels": {"a": "b"}}}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"pod": {}}, "no key 'pod'"),
        ({"pod_override": {}, "podOverride": {}}, "both pod_override and podOverride"),
        ({"pod_override": "yaml: text"}, "takes a dict or a V1Pod"),
        ({"pod_override": {"spec": {"x": object()}}}, r"\['pod_override'\]\.spec\.x is of type object"),
        ({"pod_override": {1: 2}}, "has the key 1"),
        ({"pod_template_file": 3}, "takes a path"),
        ([1], "takes a dict"),
    ],
    ids=str,
)
def test_what_no_pod_can_hold_is_refused_with_its_path(config: Any, words: str) -> None:
    with pytest.raises(DagImportError, match=words):
        stored(config)


def test_resources_in_airflows_and_in_kubernetes_words() -> None:
    def resources(given: dict[str, Any]) -> Any:
        with new_dag() as dag:
            EmptyOperator(task_id="t", resources=given)
        return spec_of(dag, "t").resources

    wanted = {"cpu": "0.5", "memory": "512M", "ephemeral-storage": "1000M", "nvidia.com/gpu": "1"}
    assert resources({"cpus": 0.5, "ram": 512, "disk": 1000, "gpus": 1}) == {"requests": wanted, "limits": wanted}
    assert resources({"cpus": 0}) == {}
    assert resources({"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}) == {
        "requests": {"cpu": "1"},
        "limits": {"memory": "1Gi"},
    }


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("1h", 3600), ("90m", 5400), ("1.5 h", 5400), ("45s", 45), ("2d", 172800), (60, 60), (timedelta(hours=2), 7200),
     (None, 0), (0, 0)],
)  # fmt: skip
def test_a_hold_is_kept_in_seconds_however_it_is_written(given: Any, seconds: float) -> None:
    assert stored({"hold_on_failure": given}) == {"hold_on_failure": seconds}


@pytest.mark.parametrize("given", ["an hour", "-1h", -5, True, float("inf"), "1 week", {}])
def test_a_hold_that_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(DagImportError, match="hold_on_failure takes a time"):
        stored({"hold_on_failure": given})


def held(executors: tuple[str, ...], *, of_dag: bool = False, **task: Any) -> Any:
    """A DAG with a hold, as a deployment with these executors serialises it; the first is its default."""
    config: dict[str, Any] = {"executor_config": {"hold_on_failure": "1h"}}
    of_task: dict[str, Any] = {} if of_dag else config
    with new_dag(**(config if of_dag else {})) as dag:
        EmptyOperator(task_id="t", **of_task, **task)
    return serialise(dag, defaults=Defaults(executors=executors))


@pytest.mark.parametrize("of_dag", [False, True])
@pytest.mark.parametrize(
    ("executors", "task"),
    [(("local",), {}), (("local", "kubernetes"), {}), (("kubernetes", "local"), {"executor": "local"}),
     (("local",), {"queue": "big"})],
)  # fmt: skip
def test_a_hold_where_there_is_no_container_is_refused_and_not_ignored(
    executors: tuple[str, ...], task: dict[str, Any], of_dag: bool
) -> None:
    with pytest.raises(DagImportError, match="has no container to hold"):
        held(executors, of_dag=of_dag, **task)


@pytest.mark.parametrize(
    ("executors", "task"),
    [(("kubernetes",), {}), (("local", "kubernetes"), {"executor": "kubernetes"}),
     (("local", "gpu"), {"executor": "gpu"}), (("local", "kubernetes"), {"queue": "pods"}), ((), {})],
)  # fmt: skip
def test_a_hold_where_there_are_containers_is_taken(executors: tuple[str, ...], task: dict[str, Any]) -> None:
    assert held(executors, **task).tasks[0].executor_config == {"hold_on_failure": 3600}
