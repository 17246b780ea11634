"""Reports and heartbeats that hold more than the ledger keeps: refused in words, or cut, and never asked again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execplane.contract.messages import EndAnswer, ErrorInfo
from execplane.contract.states import AttemptState
from execplane.store.models import Attempt
from tests.integration.worker_api.conftest import NONCE, Caller

BEYOND = 2**63
"""Of what a database's largest number holds."""
MESSAGES: dict[str, dict[str, Any]] = {
    "heartbeat": {"nonce": NONCE, "log_offset": 0},
    "end": {"nonce": NONCE, "outcome": "success", "ended_at": "2026-03-01T12:00:00Z"},
}


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("heartbeat", "log_offset", BEYOND),
        ("heartbeat", "log_offset", -1),
        ("end", "log_offset", BEYOND),
        ("end", "log_offset", -1),
        ("end", "map_length", 2**31),
        ("end", "map_length", -1),
        ("end", "peak_memory_bytes", BEYOND),
        ("end", "peak_memory_bytes", -1),
        ("end", "ended_at", "2026-03-01T12:00:00"),
        ("end", "user_code_started_at", "2026-03-01T12:00:00"),
    ],
)
def test_a_value_that_the_ledger_cannot_keep_is_refused_by_its_name(
    caller: Caller, path: str, field: str, value: int | str
) -> None:
    attempt = caller.running()

    answer = caller.call("POST", path, MESSAGES[path] | {field: value})

    assert (answer.status, answer.refusal.code) == (400, "malformed")
    assert f"$.{field}" in answer.refusal.message
    assert Attempt.objects.get(pk=attempt.pk).state == AttemptState.RUNNING
    assert caller.call("POST", path, MESSAGES[path]).status == 200


@pytest.mark.parametrize("path", ["heartbeat", "end"])
def test_fields_nested_beyond_reason_are_refused_in_words(caller: Caller, path: str) -> None:
    caller.running()
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000

    answer = caller.call("POST", path, MESSAGES[path] | {"rendered": msgspec.Raw(deep)})

    assert (answer.status, answer.refusal.code) == (400, "malformed")
    assert "nested too deeply" in answer.refusal.message


def test_a_number_in_a_question_that_no_row_can_have_finds_nothing_or_is_refused(caller: Caller) -> None:
    attempt = caller.running()
    wanted: dict[str, Any] = msgspec.to_builtins(caller.claim_request(attempt))

    asked = caller.call("POST", "xcoms/pull", {"map_index": 2**70})
    claimed = caller.call("POST", "claim", wanted | {"attempt_id": 2**70}, token=caller.launch_token(attempt))

    # PostgreSQL compares with numbers of any size; SQLite takes none beyond its own.
    assert asked.status in (200, 400)
    assert claimed.status in (409, 400)


def test_texts_beyond_what_is_kept_are_cut_and_the_result_is_not_lost(caller: Caller) -> None:
    attempt = caller.running()
    error = ErrorInfo(type="ValueError", message="no \0" * 100_000, traceback="t" * 1_000_000)

    answer = caller.end(outcome="failed", error=error, bundle_found="b\0" * 1000)

    assert answer.read(EndAnswer).state == "failed"
    row = Attempt.objects.get(pk=attempt.pk)
    assert row.reason.startswith("The task failed (ValueError: no no no")
    assert len(row.reason) == 10_000
    assert row.bundle_found == "b" * 64


def test_a_bundle_named_too_long_in_a_heartbeat_is_cut(caller: Caller) -> None:
    attempt = caller.running()

    assert caller.call("POST", "heartbeat", MESSAGES["heartbeat"] | {"bundle_found": "b\0" * 1000}).status == 200

    assert Attempt.objects.get(pk=attempt.pk).bundle_found == "b" * 64
