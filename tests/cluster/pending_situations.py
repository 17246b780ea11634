"""Pods that wait, each for a reason of its own, all in one namespace of a real cluster: the table of "why pending".

A row says how the situation is made and what must be answered. What a row needs beside its pod (claims, nodes, a quota
of ports) stands with it; everything is made at once, because most reasons take the cluster seconds to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from execplane.contract.pending import Code
from tests.parts.kubernetes.cluster import Cluster

SLEEP = ["sh", "-c", "trap 'exit 143' TERM; sleep 600 & wait"]
STUBBORN = ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]
FAKE = "why-pending.test/node"
"""The label that names a node which is only an object: no kubelet is behind it."""
ROOM = "why-pending.test/room"
"""A resource of which the real node has one: who wants it disturbs no other row."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Situation:
    """`objects`: made before the pod. `before`, `then`: done before and once the pod is there, given "namespace/name".
    `after`: the row whose pod must run first."""

    name: str
    code: Code
    words: tuple[str, ...]
    pod: Object
    objects: tuple[Object, ...] = ()
    before: Callable[[Cluster, str], None] | None = None
    then: Callable[[Cluster, str], None] | None = None
    after: str = ""
    besides: Code | None = None
    """A reason that must stand below the first."""
    blind: tuple[str, ...] = field(default=())
    """Words of the sentence for an account that may read pods and nothing else; empty: not asked as that one."""
    blind_code: Code | None = None


def pod(
    name: str,
    *,
    container: Object | None = None,
    cpu: str = "5m",
    labels: Object | None = None,
    beside: list[Object] | None = None,
    **spec: Any,
) -> Object:
    base = {
        "name": "base",
        "image": Cluster.base_image,
        "imagePullPolicy": "IfNotPresent",
        "command": SLEEP,
        "resources": {"requests": {"cpu": cpu, "memory": "4Mi"}},
        **(container or {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"row": name, **(labels or {})}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [base, *(beside or [])],
            **spec,
        },
    }


def node(name: str, *, taints: list[Object] | None = None, pods: str = "10", **spec: Any) -> Object:
    """A node that exists as an object, and that only pods with `on` may use."""
    taints = [{"key": FAKE, "effect": "NoSchedule"}, *(taints or [])]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {FAKE: name}, "annotations": {"allocatable-pods": pods}},
        "spec": {"taints": taints, **spec},
    }


def on(name: str) -> Object:
    """The parts of a spec that want this very node, ready or not."""
    absent = [FAKE, *(f"node.kubernetes.io/{word}" for word in ("not-ready", "unreachable", "network-unavailable"))]
    return {
        "nodeSelector": {FAKE: name},
        "tolerations": [{"key": key, "operator": "Exists"} for key in absent],
    }


def claim(name: str, storage_class: str | None = "", *, mode: str = "ReadWriteOnce", volume: str = "") -> Object:
    spec: Object = {"accessModes": [mode], "resources": {"requests": {"storage": "1Mi"}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    if volume:
        spec["volumeName"] = volume
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def volume(name: str, namespace: str, of: str, *, mode: str = "ReadWriteOnce", host: str = "") -> Object:
    spec: Object = {
        "capacity": {"storage": "1Mi"},
        "accessModes": [mode],
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/tmp"},
        "claimRef": {"namespace": namespace, "name": of},
    }
    if host:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def uses(claim_name: str, **more: Any) -> Object:
    source = {"persistentVolumeClaim": {"claimName": claim_name}}
    return {"volumes": [{"name": "data", **source}], **more}


def mounted(source: Object) -> Object:
    """A volume of this source, mounted; goes into `pod` as `**mounted(…)`."""
    return {
        "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        "volumes": [{"name": "data", **source}],
    }


def event_of(reason: str, message: str) -> Callable[[Cluster, str], None]:
    """What an autoscaler would write about the pod."""

    def write(cluster: Cluster, name: str) -> None:
        namespace, pod_name = name.split("/")
        uid = cluster.get("pod", pod_name, f"--namespace={namespace}")["metadata"]["uid"]
        cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": "why-", "name": f"{pod_name}.scaler", "namespace": namespace},
                "involvedObject": {"kind": "Pod", "name": pod_name, "namespace": namespace, "uid": uid},
                "reason": reason,
                "message": message,
                "type": "Normal",
                "source": {"component": "cluster-autoscaler"},
                "firstTimestamp": "2026-03-01T12:00:00Z",
                "lastTimestamp": "2026-03-01T12:00:00Z",
                "count": 1,
            }
        )

    return write


