"""From what authors wrote (`executor_config`, `resources`) to the layers that are merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from execplane.contract.errors import InvalidInput, Unavailable
from execplane.contract.executor_config import HOLD_ON_FAILURE
from execplane.contract.workload import Layered, Workload
from execplane.pods.fields import BASE
from execplane.pods.legacy import GPU, LEGACY_KEY, translate
from execplane.pods.merge import Layer
from execplane.pods.nearest import nearest
from execplane.pods.rules import PodRule, matching, rule_layers

TEMPLATE = "template"
DAG = "dag"
TASK_RESOURCES = "task resources"
TASK = "task"

LoadTemplate = Callable[[str], Layer]
"""Reads a pod template file into a checked layer named "template"; raises InvalidInput."""

_OVERRIDES = ("pod_override", "podOverride")
_TEMPLATE_FILE = "pod_template_file"
_KNOWN = (*_OVERRIDES, _TEMPLATE_FILE, HOLD_ON_FAILURE, LEGACY_KEY)


def layers_of(
    workload: Workload, template: Layer, load_template: LoadTemplate, rules: Sequence[PodRule] = ()
) -> list[Layer]:
    """template <- rules <- DAG default <- task `resources` <- task override <- binding rules.

    A `pod_template_file` replaces the template: a rule's, then the DAG's, then the task's; a binding rule's stays.
    Raises InvalidInput for what authors got wrong, Unavailable for a rule's template that cannot be used.
    """
    task_id = workload.key.task.task_id
    sources = (
        (DAG, f"executor_config of DAG {workload.key.task.dag_id}", workload.dag_executor_config),
        (TASK, f"executor_config of task {task_id}", workload.executor_config),
    )
    found = matching(rules, workload)
    by_rule = next((rule for rule in found if rule.pod_template_file), None)
    if by_rule is not None:
        template = _template_of(by_rule, load_template)
    overrides: list[Layer] = []
    for name, source, config in sources:
        _check_keys(config, source)
        if path := config.get(_TEMPLATE_FILE):
            if by_rule is not None and by_rule.binding:
                lost = Layered(path=_TEMPLATE_FILE, layer=name, wanted=str(path))
                template = replace(template, overruled=(*template.overruled, lost))
            else:
                template = load_template(str(path))
        if name == TASK and workload.resources:
            overrides.append(
                Layer(
                    name=TASK_RESOURCES,
                    source=f"resources of task {task_id}",
                    pod=_of_base({"resources": translate_resources(workload.resources)}),
                )
            )
        if config.get(LEGACY_KEY):
            overrides.append(Layer(name=name, source=source, pod=translate(config[LEGACY_KEY])))
        overrides.extend(_override(name, source, config))
    by_rules = rule_layers(found)
    free = [layer for layer in by_rules if not layer.binding]
    return [template, *free, *overrides, *(layer for layer in by_rules if layer.binding)]


def _template_of(rule: PodRule, load_template: LoadTemplate) -> Layer:
    try:
        return load_template(rule.pod_template_file)
    except InvalidInput as error:
        # The operators' fault, not the author's: it is theirs to mend, and costs the task no try.
        raise Unavailable(f"{rule.layer} of kubernetes.rules: {error.message}", hint=error.hint) from error


def _override(name: str, source: str, config: Mapping[str, Any]) -> list[Layer]:
    given = [(key, config[key]) for key in _OVERRIDES if config.get(key) is not None]
    if len(given) > 1:
        raise InvalidInput(f"{source}: both {given[0][0]} and {given[1][0]} are given.", hint="Keep one of them.")
    for key, pod in given:
        if not isinstance(pod, dict):
            raise InvalidInput(
                f"{source}: {key} is {type(pod).__name__}, not a pod.",
                hint="Give a kubernetes.client.V1Pod, or a dict as in a pod's YAML.",
            )
        return [Layer(name=name, source=f"{key} in {source}", pod=pod)]
    return []


def _check_keys(config: Mapping[str, Any], source: str) -> None:
    for key in config:
        # Another executor's section is that executor's business.
        if key not in _KNOWN and not key.endswith("Executor"):
            raise InvalidInput(f"{source} has an unknown key {key!r}.", hint=nearest(key, _KNOWN))


_OPERATOR_RESOURCES: dict[str, tuple[str, str, str]] = {
    "cpus": ("requests", "cpu", ""),
    "ram": ("requests", "memory", "Mi"),
    "disk": ("requests", "ephemeral-storage", "Mi"),
    "gpus": ("limits", GPU, ""),
}


def translate_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """An operator's `resources`: Airflow's {"cpus", "ram", "disk", "gpus"} (ram and disk in MiB) or Kubernetes' own."""
    result: dict[str, dict[str, Any]] = {}
    for key, value in resources.items():
        if key in ("requests", "limits", "claims"):
            result[key] = value
        elif key not in _OPERATOR_RESOURCES:
            raise InvalidInput(
                f"resources has an unknown key {key!r}.",
                hint=nearest(key, {*_OPERATOR_RESOURCES, "requests", "limits"}),
            )
        elif value:
            kind, name, unit = _OPERATOR_RESOURCES[key]
            result.setdefault(kind, {})[name] = f"{value}{unit}"
    return result


def _of_base(fields: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": BASE, **fields}]}}
