"""The legacy `executor_config={"KubernetesExecutor": {...}}` of Airflow 1.10, as a pod override.

A key with a falsy value says nothing, as it did there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from execplane.contract.errors import InvalidInput
from execplane.pods.fields import BASE
from execplane.pods.nearest import nearest

LEGACY_KEY = "KubernetesExecutor"
GPU = "nvidia.com/gpu"
SERVICE_ACCOUNT_KEY = "iam.cloud.google.com/service-account"

_RESOURCES = {
    "request_cpu": ("requests", "cpu"),
    "request_memory": ("requests", "memory"),
    "request_ephemeral_storage": ("requests", "ephemeral-storage"),
    "limit_cpu": ("limits", "cpu"),
    "limit_memory": ("limits", "memory"),
    "limit_ephemeral_storage": ("limits", "ephemeral-storage"),
    "limit_gpu": ("limits", GPU),
}

_Place = tuple[str, str]


def _same(value: Any) -> Any:
    return value


def _envs(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [{"name": str(name), "value": str(text)} for name, text in value.items()]
    return list(value)


def _names(value: Any) -> list[str]:
    """Lists were written as comma strings, too."""
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]


def _pull_secrets(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [{"name": name} for name in _names(value)]
    return [item if isinstance(item, Mapping) else {"name": str(item)} for item in value]


def _config_maps(value: Any) -> list[Any]:
    return [{"configMapRef": {"name": name}} for name in _names(value)]


_KEYS: dict[str, tuple[_Place, Callable[[Any], Any]]] = {
    "namespace": (("metadata", "namespace"), _same),
    "labels": (("metadata", "labels"), _same),
    "annotations": (("metadata", "annotations"), _same),
    "image": ((BASE, "image"), _same),
    "image_pull_policy": ((BASE, "imagePullPolicy"), _same),
    "envs": ((BASE, "env"), _envs),
    "configmaps": ((BASE, "envFrom"), _config_maps),
    "volume_mounts": ((BASE, "volumeMounts"), list),
    "cmds": ((BASE, "command"), list),
    "args": ((BASE, "args"), list),
    "ports": ((BASE, "ports"), list),
    "node_selectors": (("spec", "nodeSelector"), _same),
    "affinity": (("spec", "affinity"), _same),
    "tolerations": (("spec", "tolerations"), list),
    "volumes": (("spec", "volumes"), list),
    "image_pull_secrets": (("spec", "imagePullSecrets"), _pull_secrets),
    "service_account_name": (("spec", "serviceAccountName"), _same),
    "init_containers": (("spec", "initContainers"), list),
    "security_context": (("spec", "securityContext"), _same),
    "hostnetwork": (("spec", "hostNetwork"), _same),
    "dnspolicy": (("spec", "dnsPolicy"), _same),
    "schedulername": (("spec", "schedulerName"), _same),
    "priority_class_name": (("spec", "priorityClassName"), _same),
    "restart_policy": (("spec", "restartPolicy"), _same),
}

KNOWN_KEYS = frozenset({*_KEYS, *_RESOURCES, "resources", "gcp_service_account_key"})


def translate(config: Mapping[str, Any]) -> dict[str, Any]:
    """The override that the legacy dict means. Raises InvalidInput with the nearest right key for an unknown one."""
    if not isinstance(config, Mapping):
        raise InvalidInput(
            f"executor_config[{LEGACY_KEY!r}] is {type(config).__name__}, not a dict.",
            hint="Write a dict of the legacy keys, or use pod_override.",
        )
    parts: dict[str, dict[str, Any]] = {"metadata": {}, "spec": {}, BASE: {}}
    resources: dict[str, dict[str, Any]] = {}
    for key, value in config.items():
        if key not in KNOWN_KEYS:
            raise InvalidInput(
                f"executor_config[{LEGACY_KEY!r}] has an unknown key {key!r}.", hint=nearest(key, KNOWN_KEYS)
            )
        if not value and value is not False:
            continue
        if key in _RESOURCES:
            _set(resources, _RESOURCES[key], value)
        elif key == "resources":
            _add_resources(resources, value)
        elif key == "gcp_service_account_key":
            parts["metadata"].setdefault("annotations", {})[SERVICE_ACCOUNT_KEY] = value
        else:
            (part, field), convert = _KEYS[key]
            converted = convert(value)
            known = parts[part].get(field)
            parts[part][field] = {**known, **converted} if isinstance(known, dict) else converted
    if resources:
        parts[BASE]["resources"] = resources
    return _pod(parts)


def _set(resources: dict[str, dict[str, Any]], place: _Place, value: Any) -> None:
    resources.setdefault(place[0], {})[place[1]] = value


def _add_resources(resources: dict[str, dict[str, Any]], value: Any) -> None:
    """Either Kubernetes' own {"requests": …, "limits": …} or the legacy keys once more."""
    for key, inner in dict(value).items():
        if key in _RESOURCES:
            _set(resources, _RESOURCES[key], inner)
        elif key in ("requests", "limits"):
            resources.setdefault(key, {}).update(inner)
        else:
            raise InvalidInput(
                f"executor_config[{LEGACY_KEY!r}]['resources'] has an unknown key {key!r}.",
                hint=nearest(key, {*_RESOURCES, "requests", "limits"}),
            )


def _pod(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = {}
    if parts["metadata"]:
        pod["metadata"] = parts["metadata"]
    spec = parts["spec"]
    if parts[BASE]:
        spec = {**spec, "containers": [{"name": BASE, **parts[BASE]}]}
    if spec:
        pod["spec"] = spec
    return pod