def delete(kind: str, name: str = "") -> Callable[[Cluster, str], None]:
    def gone(cluster: Cluster, place: str) -> None:
        namespace, pod_name = place.split("/")
        cluster.kubectl("delete", kind, name or pod_name, f"--namespace={namespace}", "--wait=false")

    return gone


def situations(namespace: str, silent_registry: str, node_cpu: str) -> list[Situation]:
    """`silent_registry`: an address that takes connections and never answers. `node_cpu`: the real node's, in all."""
    mine = f"pv-{namespace}"
    anti = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"only": "one"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    near = {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"row": "nobody"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    ssd = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [ssd]}}}
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "no-such-key",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"row": "spread"}},
        }
    ]
    port = {"ports": [{"containerPort": 80, "hostPort": 28471}]}
    gpu_node, cordoned, crowded, unready = (f"{namespace}-{word}" for word in ("gpu", "cordoned", "crowded", "unready"))
    dedicated = [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]
    late = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": f"late-{namespace}"},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    room = {"resources": {"limits": {ROOM: "1"}}}
    scheduler_says = "No node fits: "
    return [
        Situation(
            "selector", Code.NODE_SELECTOR, (scheduler_says, "node affinity/selector"),
            pod("selector", nodeSelector={"no-such-label": "anywhere"}),
        ),
        Situation(
            "affinity", Code.NODE_SELECTOR, (scheduler_says, "node affinity/selector"),
            pod("affinity", affinity=affinity),
        ),
        Situation(
            "too-large", Code.LARGER_THAN_ANY_NODE, ("asks for 1000 cpu", "no node it may use is that large"),
            pod("too-large", cpu="1000"),
            blind=("too little free cpu", "Nodes could not be read", "403", "list on nodes"),
            blind_code=Code.INSUFFICIENT_RESOURCES,
        ),
        Situation(
            "gpu", Code.LARGER_THAN_ANY_NODE, ("1 example.com/gpu", "none has any"),
            pod("gpu", container={"resources": {"limits": {"example.com/gpu": "1"}}}),
            blind=("too little free example.com/gpu",), blind_code=Code.INSUFFICIENT_RESOURCES,
        ),
        Situation(
            "no-cpu-left", Code.INSUFFICIENT_RESOURCES, (scheduler_says, "too little free cpu"),
            pod("no-cpu-left", cpu=node_cpu),
            after="port-holder",
        ),
        Situation(
            "tainted", Code.UNTOLERATED_TAINTS, ("the taint dedicated=gpu:NoSchedule", "does not tolerate"),
            pod("tainted", **on(gpu_node)), (node(gpu_node, taints=dedicated),),
            blind=("Nodes could not be read", "list on nodes"), blind_code=Code.NODE_SELECTOR,
        ),
        Situation(
            "cordoned", Code.NODES_CORDONED, ("1 of", "cordoned"),
            pod("cordoned", **on(cordoned)), (node(cordoned, unschedulable=True),),
        ),
        Situation(
            "crowded", Code.TOO_MANY_PODS, ("no room for another pod",),
            pod("crowded", **on(crowded)), (node(crowded, pods="0"),),
        ),
        Situation("port-holder", Code.WORKER_STARTING, ("runs on node",), pod("port-holder", container=port)),
        Situation(
            "port", Code.HOST_PORTS, ("hostPorts taken",), pod("port", container=port), after="port-holder",
        ),
        Situation("near-nobody", Code.POD_AFFINITY, ("podAffinity",), pod("near-nobody", affinity=near)),
        Situation(
            "only-one", Code.WORKER_STARTING, ("its worker has not reported yet",),
            pod("only-one", labels={"only": "one"}, affinity=anti),
        ),
        Situation(
            "second-one", Code.POD_ANTI_AFFINITY, ("podAntiAffinity",),
            pod("second-one", labels={"only": "one"}, affinity=anti), after="only-one",
        ),
        Situation(
            "avoided", Code.POD_ANTI_AFFINITY, ("whose anti-affinity avoids this one",),
            pod("avoided", labels={"only": "one"}), after="only-one",
        ),
        Situation(
            "spread", Code.TOPOLOGY_SPREAD, ("topologySpreadConstraints", "missing required label"),
            pod("spread", topologySpreadConstraints=spread),
        ),
        Situation(
            "claim-missing", Code.PVC_MISSING, ("PersistentVolumeClaim absent does not exist",),
            pod("claim-missing", **uses("absent")),
        ),
        Situation(
            "claim-unbound", Code.PVC_UNBOUND, ("PersistentVolumeClaim unbound is Pending", "no persistent volumes"),
            pod("claim-unbound", **uses("unbound")), (claim("unbound"),),
            blind=("is not bound", "it uses unbound", "PersistentVolumeClaims could not be read",
                   "get on persistentvolumeclaims"),
            blind_code=Code.PVC_UNBOUND,
        ),
        Situation(
            "claim-class", Code.PVC_UNBOUND, ("PersistentVolumeClaim nowhere is Pending", "no-such-class"),
            pod("claim-class", **uses("nowhere")), (claim("nowhere", "no-such-class"),),
        ),
        Situation(
            "claim-late", Code.VOLUME_BINDING, ("no PersistentVolume that fits",),
            pod("claim-late", **uses("late")), (late, claim("late", f"late-{namespace}")),
        ),
        Situation(
            "claim-far", Code.VOLUME_NODE, ("cannot reach the pod's volume",),
            pod("claim-far", **uses("far")),
            (volume(f"{mine}-far", namespace, "far", host="elsewhere"), claim("far", volume=f"{mine}-far")),
        ),
        Situation(
            "claim-holder", Code.WORKER_STARTING, ("runs on node",), pod("claim-holder", **uses("alone")),
            (
                volume(f"{mine}-alone", namespace, "alone", mode="ReadWriteOncePod"),
                claim("alone", mode="ReadWriteOncePod", volume=f"{mine}-alone"),
            ),
        ),
        Situation(
            "claim-in-use", Code.VOLUME_IN_USE, ("in use by another pod",), pod("claim-in-use", **uses("alone")),
            after="claim-holder",
        ),
        Situation(
            "claim-leaving", Code.PVC_DELETING, ("leaving is being deleted",), pod("claim-leaving", **uses("leaving")),
            (
                {**claim("leaving", volume=f"{mine}-leaving"),
                 "metadata": {"name": "leaving", "finalizers": ["why-pending.test/stays"]}},
                volume(f"{mine}-leaving", namespace, "leaving"),
            ),
            before=delete("pvc", "leaving"),
        ),
        Situation(
            "gated", Code.SCHEDULING_GATED, ("scheduling gates are removed: example.com/budget",),
            pod("gated", schedulingGates=[{"name": "example.com/budget"}]),
        ),
        Situation(
            "nobodys", Code.SCHEDULER_SILENT, ("The scheduler nobody has not looked at the pod",),
            pod("nobodys", schedulerName="nobody"),
        ),
        Situation(
            "scaling-up", Code.AUTOSCALER_ADDS_NODES, ("adding nodes", "1->2"),
            pod("scaling-up", nodeSelector={"no-such-label": "x"}),
            then=event_of("TriggeredScaleUp", "pod triggered scale-up: [{group-a 1->2 (max: 5)}]"),
            besides=Code.NODE_SELECTOR,
            blind=("node affinity/selector",), blind_code=Code.NODE_SELECTOR,
        ),
        Situation(
            "not-scaling-up", Code.NODE_SELECTOR, (scheduler_says,),
            pod("not-scaling-up", nodeSelector={"no-such-label": "x"}),
            then=event_of("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"),
            besides=Code.AUTOSCALER_CANNOT_HELP,
        ),
        Situation(
            "image-absent", Code.IMAGE_MISSING, ("localhost/none:1", "may not be pulled"),
            pod("image-absent", container={"image": "localhost/none:1", "imagePullPolicy": "Never"}),
        ),
        Situation(
            "image-misnamed", Code.IMAGE_INVALID, ("Not/A/Name", "cannot be used"),
            pod("image-misnamed", container={"image": "Not/A/Name:::1"}),
        ),
        Situation(
            "image-unreachable", Code.IMAGE_PULL, ("127.0.0.1:9/app:1", "cannot be pulled"),
            pod("image-unreachable", container={"image": "127.0.0.1:9/app:1"}),
        ),
        Situation(
            "image-coming", Code.IMAGE_PULLING, (f"pulling image {silent_registry}/app:1",),
            pod("image-coming", container={"image": f"{silent_registry}/app:1"}),
        ),
        Situation(
            "secret-env", Code.CONFIG, ('secret "absent" not found',),
            pod("secret-env", container={"envFrom": [{"secretRef": {"name": "absent"}}]}),
        ),
        Situation(
            "key-env", Code.CONFIG, ("couldn't find key colour",),
            pod("key-env", container={"env": [
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "colour"}}}
            ]}),
        ),
        Situation(
            "secret-volume", Code.CONFIG, ("Secret absent, which does not exist",),
            pod("secret-volume", **mounted({"secret": {"secretName": "absent"}})),
            blind=("is preparing the pod", "Events could not be read"), blind_code=Code.NODE_PREPARING,
        ),
        Situation(
            "configmap-volume", Code.CONFIG, ("ConfigMap absent, which does not exist",),
            pod("configmap-volume", **mounted({"configMap": {"name": "absent"}})),
        ),
        Situation(
            "path-volume", Code.VOLUME_MOUNT, ("cannot be mounted", "/no/such/folder"),
            pod("path-volume", **mounted({"hostPath": {"path": "/no/such/folder", "type": "Directory"}})),
        ),
        Situation(
            "root-refused", Code.CONTAINER_ERROR, ("cannot be started as it is written", "runAsNonRoot"),
            pod("root-refused", container={"securityContext": {"runAsNonRoot": True}}),
        ),
        Situation(
            "init", Code.INIT_CONTAINER_RUNNING, ("Init container prepare is running on node",),
            pod("init", initContainers=[{"name": "prepare", "image": Cluster.base_image, "command": SLEEP}]),
        ),
        Situation(
            "unready-node", Code.NODE_NOT_READY, ("is not ready",),
            pod("unready-node", nodeName=unready, **on(unready)), (node(unready),),
        ),
        Situation(
            "deleting", Code.POD_DELETING, ("is being deleted",),
            {**(held := pod("deleting", nodeSelector={"no-such-label": "x"})),
             "metadata": {**held["metadata"], "finalizers": ["why-pending.test/stays"]}},
            then=delete("pod"),
        ),
        Situation(
            "gone", Code.POD_GONE, ("does not exist",), pod("gone", nodeSelector={"no-such-label": "x"}),
            then=delete("pod"),
        ),
        Situation(
            "low", Code.POD_DELETING, ("is being deleted",),
            pod("low", container={"command": STUBBORN, **room}, priorityClassName=f"low-{namespace}",
                terminationGracePeriodSeconds=300),
            (
                {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                 "metadata": {"name": f"low-{namespace}"}, "value": -1000},
            ),
        ),
        Situation(
            "making-room", Code.PREEMPTING, ("Pods of lower priority are being evicted",),
            pod("making-room", container=room), after="low",
        ),
    ]  # fmt: skip
