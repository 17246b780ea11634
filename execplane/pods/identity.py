"""What makes a pod ours: its name, labels and annotations, and how they are read back.

The name is a function of the attempt, so that a second create of the same attempt meets the first one's pod (409)
instead of making another. Annotations hold the raw values and are the only source of truth; labels are shortened
copies to select by.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from execplane.contract.keys import NOT_MAPPED, AttemptKey, TaskKey
from execplane.contract.workload import Workload

PREFIX = "execplane.io/"
DEPLOYMENT = PREFIX + "deployment"
INCARNATION = PREFIX + "incarnation"
VERSION = PREFIX + "version"
CLUSTER = PREFIX + "cluster"
"""Of pods that the executor of a named cluster made; those of the executor `kubernetes` have none."""
ATTEMPT_NO = PREFIX + "attempt-no"
ATTEMPT_ID = PREFIX + "attempt-id"
ATTEMPT_URL = PREFIX + "attempt-url"

NAME_MAX = 63
LABEL_MAX = 63
_HASH_CHARS = 16


class PodIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose pod it is, as its annotations say."""

    attempt_id: int
    key: AttemptKey
    try_number: int
    deployment_id: str
    incarnation: int


def pod_name(key: AttemptKey, deployment_id: str) -> str:
    """The one name of this attempt's pod: readable in front, unique behind; a DNS-1123 label of at most 63."""
    task = key.task
    parts = [deployment_id, task.dag_id, task.run_id, task.task_id, task.map_index, key.attempt_no]
    digest = hashlib.sha256(msgspec.json.encode(parts)).digest()[: _HASH_CHARS * 5 // 8]
    suffix = base64.b32encode(digest).decode().lower()
    slug = _slug(task.dag_id, task.task_id, NAME_MAX - 1 - len(suffix))
    return f"{slug}-{suffix}" if slug else suffix


@lru_cache(maxsize=10_000)
def _slug(dag_id: str, task_id: str, room: int) -> str:
    """`dag-task`; when both are long, each keeps half of the room."""
    dag, task = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in (dag_id, task_id))
    if len(dag) + 1 + len(task) > room:
        half = room // 2
        dag_room = max(half, room - 1 - len(task))
        dag = dag[:dag_room].strip("-")
        task = task[: room - 1 - len(dag)].strip("-")
    return f"{dag}-{task}".strip("-")


@lru_cache(maxsize=10_000)
def safe_label(value: str) -> str:
    """Airflow's rule: illegal characters are dropped; when that changed it or it is too long, a hash is added."""
    safe = re.sub(r"^[^a-zA-Z0-9]*|[^a-zA-Z0-9_\-.]|[^a-zA-Z0-9]*$", "", value)
    if safe == value and len(safe) <= LABEL_MAX:
        return safe
    digest = hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()[:9]
    kept = safe[: LABEL_MAX - len(digest) - 1]
    return f"{kept}-{digest}" if kept else digest


def identity_labels(workload: Workload, version: str, cluster: str = "") -> dict[str, str]:
    """Labels to select pods by; Airflow's, and ours."""
    task = workload.key.task
    labels = {
        "dag_id": safe_label(task.dag_id),
        "task_id": safe_label(task.task_id),
        "run_id": safe_label(task.run_id),
        "try_number": str(workload.try_number),
        "kubernetes_executor": "True",
        VERSION: safe_label(version),
        DEPLOYMENT: safe_label(workload.deployment_id),
        INCARNATION: str(workload.incarnation),
    }
    if task.map_index != NOT_MAPPED:
        labels["map_index"] = str(task.map_index)
    if cluster:
        labels[CLUSTER] = safe_label(cluster)
    return labels


def identity_annotations(workload: Workload, attempt_url: str = "") -> dict[str, str]:
    """The raw values; `read_identity` is the reverse."""
    task = workload.key.task
    annotations = {
        "dag_id": task.dag_id,
        "task_id": task.task_id,
        "run_id": task.run_id,
        "try_number": str(workload.try_number),
        ATTEMPT_NO: str(workload.key.attempt_no),
        ATTEMPT_ID: str(workload.attempt_id),
        DEPLOYMENT: workload.deployment_id,
        INCARNATION: str(workload.incarnation),
    }
    if task.map_index != NOT_MAPPED:
        annotations["map_index"] = str(task.map_index)
    if attempt_url:
        annotations[ATTEMPT_URL] = attempt_url
    return annotations


def deployment_selector(deployment_id: str, cluster: str = "") -> str:
    """The label selector of all pods that one executor of this deployment makes: two may share a namespace."""
    whose = f"{CLUSTER}={safe_label(cluster)}" if cluster else f"!{CLUSTER}"
    return f"{DEPLOYMENT}={safe_label(deployment_id)},{whose}"


def read_identity(pod: Mapping[str, Any]) -> PodIdentity | None:
    """Whose pod it is; None when it is not one of execplane's (or somebody took its annotations away)."""
    return identity_of((pod.get("metadata") or {}).get("annotations") or {})


def identity_of(annotations: Mapping[str, str]) -> PodIdentity | None:
    """The same from the annotations alone."""
    try:
        return PodIdentity(
            attempt_id=int(annotations[ATTEMPT_ID]),
            key=AttemptKey(
                task=TaskKey(
                    dag_id=annotations["dag_id"],
                    run_id=annotations["run_id"],
                    task_id=annotations["task_id"],
                    map_index=int(annotations.get("map_index", NOT_MAPPED)),
                ),
                attempt_no=int(annotations[ATTEMPT_NO]),
            ),
            try_number=int(annotations["try_number"]),
            deployment_id=annotations[DEPLOYMENT],
            incarnation=int(annotations[INCARNATION]),
        )
    except (KeyError, ValueError):
        return None
