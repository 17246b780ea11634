"""Pods that end, wait or are refused in one way each, and when to look at them: what `record_statuses` records.

Each is a real situation for the real scheduler, kubelet and controllers; nothing here writes a status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.parts.kubernetes import kwok
from tests.parts.kubernetes.cluster import Cluster

REGISTRY = "127.0.0.1:5555"
"""Where the recorder's registry listens, as the node sees it; containerd speaks http to its own machine only."""
SLEEP = ("sleep", "600")
SEGFAULT = ("python3", "-c", "import ctypes; ctypes.string_at(0)")
ALLOCATE = ("python3", "-c", "bytearray(200 << 20)")
WRITE = ("sh", "-c", "head -c 20000000 /dev/zero > /data/file; sleep 600")

Pod = dict[str, Any]
Done = Callable[[str, Pod], bool]
"""Whether (the watch event's type, the pod) is what is to be recorded."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One pod and the moment that tells."""

    pod: Pod
    done: Done
    then: Callable[[Cluster, str], None] | None = None
    """Done to the pod once it runs."""
    others: tuple[Pod, ...] = ()
    """Created once the pod runs."""
    seconds: float = 90


def pod(
    *command: str,
    container: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    more: tuple[dict[str, Any], ...] = (),
    **spec: Any,
) -> Pod:
    base: dict[str, Any] = {"name": "base", "image": Cluster.base_image, "imagePullPolicy": "IfNotPresent"}
    base |= {"command": list(command)} if command else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"annotations": annotations or {}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [{**base, **(container or {})}, *more],
            **spec,
        },
    }


def beside(name: str, *command: str, **fields: Any) -> dict[str, Any]:
    """A container beside `base`, or an init container."""
    return {"name": name, "image": Cluster.base_image, "command": list(command), **fields}


def memory(limit: str) -> dict[str, Any]:
    return {"resources": {"limits": {"memory": limit}}}


def ended(kind: str, found: Pod) -> bool:
    return found["status"].get("phase") in ("Succeeded", "Failed")


def deleted(kind: str, found: Pod) -> bool:
    return kind == "DELETED"


def base_ended(kind: str, found: Pod) -> bool:
    return any(
        each["name"] == "base" and "terminated" in each["state"]
        for each in found["status"].get("containerStatuses", [])
    )


def waits(*reasons: str) -> Done:
    """A container waits for one of these reasons."""

    def done(kind: str, found: Pod) -> bool:
        status = found["status"]
        containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        return any(each["state"].get("waiting", {}).get("reason") in reasons for each in containers)

    return done


def scheduling(reason: str) -> Done:
    def done(kind: str, found: Pod) -> bool:
        conditions = found["status"].get("conditions", [])
        return any(each["type"] == "PodScheduled" and each.get("reason") == reason for each in conditions)

    return done


def on_fake_node(number: int, **spec: Any) -> Pod:
    """Runs for ever on a node of its own that does not exist."""
    annotations = {kwok.RUN_ANNOTATION: kwok.FOREVER}
    selector = {"kubernetes.io/hostname": f"kwok-{number}"}
    tolerations = [{**kwok.TOLERATION, "effect": "NoSchedule"}]
    return pod(*SLEEP, annotations=annotations, nodeSelector=selector, tolerations=tolerations, **spec)


def evict(cluster: Cluster, name: str) -> None:
    """As `kubectl drain` does it."""
    namespace, _, pod_name = name.partition("/")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod_name, "namespace": namespace},
    }
    cluster.post(f"/api/v1/namespaces/{namespace}/pods/{pod_name}/eviction", eviction)


def delete(*options: str) -> Callable[[Cluster, str], None]:
    def now(cluster: Cluster, name: str) -> None:
        namespace, _, pod_name = name.partition("/")
        cluster.kubectl("delete", "pod", pod_name, f"--namespace={namespace}", "--wait=false", *options)

    return now


