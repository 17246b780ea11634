"""Refused creates: what each answer means, and whether the same bytes may succeed later.

The messages are the API server's, shortened; the cluster tests meet the common ones for real.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from execplane.executors.kubernetes_launch import explain_refusal
from execplane.kube.errors import KubeError, Unreachable, from_answer


def answer(status: int, message: str, reason: str = "Forbidden", **details: Any) -> KubeError:
    body = msgspec.json.encode({"message": message, "reason": reason, "details": details})
    return from_answer(status, {}, body, "POST pods", datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize(
    ("error", "category", "retry"),
    [
        (answer(403, "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"), "quota", True),
        (answer(403, 'User "x" cannot create resource "pods" in API group ""'), "api_unavailable", True),
        (answer(403, 'violates PodSecurity "restricted:latest": privileged'), "admission_denied", False),
        (answer(403, 'error looking up service account ns/x: serviceaccount "x" not found'), "config", False),
        (answer(403, 'error looking up service account n/default: serviceaccount "default" not found'), "config", True),
        (answer(403, "no PriorityClass with name high was found"), "config", False),
        (answer(404, 'namespaces "gone" not found', "NotFound"), "config", False),
        (answer(400, 'admission webhook "p.example" denied the request', "BadRequest"), "admission_denied", False),
        (answer(500, 'failed calling webhook "policy.example": timeout', "InternalError"), "api_unavailable", True),
        (answer(422, 'Pod "x" is invalid', "Invalid"), "launch_error", False),
        (answer(413, "too large", "RequestEntityTooLarge"), "launch_error", False),
        (answer(429, "too many requests", "TooManyRequests"), "api_unavailable", True),
        (answer(401, "Unauthorized", "Unauthorized"), "api_unavailable", True),
        (answer(409, "the object has been modified", "Conflict"), "api_unavailable", True),
        (answer(410, "gone", "Gone"), "api_unavailable", True),
        (Unreachable("no connection"), "api_unavailable", True),
    ],
)  # fmt: skip
def test_a_refusal_has_a_category_and_says_whether_to_try_again(error: KubeError, category: str, retry: bool) -> None:
    diagnosis, again = explain_refusal(error)
    assert (diagnosis.category, again) == (category, retry)
    assert diagnosis.infrastructure == (category in ("quota", "api_unavailable"))


def test_a_webhook_is_named() -> None:
    diagnosis, _ = explain_refusal(answer(403, 'admission webhook "policy.example" denied the request: no'))
    assert diagnosis.data["webhook"] == "policy.example"


def test_a_webhook_that_does_not_answer_is_named_and_asked_again() -> None:
    diagnosis, again = explain_refusal(answer(500, 'failed calling webhook "policy.example": timeout', "InternalError"))
    assert again
    assert "the service behind webhook policy.example" in diagnosis.hint


def test_an_invalid_field_is_named() -> None:
    causes = [{"field": "spec.containers[0].image", "message": "Required value"}]
    diagnosis, _ = explain_refusal(answer(422, "Pod is invalid", "Invalid", causes=causes))
    assert diagnosis.data["fields"] == ["spec.containers[0].image"]
    assert "spec.containers[0].image: Required value" in diagnosis.sentence


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("spec.containers[0].image", "in: task."),
        ("spec.containers[0].resources.requests", "in: dag, task resources."),
        ("spec.tolerations[0].operator.deeper", "in: template."),
        ("spec.hostNetwork", "in the pod template or the task's executor_config."),
    ],
)
def test_the_layer_that_set_an_invalid_field_is_named(field: str, said: str) -> None:
    provenance = {
        "spec.containers[0].image": "task",
        "spec.containers[0].imagePullPolicy": "template",
        "spec.containers[0].resources.requests.cpu": "dag",
        "spec.containers[0].resources.requests.memory": "task resources",
        "spec.tolerations[0].operator": "template",
    }
    causes = [{"field": field, "message": "Invalid value"}]
    diagnosis, _ = explain_refusal(answer(422, "Pod is invalid", "Invalid", causes=causes), provenance)
    assert diagnosis.hint == f"Mend the field {said}"
