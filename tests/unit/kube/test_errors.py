"""Answers of the API server as our errors."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from execplane.kube.errors import (
    AccessDenied,
    AlreadyExists,
    BadRequest,
    Expired,
    KubeError,
    NotFound,
    PreconditionFailed,
    ServerTrouble,
    Throttled,
    TooLarge,
    Unauthorized,
    from_answer,
    is_quota,
)

NOW = datetime(2026, 11, 21, 8, 0, 0, tzinfo=UTC)


def answer(status: int, message: str = "text", reason: str = "", headers: dict[str, str] | None = None) -> KubeError:
    body = msgspec.json.encode({"kind": "Status", "message": message, "reason": reason})
    return from_answer(status, headers or {}, body, "POST /pods", NOW)


@pytest.mark.parametrize(
    ("status", "reason", "kind", "retryable"),
    [
        (400, "BadRequest", BadRequest, False),
        (401, "Unauthorized", Unauthorized, True),
        (403, "Forbidden", AccessDenied, False),
        (404, "NotFound", NotFound, False),
        (409, "AlreadyExists", AlreadyExists, False),
        (409, "Conflict", PreconditionFailed, False),
        (410, "Gone", Expired, True),
        (413, "RequestEntityTooLarge", TooLarge, False),
        (422, "Invalid", BadRequest, False),
        (429, "TooManyRequests", Throttled, True),
        (500, "InternalError", ServerTrouble, True),
        (503, "ServiceUnavailable", ServerTrouble, True),
    ],
)
def test_the_status_decides_the_error(status: int, reason: str, kind: type[KubeError], retryable: bool) -> None:
    error = answer(status, reason=reason)
    assert type(error) is kind
    assert (error.retryable, error.status, error.reason) == (retryable, status, reason)
    assert "POST /pods" in error.message


def test_a_pod_above_etcds_limit_is_too_large_whatever_the_status() -> None:
    assert isinstance(answer(500, "etcdserver: request is too large"), TooLarge)


def test_an_answer_that_is_not_json_is_still_told() -> None:
    error = from_answer(502, {}, b"<html>bad gateway</html>", "GET /x", NOW)
    assert isinstance(error, ServerTrouble)
    assert "bad gateway" in error.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("Sat, 21 Nov 2026 08:00:10 GMT", 10.0),
        ("Sat, 21 Nov 2026 07:00:00 GMT", 0.0),
        ("nonsense", 0.0),
        ("9" * 30, 3600.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(value: str, seconds: float) -> None:
    assert answer(429, headers={"Retry-After": value}).retry_after_seconds == seconds


def test_retry_after_may_stand_in_the_body() -> None:
    body = msgspec.json.encode({"message": "wait", "details": {"retryAfterSeconds": 7}})
    assert from_answer(429, {}, body, "POST /pods", NOW).retry_after_seconds == 7


def test_a_quota_is_told_from_other_refusals() -> None:
    assert is_quota(answer(403, 'pods "x" is forbidden: exceeded quota: none, requested: pods=1'))
    assert not is_quota(answer(403, 'pods is forbidden: User "x" cannot create resource "pods"'))