def kill(cluster: Cluster, name: str) -> None:
    """SIGKILL from the node, as an administrator there may send it."""
    namespace, _, pod_name = name.partition("/")
    found = cluster.get("pod", pod_name, f"--namespace={namespace}")
    container = found["status"]["containerStatuses"][0]["containerID"].rpartition("//")[2]
    cluster.kill_container(container)


def kubectl(*arguments: str) -> Callable[[Cluster, str], None]:
    """To the cluster, not to the pod."""

    def now(cluster: Cluster, name: str) -> None:
        cluster.kubectl(*arguments)

    return now


DATA = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
SCRATCH = [{"name": "data", "emptyDir": {}}]

ENDS: dict[str, Situation] = {
    "exit_0": Situation(pod=pod("true"), done=ended),
    "exit_3": Situation(pod=pod("sh", "-c", "exit 3"), done=ended),
    "segmentation_fault": Situation(pod=pod(*SEGFAULT), done=ended),
    "killed_on_the_node": Situation(pod=pod(*SLEEP), done=ended, then=kill),
    "oom_killed": Situation(pod=pod(*ALLOCATE, container=memory("32Mi")), done=ended),
    "oom_killed_init": Situation(
        pod=pod("true", initContainers=[beside("unpack", *ALLOCATE, **memory("32Mi"))]), done=ended
    ),
    "no_such_program": Situation(pod=pod("no-such-program"), done=ended),
    "init_failed": Situation(
        pod=pod(
            "true",
            initContainers=[
                beside(
                    "git-sync",
                    "sh",
                    "-c",
                    "echo no such repository >&2; exit 4",
                    terminationMessagePolicy="FallbackToLogsOnError",
                )
            ],
        ),
        done=ended,
    ),
    "deadline": Situation(pod=pod(*SLEEP, activeDeadlineSeconds=3), done=ended),
    "sidecar_never_ends": Situation(pod=pod("true", more=(beside("proxy", *SLEEP),)), done=base_ended),
    "drained": Situation(pod=pod("sh", "-c", "trap 'exit 143' TERM; sleep 600 & wait"), done=deleted, then=evict),
    "deleted": Situation(pod=pod("sh", "-c", "trap 'exit 143' TERM; sleep 600 & wait"), done=deleted, then=delete()),
    "deleted_by_force": Situation(pod=pod(*SLEEP), done=deleted, then=delete("--force", "--grace-period=0")),
    "deleted_while_pending": Situation(
        pod=pod("true", nodeSelector={"no-such-label": "anywhere"}), done=deleted, then=delete()
    ),
    "preempted": Situation(
        pod=pod(*SLEEP, container={"resources": {"requests": {"cpu": "1200m"}}}, priorityClassName="low"),
        done=deleted,
        others=(pod("true", container={"resources": {"requests": {"cpu": "1200m"}}}, priorityClassName="high"),),
    ),
    "evicted_above_its_disk_limit": Situation(
        pod=pod(*WRITE, container={**DATA, "resources": {"limits": {"ephemeral-storage": "1Mi"}}}, volumes=SCRATCH),
        done=ended,
    ),
    "evicted_above_a_volumes_limit": Situation(
        pod=pod(*WRITE, container=DATA, volumes=[{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]), done=ended
    ),
    "node_has_too_little": Situation(
        pod=pod("true", container={"resources": {"requests": {"cpu": "900"}}}, nodeName="node-1"), done=ended
    ),
    "node_does_not_match": Situation(
        pod=pod("true", nodeName="node-1", nodeSelector={"disk": "none-such"}), done=ended
    ),
    "node_deleted": Situation(
        pod=on_fake_node(0), done=deleted, then=kubectl("delete", "node", "kwok-0", "--wait=false"), seconds=180
    ),
    "node_tainted": Situation(
        pod=on_fake_node(1), done=deleted, then=kubectl("taint", "node", "kwok-1", "broken=yes:NoExecute")
    ),
}

UNDER_PRESSURE: dict[str, Situation] = {
    "evicted_above_its_request": Situation(
        pod=pod(
            "python3",
            "-c",
            "import time; kept = b'x' * (60 << 20); time.sleep(600)",
            container={"resources": {"requests": {"memory": "10Mi"}}},
        ),
        done=ended,
        seconds=180,
    ),
    "evicted_below_its_request": Situation(
        pod=pod(*SLEEP, container={"resources": {"requests": {"memory": "100Mi"}}}), done=ended, seconds=180
    ),
}
"""Recorded last: the kubelet is told that the node is short of memory."""

WAITS: dict[str, Situation] = {
    "image_missing": Situation(
        pod=pod("true", container={"image": f"{REGISTRY}/missing/app:1"}), done=waits("ErrImagePull")
    ),
    "image_missing_back_off": Situation(
        pod=pod("true", container={"image": f"{REGISTRY}/missing/app:1"}), done=waits("ImagePullBackOff")
    ),
    "image_unauthorised": Situation(
        pod=pod("true", container={"image": f"{REGISTRY}/private/app:1"}), done=waits("ErrImagePull")
    ),
    "image_rate_limited": Situation(
        pod=pod("true", container={"image": f"{REGISTRY}/limited/app:1"}), done=waits("ErrImagePull")
    ),
    "image_registry_unreachable": Situation(
        pod=pod("true", container={"image": "registry.invalid/app:1"}), done=waits("ErrImagePull")
    ),
    "image_never_pulled": Situation(
        pod=pod("true", container={"image": "not/here:1", "imagePullPolicy": "Never"}),
        done=waits("ErrImageNeverPull"),
    ),
    "image_name_invalid": Situation(
        pod=pod("true", container={"image": "Not/A:Name:1"}), done=waits("InvalidImageName")
    ),
    "secret_missing": Situation(
        pod=pod("true", container={"envFrom": [{"secretRef": {"name": "no-such-secret"}}]}),
        done=waits("CreateContainerConfigError"),
    ),
    "config_map_key_missing": Situation(
        pod=pod(
            "true",
            container={
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no-such-key"}}}]
            },
        ),
        done=waits("CreateContainerConfigError"),
    ),
    "root_is_not_allowed": Situation(
        pod=pod("true", container={"securityContext": {"runAsNonRoot": True}}),
        done=waits("CreateContainerConfigError"),
    ),
    "secret_volume_missing": Situation(
        pod=pod("true", container=DATA, volumes=[{"name": "data", "secret": {"secretName": "no-such-secret"}}]),
        done=waits("ContainerCreating"),
    ),
    "no_node_matches": Situation(
        pod=pod("true", nodeSelector={"no-such-label": "anywhere"}), done=scheduling("Unschedulable")
    ),
    "larger_than_any_node": Situation(
        pod=pod("true", container={"resources": {"requests": {"memory": "900Ti"}}}), done=scheduling("Unschedulable")
    ),
    "claim_missing": Situation(
        pod=pod(
            "true",
            container=DATA,
            volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "no-such-claim"}}],
        ),
        done=scheduling("Unschedulable"),
    ),
    "gated": Situation(
        pod=pod("true", schedulingGates=[{"name": "example.com/wait"}]), done=scheduling("SchedulingGated")
    ),
}

REFUSED: dict[str, tuple[str, Pod]] = {
    "quota_used_up": ("full", pod("true")),
    "webhook_denied": ("watched", pod("true", container={"image": "forbidden:1"})),
    "webhook_unreachable": ("unwatched", pod("true")),
    "pod_security_violated": ("restricted", pod("true")),
    "limit_range_exceeded": ("limited", pod("true", container=memory("1Gi"))),
    "namespace_missing": ("no-such-namespace", pod("true")),
    "service_account_missing": ("ordinary", pod("true", serviceAccountName="no-such-account")),
    "priority_class_missing": ("ordinary", pod("true", priorityClassName="no-such-class")),
    "field_invalid": ("ordinary", pod("true", container={"image": ""})),
}
"""Namespace, and the pod that the API server does not take there."""
