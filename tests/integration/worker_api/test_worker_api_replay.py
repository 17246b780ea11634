"""A worker of protocol 1, as it was recorded once, is served by today's API."""

from __future__ import annotations

from typing import Any

import msgspec

from execplane.contract.messages import Refusal
from tests.integration.worker.test_protocol import TYPES, Exchange, recorded
from tests.integration.worker_api.conftest import Caller, key_of


def test_the_recorded_worker_gets_the_answers_that_it_was_made_for(caller: Caller) -> None:
    attempt = caller.launched()
    token = caller.launch_token(attempt)
    for exchange in recorded():
        body = _addressed(exchange, attempt.pk, msgspec.to_builtins(key_of(attempt)))
        answer = caller.raw(exchange.method, exchange.path, body, token=token)
        assert answer.status == exchange.status, (exchange.call, answer.body)
        if answer.status != 200:
            assert msgspec.json.decode(answer.body, type=Refusal).code == "not_found"
        elif TYPES[exchange.call][1] is not None:
            before, now = msgspec.json.decode(exchange.answer), msgspec.json.decode(answer.body)
            assert _shape(before) <= _shape(now), exchange.call
            if exchange.call == "POST claim":
                token = now["token"]
        else:
            assert answer.body == exchange.answer.encode()
    attempt.refresh_from_db()
    assert attempt.state == "success"


def _addressed(exchange: Exchange, attempt_id: int, key: Any) -> bytes | None:
    """The recorded request, for the attempt that is here."""
    if not exchange.request:
        return None
    if exchange.path.startswith("blobs/"):
        return exchange.request.encode()
    text = exchange.request.replace('"task_id":"task"', '"task_id":"extract"').replace('["task"]', '["extract"]')
    wanted = msgspec.json.decode(text)
    if exchange.call == "POST claim":
        wanted |= {"attempt_id": attempt_id, "key": key}
    return msgspec.json.encode(wanted)


def _shape(value: Any, path: str = "") -> set[str]:
    """The fields that an answer has."""
    if isinstance(value, dict):
        return {path}.union(*(_shape(one, f"{path}.{name}") for name, one in value.items()))
    return {path}
