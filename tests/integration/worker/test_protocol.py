"""Protocol version 1 as it was recorded once: the file never changes, so a change of the messages that would break a
worker (or an API) of the earlier version fails here. Only a new version of the protocol gets a new file, which
`test_todays_worker_makes_every_recorded_call` leaves in its temporary folder.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execplane.contract import messages
from tests.parts.eventually import eventually
from tests.unit.worker.stub_api import StubApi, claim_answer
from tests.unit.worker.workers import Workers

RECORDING = Path(__file__).parents[2] / "unit" / "worker" / "data" / "protocol_v1.jsonl"
TYPES: dict[str, tuple[Any, Any]] = {
    "POST claim": (messages.ClaimRequest, messages.ClaimAnswer),
    "POST heartbeat": (messages.Heartbeat, messages.HeartbeatAnswer),
    "POST logs": (messages.LogBatch, messages.Accepted),
    "POST end": (messages.End, messages.EndAnswer),
    "PUT xcoms": (messages.XComPush, messages.Accepted),
    "POST xcoms/pull": (messages.XComPull, messages.XComValues),
    "PUT blobs": (None, messages.Accepted),
    "GET blobs": (None, None),
    "PUT variables": (messages.SecretValue, messages.Accepted),
    "GET variables": (None, messages.SecretValue),
    "DELETE variables": (None, messages.Accepted),
    "GET connections": (None, messages.SecretValue),
}


class Exchange(msgspec.Struct, kw_only=True):
    method: str
    path: str
    request: str
    status: int
    answer: str

    @property
    def call(self) -> str:
        path = self.path if self.path == "xcoms/pull" else self.path.partition("/")[0]
        return f"{self.method} {path}"


def recorded() -> list[Exchange]:
    return [msgspec.json.decode(line, type=Exchange) for line in RECORDING.read_bytes().splitlines()]


class RecordedApi(StubApi):
    """Answers with the recorded bytes and nothing else."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.exchanges = exchanges
        self.heard: dict[str, list[bytes]] = defaultdict(list)
        super().__init__(claim_answer())

    def __enter__(self) -> RecordedApi:
        return self

    def handle(self, method: str, call: str, argument: str, body: bytes, token: str) -> tuple[int, bytes]:
        with self.lock:
            self.requests[call] += 1
            self.heard[f"{method} {call}"].append(body)
            for exchange in self.exchanges:
                if exchange.call == f"{method} {call}":
                    return exchange.status, exchange.answer.encode()
        return 404, b'{"code": "not_found", "message": "not in the recording"}'


def test_the_recording_holds_every_call() -> None:
    assert {exchange.call for exchange in recorded()} == set(TYPES)


@pytest.mark.parametrize("exchange", recorded(), ids=lambda exchange: exchange.call)
def test_recorded_messages_are_understood_and_none_of_their_fields_is_lost(exchange: Exchange) -> None:
    request_type, answer_type = TYPES[exchange.call]
    if request_type is not None:
        _kept(exchange.request.encode(), request_type)
    if answer_type is not None:
        _kept(exchange.answer.encode(), answer_type if exchange.status == 200 else messages.Refusal)


def test_todays_worker_works_with_an_api_of_version_1(start_worker: Workers, tmp_path: Path) -> None:
    exchanges = [_at_home(exchange, tmp_path) for exchange in recorded()]
    stop = tmp_path / "stop"
    with RecordedApi(exchanges) as old:
        worker = start_worker("everything", str(stop), url=old.url)
        eventually(lambda: old.heard["POST heartbeat"] and old.heard["POST logs"])
        stop.touch()
        assert worker.wait(20) == 0, worker.communicate()
    for exchange in exchanges:
        heard = old.heard[exchange.call]
        assert heard, f"today's worker does not call {exchange.call}"
        if TYPES[exchange.call][0] is not None:
            assert set(msgspec.json.decode(exchange.request)) <= set(msgspec.json.decode(heard[-1]))


def _at_home(exchange: Exchange, folder: Path) -> Exchange:
    """The recorded claim names a DAG folder of the machine it was recorded on."""
    if exchange.call != "POST claim":
        return exchange
    answer = {**msgspec.json.decode(exchange.answer), "dags_folder": str(folder)}
    return msgspec.structs.replace(exchange, answer=msgspec.json.encode(answer).decode())


def _kept(body: bytes, kind: Any) -> None:
    before = msgspec.json.decode(body)
    after = msgspec.json.decode(msgspec.json.encode(msgspec.json.decode(body, type=kind)))
    assert _subset(before, after), (before, after)


def _subset(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return all(name in after and _subset(value, after[name]) for name, value in before.items())
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_subset, before, after))
    return bool(before == after)


def test_todays_worker_makes_every_recorded_call(api: StubApi, start_worker: Workers, tmp_path: Path) -> None:
    api.answer = msgspec.structs.replace(api.answer, xcom_blob_bytes=100)
    stop = tmp_path / "stop"
    worker = start_worker("everything", str(stop))
    eventually(lambda: api.beats and api.batches)
    stop.touch()
    assert worker.wait(20) == 0, worker.communicate()
    first: dict[str, Exchange] = {}
    for method, path, request, status, answer in api.transcript:
        made = Exchange(method=method, path=path, request=request.decode(), status=status, answer=answer.decode())
        first.setdefault(made.call, made)
    (tmp_path / "recording.jsonl").write_bytes(b"".join(msgspec.json.encode(made) + b"\n" for made in first.values()))
    assert set(first) == {exchange.call for exchange in recorded()}
