"""Operators' rules: which tasks' pods go to which namespace, with which service account, from which template. Pure.

The first rule that matches counts, as in `failures.rules`; one that is not `final` lets the later ones add what it left
out. What a rule says is a default that DAG and task may change, unless it is `binding`: then it is laid over theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from execplane.contract.workload import Workload
from execplane.pods.identity import PREFIX
from execplane.pods.merge import Layer

RULES = PREFIX + "rules"
"""Annotation: the rules that matched, for whoever wonders why the pod is where it is."""

_Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PodRule:
    """What is named must all match; of several globs one is enough."""

    number: int
    """Its place in the settings, from 1: operators find it by that."""
    name: str = ""
    dag_id: tuple[str, ...] = ()
    task_id: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()
    namespace: str = ""
    service_account: str = ""
    pod_template_file: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    binding: bool = False
    final: bool = True

    @property
    def layer(self) -> str:
        """Its name in the provenance of what it set."""
        return f"rule {self.number} ({self.name})" if self.name else f"rule {self.number}"

    def matches(self, workload: Workload) -> bool:
        task = workload.key.task
        owners = [owner.strip() for owner in workload.owner.split(",")]
        asked = (
            (self.dag_id, (task.dag_id,)),
            (self.task_id, (task.task_id,)),
            (self.tag, workload.tags),
            (self.owner, owners),
            (self.queue, (workload.queue,)),
            (self.pool, (workload.pool,)),
        )
        return all(not globs or _any_matches(globs, values) for globs, values in asked)

    def fields(self) -> Iterator[tuple[_Path, str]]:
        """What it says about the pod, as the path and value of each field."""
        if self.namespace:
            yield ("metadata", "namespace"), self.namespace
        if self.service_account:
            yield ("spec", "serviceAccountName"), self.service_account
        for kind, entries in (("labels", self.labels), ("annotations", self.annotations)):
            for name, value in entries.items():
                yield ("metadata", kind, name), value


def matching(rules: Sequence[PodRule], workload: Workload) -> list[PodRule]:
    """Those that match, in order, up to and with the first final one."""
    found: list[PodRule] = []
    for rule in rules:
        if rule.matches(workload):
            found.append(rule)
            if rule.final:
                break
    return found


def rule_layers(rules: Sequence[PodRule]) -> list[Layer]:
    """What rules that matched say, a layer each; of two that set the same field, the earlier one does."""
    taken: set[_Path] = set()
    layers: list[Layer] = []
    for rule in rules:
        said = {path: value for path, value in rule.fields() if path not in taken}
        if rule is rules[0]:
            said["metadata", "annotations", RULES] = ", ".join(each.layer for each in rules)
        taken |= said.keys()
        if said:
            pod: dict[str, Any] = {}
            for path, value in said.items():
                _put(pod, path, value)
            layers.append(Layer(name=rule.layer, source="kubernetes.rules", pod=pod, rule=True, binding=rule.binding))
    return layers


def _any_matches(globs: Sequence[str], values: Sequence[str]) -> bool:
    return any(fnmatchcase(value, glob) for glob in globs for value in values)


def _put(pod: dict[str, Any], path: _Path, value: str) -> None:
    *owners, name = path
    for owner in owners:
        pod = pod.setdefault(owner, {})
    pod[name] = value
