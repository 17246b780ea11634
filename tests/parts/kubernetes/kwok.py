"""Nodes that do not exist, for tests of scale and for machines that cannot run containers.

KWOK plays their kubelet: it brings a pod bound to such a node to Running and on to its end by the Stage objects
below. A pod says by annotations what becomes of it:

- `execplane.test/run-for: 500ms`: how long it runs (default 1 s; `forever`: until it is deleted)
- `execplane.test/end: Error` or `OOMKilled`: it fails with that reason (default: it succeeds)
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts.supervisor import Supervisor

NODE_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
RUN_ANNOTATION = "execplane.test/run-for"
END_ANNOTATION = "execplane.test/end"
FOREVER = "forever"
# Pods land here only when they ask for it, and the real node's pods never do.
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
TOLERATION = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}
NODE_SELECTOR = {"type": "kwok"}

NODE_READY = """
conditions:
{{ range NodeConditions }}
- lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
  message: {{ .message | Quote }}
  reason: {{ .reason | Quote }}
  status: {{ .status | Quote }}
  type: {{ .type | Quote }}
{{ end }}
phase: Running
"""

POD_RUNNING = """
{{ $now := Now }}
conditions:
{{ range $type := list "Initialized" "ContainersReady" "Ready" }}
- lastTransitionTime: {{ $now | Quote }}
  status: "True"
  type: {{ $type }}
{{ end }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- image: {{ .image | Quote }}
  imageID: ""
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  state:
    terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}
{{ end }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  imageID: ""
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  started: true
  state:
    running: {startedAt: {{ $now | Quote }}}
{{ end }}
{{ with PodIPWith .spec.nodeName false (or .metadata.uid "") (or .metadata.name "") (or .metadata.namespace "") }}
podIP: {{ . | Quote }}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
startTime: {{ $now | Quote }}
phase: Running
"""

POD_ENDED = """
{{ $now := Now }}
{{ $root := . }}
conditions:
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range $index, $item := .spec.containers }}
{{ $started := index $root.status.containerStatuses $index }}
- image: {{ $item.image | Quote }}
  imageID: ""
  name: {{ $item.name | Quote }}
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: EXIT_CODE
      reason: REASON
      startedAt: {{ $started.state.running.startedAt | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
phase: PHASE
"""


@dataclass(frozen=True, kw_only=True)
class Kwok:
    """The KWOK controller and its nodes."""

    supervisor: Supervisor
    program: Path
    kubeconfig: Path

    def start(self) -> None:
        """Start the controller; it takes care only of nodes that `node` describes."""
        stages = self.supervisor.folder / "stages.json"
        stages.write_text("\n---\n".join(json.dumps(stage) for stage in all_stages()))
        annotation, value = next(iter(NODE_ANNOTATION.items()))
        flags = [
            f"--kubeconfig={self.kubeconfig}",
            f"--config={stages}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={annotation}={value}",
            "--node-lease-duration-seconds=40",
            "--cidr=10.244.0.0/16",
            "--node-ip=10.244.0.1",
            # No kubelet port: two runs on one machine would want the same.
            "--node-port=0",
        ]
        self.supervisor.start("kwok", [self.program, *flags], stop_signal=signal.SIGKILL)


def node(number: int) -> dict[str, Any]:
    """The Node object of a fake node that takes any number of pods."""
    room = {"cpu": "10000", "memory": "100Ti", "pods": "100000", "ephemeral-storage": "100Ti"}
    name = f"kwok-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": NODE_ANNOTATION,
            "labels": {**NODE_SELECTOR, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": room, "capacity": room},
    }


def all_stages() -> list[dict[str, Any]]:
    """What the controller does with nodes and pods, in KWOK's own objects."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    alive = _match(".metadata.deletionTimestamp", "DoesNotExist")
    running = [alive, _match(".status.phase", "In", "Running")]
    lasting = _match(f'.metadata.annotations["{RUN_ANNOTATION}"]', "NotIn", FOREVER)
    end = f'.metadata.annotations["{END_ANNOTATION}"]'
    wait = {
        "durationMilliseconds": 1000,
        "durationFrom": {"expressionFrom": f'.metadata.annotations["{RUN_ANNOTATION}"]'},
    }
    stages = [
        _stage("node-initialize", "Node", [_match(ready, "NotIn", "True")], _status(NODE_READY)),
        _stage(
            "node-heartbeat",
            "Node",
            [_match(ready, "In", "True")],
            _status(NODE_READY),
            delay={"durationMilliseconds": 20000, "jitterDurationMilliseconds": 25000},
        ),
        _stage("pod-ready", "Pod", [alive, _match(".status.phase", "In", "Pending")], _status(POD_RUNNING)),
        _stage(
            "pod-complete",
            "Pod",
            [*running, lasting, _match(end, "DoesNotExist")],
            _status(_ended("Succeeded", 0, "Completed")),
            delay=wait,
        ),
        _stage("pod-delete", "Pod", [_match(".metadata.deletionTimestamp", "Exists")], {"delete": True}),
    ]
    for reason, code in (("Error", 1), ("OOMKilled", 137)):
        status = _status(_ended("Failed", code, reason))
        selector = [*running, lasting, _match(end, "In", reason)]
        stages.append(_stage(f"pod-{reason.lower()}", "Pod", selector, status, delay=wait))
    return stages


def _ended(phase: str, exit_code: int, reason: str) -> str:
    return POD_ENDED.replace("EXIT_CODE", str(exit_code)).replace("REASON", reason).replace("PHASE", phase)


def _match(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def _status(template: str) -> dict[str, Any]:
    return {"statusTemplate": template}


def _stage(
    name: str,
    kind: str,
    selector: list[dict[str, Any]],
    following: dict[str, Any],
    delay: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": selector},
            **({"delay": delay} if delay else {}),
            "next": following,
        },
    }
