"""Which pod fields merge, and by what: Airflow's rules with Kubernetes' own strategic-merge keys.

Everything not named here is replaced whole by the layer that comes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

BASE = "base"
"""The container that runs the task."""


class Merge(Enum):
    OBJECT = "object"
    """Field by field."""
    UNION = "union"
    """A map of strings: the later layer's entries win."""
    CONCAT = "concat"
    """A list: the later layer's items are appended; those of the same key replace the earlier ones, whole."""
    ITEMS = "items"
    """A list of containers: those of the same name merge field by field, others are appended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    how: Merge
    keys: tuple[str, ...] = ()
    """The fields that name an item; none: an item equal to an earlier one is dropped."""
    defaults: tuple[str, ...] = ()
    """What an absent key field counts as."""
    fields: dict[str, Rule] | None = None
    keeps_when_empty: bool = False
    """An empty list does not reset it: V1PodSpec cannot be written without `containers`."""


_CONTAINER = {
    "env": Rule(how=Merge.CONCAT, keys=("name",)),
    "envFrom": Rule(how=Merge.CONCAT),
    "volumeMounts": Rule(how=Merge.CONCAT, keys=("mountPath",)),
    "volumeDevices": Rule(how=Merge.CONCAT, keys=("devicePath",)),
    "ports": Rule(how=Merge.CONCAT, keys=("containerPort", "protocol"), defaults=("", "TCP")),
}

POD = Rule(
    how=Merge.OBJECT,
    fields={
        "metadata": Rule(
            how=Merge.OBJECT,
            fields={
                "labels": Rule(how=Merge.UNION),
                "annotations": Rule(how=Merge.UNION),
                "finalizers": Rule(how=Merge.CONCAT),
                "ownerReferences": Rule(how=Merge.CONCAT, keys=("uid",)),
            },
        ),
        "spec": Rule(
            how=Merge.OBJECT,
            fields={
                "containers": Rule(how=Merge.ITEMS, keys=("name",), fields=_CONTAINER, keeps_when_empty=True),
                "initContainers": Rule(how=Merge.ITEMS, keys=("name",), fields=_CONTAINER),
                "volumes": Rule(how=Merge.CONCAT, keys=("name",)),
            },
        ),
    },
)
