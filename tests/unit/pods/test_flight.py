"""Flight records: bounded, readable, without secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from execplane.pods import flight

WHOLE: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "managedFields": [{"manager": "kubelet"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "execplane.io/url": "http://x/1"},
    },
    "spec": {
        "nodeName": "n1",
        "containers": [
            {
                "name": "base",
                "command": ["curl", "https://app:hunter2@files/x"],
                "args": ["--db=postgresql://app:hunter2@db/x", "-v"],
                "env": [
                    {"name": "DB_PASSWORD", "value": "hunter2"},
                    {"name": "DB", "value": "postgresql://app:hunter2@db/x"},
                    {"name": "AIRFLOW_CONN_DB", "value": '{"conn_type": "http", "password": "hunter2"}'},
                    {"name": "REGION", "value": "eu"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
            }
        ],
    },
    "status": {"phase": "Failed"},
}


def test_secrets_in_the_environment_are_masked_and_what_says_nothing_is_left_out() -> None:
    kept, left_out = flight.keepable(msgspec.json.encode(WHOLE))

    assert left_out == ""
    assert b"hunter2" not in msgspec.json.encode(kept)
    env = {one["name"]: one for one in kept["spec"]["containers"][0]["env"]}
    assert env["DB"]["value"] == "postgresql://app:***@db/x"
    assert env["REGION"]["value"] == "eu"
    assert kept["spec"]["containers"][0]["args"] == ["--db=postgresql://app:***@db/x", "-v"]
    assert env["TOKEN"] == {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert kept["metadata"] == {"name": "p", "annotations": {"execplane.io/url": "http://x/1"}}


@pytest.mark.parametrize("where", ["spec", "status"])
def test_a_pod_of_a_megabyte_is_not_kept_whole_and_the_record_says_so(where: str) -> None:
    huge = {**WHOLE, where: {**WHOLE[where], "message": "x" * (1 << 20)}}

    kept, left_out = flight.keepable(msgspec.json.encode(huge))

    assert len(msgspec.json.encode(kept)) < 256 * 1024
    assert kept["status"]["phase"] == "Failed"
    assert "too large" in left_out


def test_the_workers_lines_are_kept_as_people_read_them_and_others_as_they_are() -> None:
    output = b'{"offset":3,"at":"2026-03-01T12:00:00Z","message":"hello","level":"ERROR"}\nplain\n{"offset":oops\n'

    found = flight.last_lines("base", output)

    assert found.text == '[2026-03-01T12:00:00.000+00:00] ERROR - hello\nplain\n{"offset":oops\n'
    assert not found.cut


def test_of_too_much_output_the_end_is_kept() -> None:
    found = flight.last_lines("base", b"a" * 100_000 + b"the end")

    assert found.cut
    assert found.text.endswith("the end")
    assert len(found.text) == 64 * 1024


def event(reason: str, at: str | None, container: str = "", **more: Any) -> dict[str, Any]:
    path = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
    return {"reason": reason, "lastTimestamp": at, "involvedObject": path, "source": {"component": "kubelet"}, **more}


def test_events_come_in_the_order_of_their_times_and_the_newest_are_kept() -> None:
    listed = [event(f"r{second}", f"2026-03-01T12:{second // 60:02}:{second % 60:02}Z") for second in range(150)]
    listed.reverse()
    listed.append(event("Scheduled", None, eventTime="2026-03-01T12:02:28.5Z", type=None, message=None))

    found = flight.events_of(msgspec.json.encode({"items": listed}))

    assert len(found) == 100
    assert [one.reason for one in found[-3:]] == ["r148", "Scheduled", "r149"]


def test_an_image_was_pulled_when_base_s_was_not_a_sidecar_s() -> None:
    items = [
        event("Pulled", "2026-03-01T12:00:01Z", "proxy"),
        event("Pulled", "2026-03-01T12:00:05Z", "base"),
        event("Started", "2026-03-01T12:00:06Z", "base"),
    ]
    found = flight.events_of(msgspec.json.encode({"items": items}))

    assert flight.pulled_at(found) == datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert flight.pulled_at(found[:1]) is None


def test_a_node_is_kept_with_its_conditions_and_taints() -> None:
    node = {
        "spec": {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]},
        "status": {
            "nodeInfo": {"kubeletVersion": "v1.34.4"},
            "conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}],
        },
    }
    found = flight.node_of("n1", msgspec.json.encode(node))

    assert (found.unschedulable, found.taints) == (True, ("node.kubernetes.io/unreachable:NoExecute",))
    assert [(one.type, one.status) for one in found.conditions] == [("Ready", "Unknown")]
