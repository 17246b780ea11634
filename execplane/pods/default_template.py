"""The pod template that is used when none is configured: accepted by Pod Security "restricted".

`examples/pod_templates/default.yaml` is the same with comments, to start one's own from.
"""

from __future__ import annotations

from typing import Any

from execplane.pods.merge import Layer

DEFAULT_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 50000,
            "runAsGroup": 50000,
            "fsGroup": 50000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "base",
                "imagePullPolicy": "IfNotPresent",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            }
        ],
    },
}


def default_template() -> Layer:
    """The built-in template, as the first layer."""
    return Layer(name="template", source="built in", pod=DEFAULT_POD)
