"""Pods of tasks that were met before: only what differs between attempts is made anew.

Merging, stamping and checking take most of a launch's time, and for attempts of the same layers their result is the
same but for a few values. Those are identity's own (name, labels, annotations, the worker's last argument): where a
layer had a word in them too, the pod is built from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from execplane.contract.keys import NOT_MAPPED
from execplane.contract.workload import Workload
from execplane.pods.build import (
    BuildOptions,
    Built,
    attempt_url,
    build_pod,
    canonical_json,
    keep_to_policies,
    start_argument,
)
from execplane.pods.fields import BASE
from execplane.pods.hook import Mutate
from execplane.pods.identity import identity_annotations, identity_labels, pod_name
from execplane.pods.merge import Layer
from execplane.pods.stamp import IDENTITY
from execplane.pods.tree import below

_MOST_KNOWN = 512
_MOST_BYTES = 1 << 16
"""Of one that is remembered, as JSON: in memory it is a few times larger. What is larger is built anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    built: Built
    base_at: int


class PodBuilder:
    """`build_pod` with a memory; the same result. For one thread."""

    def __init__(self, options: BuildOptions) -> None:
        self._options = options
        self._known: dict[tuple[bytes, bool], _Known] = {}

    def build(self, workload: Workload, layers: Sequence[Layer], mutate: Mutate | None = None) -> Built:
        """The attempt's pod. Raises InvalidInput as `build_pod` does."""
        if mutate is not None or workload.avoid_nodes or workload.oom_kills:
            # A hook may look at anything, and each task learns from its own attempts: nothing is known of another.
            return build_pod(workload, layers, self._options, mutate)
        mapped = workload.key.task.map_index != NOT_MAPPED
        key = canonical_json([(layer.name, layer.pod, layer.overruled) for layer in layers]), mapped
        known = self._known.get(key)
        if known is not None:
            again = _again(known, workload, self._options)
            # Policies look at labels, and identity's differ between attempts.
            keep_to_policies(again, self._options)
            return again
        built = build_pod(workload, layers, self._options)
        small = max(len(key[0]), len(built.body)) <= _MOST_BYTES
        if small and _identity_is_all_ours(built, workload, self._options):
            self._remember(key, built)
        return built

    def _remember(self, key: tuple[bytes, bool], built: Built) -> None:
        while len(self._known) >= _MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[key] = _Known(built=built, base_at=_base_at(built.pod))


def _base_at(pod: dict[str, Any]) -> int:
    return next(index for index, each in enumerate(pod["spec"]["containers"]) if each["name"] == BASE)


def _identity_is_all_ours(built: Built, workload: Workload, options: BuildOptions) -> bool:
    """Whether identity alone set each value that another attempt has different."""
    annotations = identity_annotations(workload, attempt_url(workload, options))
    entries = {
        *(below("metadata.labels", name) for name in identity_labels(workload, options.version, options.cluster)),
        *(below("metadata.annotations", name) for name in annotations),
    }
    start = f"spec.containers[{_base_at(built.pod)}].args[{len(options.worker_args)}]"
    # A layer's label that happened to be right for this attempt may be wrong (and reported) for the next.
    reported = any(each.path in entries for each in built.overruled)
    return not reported and all(built.provenance.get(path) == IDENTITY for path in {"metadata.name", start, *entries})


def _again(known: _Known, workload: Workload, options: BuildOptions) -> Built:
    pod = known.built.pod
    name = pod_name(workload.key, workload.deployment_id)
    metadata = {
        **pod["metadata"],
        "name": name,
        "labels": {**pod["metadata"]["labels"], **identity_labels(workload, options.version, options.cluster)},
        "annotations": {
            **pod["metadata"]["annotations"],
            **identity_annotations(workload, attempt_url(workload, options)),
        },
    }
    containers = list(pod["spec"]["containers"])
    containers[known.base_at] = {
        **containers[known.base_at],
        "args": [*options.worker_args, start_argument(workload)],
    }
    made = {**pod, "metadata": metadata, "spec": {**pod["spec"], "containers": containers}}
    return replace(known.built, pod=made, body=canonical_json(made), name=name)
