"""Statuses that no recorder can bring about at will, written by hand after Kubernetes' sources, and what holds for all.

What real servers wrote stands in `test_captured.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.categories import Category
from execplane.pods.observe import Observation, observe, observe_deleted
from execplane.pods.status import decode_pod

T = "2026-11-21T08:00:0{}Z"


def look(status: dict[str, Any], *, node: str = "node-1", **more: Any) -> Observation:
    return observe(decode_pod(encoded(status, node=node, **more)))


def encoded(status: dict[str, Any], *, node: str = "node-1", **more: Any) -> bytes:
    container = {"name": "base", "image": "app:1", "resources": {"limits": {"memory": "64Mi"}}}
    spec = {"nodeName": node, "containers": [container, {"name": "side", "image": "side:1"}], **more.get("spec", {})}
    metadata = {"name": "pod-1", "namespace": "ns", "uid": "u", **more.get("metadata", {})}
    return msgspec.json.encode({"metadata": metadata, "spec": spec, "status": status})


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, **more}}


def container(state: dict[str, Any], name: str = "base") -> dict[str, Any]:
    return {"name": name, "state": state, "imageID": "registry.example/app@sha256:abc"}


def statuses(*containers: dict[str, Any], phase: str = "Failed", **more: Any) -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": list(containers), **more}


def disrupted(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "why"}
    return statuses(container(ended(137)), conditions=[condition])


ENDS: list[tuple[str, dict[str, Any], Category, bool, str]] = [
    ("no claim", statuses(container(ended(66))), Category.NO_CLAIM, True, "could not reach"),
    ("node lost", {"phase": "Failed", "reason": "NodeLost"}, Category.NODE_LOST, True, "node-1"),
    ("shutdown", {"phase": "Failed", "reason": "Terminated", "message": "imminent node shutdown"},
     Category.DRAINED, True, "imminent"),
    ("by the kubelet", disrupted("TerminationByKubelet"), Category.EVICTED, True, "kubelet"),
    ("unknown container", statuses(container(ended(137, "ContainerStatusUnknown"))),
     Category.NODE_LOST, True, "lost track"),
    ("only a sidecar failed", statuses(container(ended(2), "side")), Category.SIDECAR, False, "side"),
    ("nothing said", {"phase": "Failed"}, Category.UNKNOWN, True, "does not say why"),
    ("said by the pod", {"phase": "Failed", "reason": "Odd", "message": "text"}, Category.UNKNOWN, True, "Odd: text"),
    ("no status left", {"phase": "Succeeded"}, Category.UNKNOWN, True, "no status of base"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "category", "infrastructure", "said"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS]
)
def test_an_end_has_a_category_and_a_sentence(
    status: dict[str, Any], category: Category, infrastructure: bool, said: str
) -> None:
    found = look(status)
    assert found.finished
    assert found.end is not None
    assert (found.end.category, found.end.infrastructure) == (category, infrastructure)
    assert said in found.end.sentence


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return statuses(container({"waiting": {"reason": reason, "message": message}}), phase="Pending")


WAITS: list[tuple[str, dict[str, Any], Category, bool]] = [
    ("denied", waiting("ErrImagePull", "pull access denied, repository does not exist or may require authorization: "
                       "authentication required"), Category.IMAGE_UNAUTHORISED, False),
    ("kubelet's limit", waiting("ErrImagePull", "pull QPS exceeded"), Category.IMAGE_RATE_LIMITED, True),
    ("create", waiting("CreateContainerError", "no command specified"), Category.LAUNCH_ERROR, False),
    ("starting", waiting("ContainerCreating"), Category.STARTING, True),
    ("nothing yet", {"phase": "Pending"}, Category.STARTING, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "category", "infrastructure"), [wait[1:] for wait in WAITS], ids=[wait[0] for wait in WAITS]
)
def test_a_wait_has_a_category(status: dict[str, Any], category: Category, infrastructure: bool) -> None:
    found = look(status)
    assert not found.finished
    assert found.end is None
    assert found.waiting is not None
    assert (found.waiting.category, found.waiting.infrastructure) == (category, infrastructure)


@pytest.mark.parametrize(
    ("reason", "category"),
    [("Unschedulable", "unschedulable"), ("SchedulingGated", "scheduling"), ("", "scheduling")],
)
def test_a_pod_without_a_node_waits_for_the_scheduler(reason: str, category: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available"}
    found = look({"phase": "Pending", "conditions": [condition]}, node="")
    assert found.waiting is not None
    assert found.waiting.category == category


def test_a_running_pod_waits_for_nothing_and_gives_its_times() -> None:
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": T.format(1)},
        {"type": "Initialized", "status": "True", "lastTransitionTime": T.format(2)},
    ]
    running = container({"running": {"startedAt": T.format(3)}})
    found = look(statuses(running, phase="Running", conditions=conditions))
    assert (found.finished, found.waiting, found.end) == (False, None, None)
    assert found.scheduled_at == datetime(2026, 11, 21, 8, 0, 1, tzinfo=UTC)
    assert found.initialized_at == datetime(2026, 11, 21, 8, 0, 2, tzinfo=UTC)
    assert found.started_at == datetime(2026, 11, 21, 8, 0, 3, tzinfo=UTC)
    assert (found.node, found.image_digest) == ("node-1", "sha256:abc")


def test_a_sidecar_that_runs_on_does_not_keep_the_attempt_alive() -> None:
    side = container({"running": {"startedAt": T.format(1)}}, "side")
    found = look(statuses(container(ended(0, "Completed")), side, phase="Running"))
    assert found.finished
    assert found.end is not None
    assert found.end.category == "succeeded"
    assert found.sidecars_running == ("side",)


def test_a_native_sidecar_that_failed_is_not_a_failed_init_container() -> None:
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}
    status = {
        "phase": "Failed",
        "initContainerStatuses": [container(ended(1), "proxy")],
        "containerStatuses": [container(ended(4))],
    }
    found = look(status, spec=spec)
    assert found.end is not None
    assert (found.end.category, found.end.exit_code) == ("user_code", 4)


def test_the_deadline_that_we_set_to_end_sidecars_does_not_hide_how_the_task_ended() -> None:
    status = statuses(container(ended(9)), reason="DeadlineExceeded")
    found = look(status, metadata={"annotations": {"execplane.io/base-ended": "true"}})
    assert found.end is not None
    assert (found.end.category, found.end.exit_code) == ("user_code", 9)


@pytest.mark.parametrize("code", [1, 137, 143])
def test_an_end_after_the_deletion_was_asked_for_is_a_deletion(code: int) -> None:
    deleting = {"deletionTimestamp": T.format(9), "deletionGracePeriodSeconds": 5}
    found = look(statuses(container(ended(code, finishedAt=T.format(4)))), metadata=deleting)
    assert found.end is not None
    assert (found.end.category, found.end.exit_code, found.end.infrastructure) == ("deleted", code, True)


def test_an_end_before_the_deletion_was_asked_for_is_the_tasks_own() -> None:
    deleting = {"deletionTimestamp": T.format(9), "deletionGracePeriodSeconds": 5}
    found = look(statuses(container(ended(1, finishedAt=T.format(3)))), metadata=deleting)
    assert found.end is not None
    assert found.end.category == "user_code"


def test_a_running_pod_that_is_deleted_is_called_so() -> None:
    pod = decode_pod(encoded(statuses(container({"running": {}}), phase="Running")))
    found = observe_deleted(pod)
    assert (found.category, found.sentence) == ("deleted", "Pod pod-1 was deleted while it was Running on node node-1.")


def test_fields_that_are_null_count_as_left_out() -> None:
    found = look({"phase": "Pending", "conditions": None, "containerStatuses": None}, metadata={"annotations": None})
    assert (found.phase, found.finished) == ("Pending", False)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "phase": st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed", "Unknown"]),
            "reason": st.text(max_size=8),
            "message": st.text(max_size=8),
            "containerStatuses": st.lists(
                st.builds(
                    container,
                    st.one_of(
                        st.builds(ended, st.integers(0, 255), st.text(max_size=5)),
                        st.just({"running": {}}),
                        st.builds(lambda reason: {"waiting": {"reason": reason}}, st.text(max_size=5)),
                        st.just({}),
                    ),
                    st.sampled_from(["base", "side"]),
                ),
                max_size=2,
            ),
        },
    )
)
def test_whatever_the_status_says_there_is_a_reason_and_never_none(status: dict[str, Any]) -> None:
    found = look(status)
    base: dict[str, Any] = next((each for each in status.get("containerStatuses", []) if each["name"] == "base"), {})
    if not found.finished and "running" in base.get("state", {}):
        return
    said = found.end if found.finished else found.waiting
    assert said is not None
    assert said.category in set(Category)
    assert said.sentence
    assert "None" not in said.sentence
