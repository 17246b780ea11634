"""What is said of pods that a real scheduler, kubelet and API server wrote: one line for each recorded situation.

`tests.parts.kubernetes.record_statuses` records them; the folder is the server's version.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.contract.categories import Category
from execplane.contract.observations import Diagnosis
from execplane.executors.kubernetes_launch import explain_refusal
from execplane.kube.errors import from_answer
from execplane.pods.ends import diagnose_removal
from execplane.pods.observe import observe, observe_deleted
from execplane.pods.status import decode_pod
from tests.parts.kubernetes import situations

CAPTURED = Path(__file__).parent / "captured"
VERSIONS = sorted(path.name for path in CAPTURED.iterdir())
AUTHOR, INFRA = False, True

# situation: category, who pays, what the sentence says
ENDS: dict[str, tuple[Category, bool, str]] = {
    "exit_0": (Category.SUCCEEDED, AUTHOR, "exit code 0"),
    "exit_3": (Category.USER_CODE, AUTHOR, "exit code 3"),
    "segmentation_fault": (Category.SIGNAL, AUTHOR, "SIGSEGV"),
    "killed_on_the_node": (Category.SIGNAL, INFRA, "SIGKILL"),
    "oom_killed": (Category.OOM_KILLED, AUTHOR, "Container base needed more than its memory limit of 32Mi"),
    "oom_killed_init": (Category.OOM_KILLED, AUTHOR, "Container unpack needed more than its memory limit of 32Mi"),
    "no_such_program": (Category.LAUNCH_ERROR, AUTHOR, "no-such-program"),
    "init_failed": (Category.INIT_CONTAINER, AUTHOR, "git-sync failed with exit code 4: no such repository"),
    "deadline": (Category.DEADLINE, AUTHOR, "its activeDeadlineSeconds of 3"),
    "sidecar_never_ends": (Category.SUCCEEDED, AUTHOR, "exit code 0"),
    "drained": (Category.DRAINED, INFRA, "through the eviction API (a drain)"),
    "deleted": (Category.DELETED, INFRA, "was deleted; its container ended with exit code 143"),
    "deleted_by_force": (Category.DELETED, INFRA, "was deleted while it was Running on node node-1"),
    "deleted_while_pending": (Category.DELETED, INFRA, "was deleted while it was Pending"),
    "preempted": (Category.PREEMPTED, INFRA, "Preempted on node-1"),
    "evicted_above_its_disk_limit": (Category.EVICTED, AUTHOR, "1Mi"),
    "evicted_above_a_volumes_limit": (Category.EVICTED, AUTHOR, 'volume "data"'),
    "evicted_above_its_request": (Category.EVICTED, AUTHOR, "ran short of memory"),
    "evicted_below_its_request": (Category.EVICTED, INFRA, "ran short of memory"),
    "node_has_too_little": (Category.LAUNCH_ERROR, INFRA, "Node node-1 refused the pod (OutOfcpu)"),
    "node_does_not_match": (Category.LAUNCH_ERROR, INFRA, "Node node-1 refused the pod (NodeAffinity)"),
    "node_deleted": (Category.NODE_LOST, INFRA, "Node kwok-0 is gone"),
    "node_tainted": (Category.NODE_LOST, INFRA, "Removed from kwok-1 by a NoExecute taint"),
}
WAITS: dict[str, tuple[Category, bool, str]] = {
    "image_missing": (Category.IMAGE_MISSING, AUTHOR, "127.0.0.1:5555/missing/app:1"),
    "image_missing_back_off": (Category.IMAGE_MISSING, AUTHOR, "127.0.0.1:5555/missing/app:1"),
    "image_unauthorised": (Category.IMAGE_UNAUTHORISED, AUTHOR, "127.0.0.1:5555/private/app:1"),
    "image_rate_limited": (Category.IMAGE_RATE_LIMITED, INFRA, "127.0.0.1:5555/limited/app:1"),
    "image_registry_unreachable": (Category.IMAGE_PULL, INFRA, "registry.invalid/app:1"),
    "image_never_pulled": (Category.IMAGE_MISSING, AUTHOR, "may not be pulled"),
    "image_name_invalid": (Category.IMAGE_INVALID, AUTHOR, "Not/A:Name:1"),
    "secret_missing": (Category.CONFIG, AUTHOR, 'secret "no-such-secret" not found'),
    "config_map_key_missing": (Category.CONFIG, AUTHOR, "no-such-key"),
    "root_is_not_allowed": (Category.LAUNCH_ERROR, AUTHOR, "runAsNonRoot"),
    "secret_volume_missing": (Category.STARTING, INFRA, "is preparing the pod"),
    "no_node_matches": (Category.UNSCHEDULABLE, INFRA, "node affinity/selector"),
    "larger_than_any_node": (Category.UNSCHEDULABLE, INFRA, "too little free memory"),
    "claim_missing": (Category.UNSCHEDULABLE, INFRA, "no-such-claim"),
    "gated": (Category.SCHEDULING, INFRA, "gate"),
}
# situation: category, who pays, what the sentence says, whether the same pod may be taken later
REFUSED: dict[str, tuple[Category, bool, str, bool]] = {
    "quota_used_up": (Category.QUOTA, INFRA, "exceeded quota: pods", True),
    "webhook_denied": (Category.ADMISSION_DENIED, AUTHOR, "policy.example.com refused the pod", False),
    "webhook_unreachable": (Category.API_UNAVAILABLE, INFRA, "dead.example.com", True),
    "pod_security_violated": (Category.ADMISSION_DENIED, AUTHOR, "PodSecurity", False),
    "limit_range_exceeded": (Category.ADMISSION_DENIED, AUTHOR, "maximum memory usage per Container is 64Mi", False),
    "namespace_missing": (Category.CONFIG, AUTHOR, "no-such-namespace", False),
    "service_account_missing": (Category.CONFIG, AUTHOR, "no-such-account", False),
    "priority_class_missing": (Category.CONFIG, AUTHOR, "no-such-class", False),
    "field_invalid": (Category.LAUNCH_ERROR, AUTHOR, "spec.containers[0].image", False),
}


def captured(version: str, situation: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CAPTURED / version / f"{situation}.json").read_text())
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_situation_has_its_line(version: str) -> None:
    lines = {**ENDS, **WAITS, **REFUSED}
    assert {path.stem for path in (CAPTURED / version).glob("*.json")} == set(lines)
    recorded = {*situations.ENDS, *situations.UNDER_PRESSURE, *situations.WAITS, *situations.REFUSED}
    assert recorded == set(lines)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("situation", ENDS)
def test_an_end_is_told_from_what_kubernetes_wrote(version: str, situation: str) -> None:
    document = captured(version, situation)
    pod = decode_pod(msgspec.json.encode(document["pod"]))
    found = observe_deleted(pod) if document["event"] == "DELETED" else observe(pod).end
    assert_said(found, *ENDS[situation])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("situation", WAITS)
def test_a_wait_is_told_from_what_kubernetes_wrote(version: str, situation: str) -> None:
    found = observe(decode_pod(msgspec.json.encode(captured(version, situation)["pod"])))
    assert not found.finished
    assert_said(found.waiting, *WAITS[situation])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("situation", REFUSED)
def test_a_refusal_is_told_from_what_the_api_server_said(version: str, situation: str) -> None:
    document = captured(version, situation)
    body = msgspec.json.encode(document["body"])
    error = from_answer(document["status"], {}, body, "POST pods", datetime(2026, 11, 21, tzinfo=UTC))
    category, infrastructure, said, again = REFUSED[situation]
    diagnosis, retry = explain_refusal(error)
    assert_said(diagnosis, category, infrastructure, said)
    assert retry is again


def assert_said(found: Diagnosis | None, category: Category, infrastructure: bool, said: str) -> None:
    assert found is not None
    assert (found.category, found.infrastructure) == (category, infrastructure), found.sentence
    assert said in found.sentence
    assert found.hint


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sidecar_that_never_ends_does_not_keep_the_attempt_alive(version: str) -> None:
    pod = decode_pod(msgspec.json.encode(captured(version, "sidecar_never_ends")["pod"]))
    found = observe(pod)
    assert (found.phase, found.finished, found.sidecars_running) == ("Running", True, ("proxy",))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_eviction_names_the_resource_and_what_was_used(version: str) -> None:
    pod = decode_pod(msgspec.json.encode(captured(version, "evicted_above_its_request")["pod"]))
    end = observe(pod).end
    assert end is not None
    assert (end.data["resource"], end.data["container"], end.data["request"]) == ("memory", "base", "10Mi")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("situation", "category"), [("drained", "drained"), ("preempted", "preempted"), ("exit_3", "")]
)
def test_a_status_tells_who_ended_the_pod_before_its_container_has_ended(
    version: str, situation: str, category: str
) -> None:
    pod = captured(version, situation)["pod"]
    found = diagnose_removal(pod["status"], pod["spec"]["nodeName"])
    assert (found.category if found else "") == category
