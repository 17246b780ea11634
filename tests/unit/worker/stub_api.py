"""A worker API for tests: real HTTP over TCP or a Unix socket, everything it heard kept, and faults on order."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

import msgspec

from execplane.contract.logs import LogRecord
from execplane.contract.messages import (
    Accepted,
    ClaimAnswer,
    ClaimRequest,
    End,
    EndAnswer,
    Heartbeat,
    HeartbeatAnswer,
    LogBatch,
    Refusal,
    RunContext,
    SecretValue,
    TaskContext,
    XComPull,
    XComPush,
    XComValue,
    XComValues,
)

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def claim_answer(**changes: Any) -> ClaimAnswer:
    values: dict[str, Any] = {
        "token": "attempt-token",
        "token_expires_at": MOMENT + timedelta(hours=1),
        "heartbeat_seconds": 0.2,
        "self_fence_seconds": 60.0,
        "grace_seconds": 5.0,
        "dag_file": "dag.py",
        "bundle": "",
        "source": "volume",
        "run": RunContext(run_type="manual", logical_date=MOMENT, run_after=MOMENT, queued_at=MOMENT),
        "task": TaskContext(try_number=1, max_tries=1),
    }
    return ClaimAnswer(**(values | changes))


class StubApi:
    """Serves until `close`. Attributes may be changed at any time by the test."""

    def __init__(self, answer: ClaimAnswer, *, unix: str = "") -> None:
        self.answer = answer
        self.lock = threading.Lock()
        self.holders: dict[int, tuple[str, str]] = {}
        self.claims: list[ClaimRequest] = []
        self.beats: list[Heartbeat] = []
        self.ends: dict[int, End] = {}
        self.logs: dict[int, dict[int, LogRecord]] = defaultdict(dict)
        self.batches: list[LogBatch] = []
        self.xcoms: dict[tuple[str, str, int], XComValue] = {}
        self.blobs: dict[str, bytes] = {}
        self.variables: dict[str, SecretValue] = {}
        self.connections: dict[str, SecretValue] = {}
        self.bundles: dict[str, bytes] = {}
        self.tokens: list[str] = []
        self.requests: Counter[str] = Counter()
        self.transcript: list[tuple[str, str, bytes, int, bytes]] = []
        self.down = False
        """True: every connection is cut without an answer."""
        self.hold_seconds = 0.0
        """What an End's answer says of a hold."""
        self.refused_connections = 0
        self.lose_answers: Counter[str] = Counter()
        """How many answers of a call ("claim", "end" …) are lost after they took effect."""
        self.statuses: dict[str, list[int]] = defaultdict(list)
        """Refusals to give first, by call."""
        self.stop_reason: str | None = None
        self.fenced = False
        self.renewed_token = ""
        self.watched = False
        self._sockets: set[socket.socket] = set()
        self._server = _Server(self, unix)
        self.url = self._server.url
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> StubApi:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.cut()

    def cut(self) -> None:
        """Cut every open connection, as a restarting server does."""
        for sock in list(self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def go_down(self) -> None:
        self.down = True
        self.cut()

    def attempt_of(self, nonce: str) -> int:
        return next((attempt for attempt, (_, held) in self.holders.items() if held == nonce), 0)

    def messages(self, attempt_id: int = 1) -> list[str]:
        return [record.message for _, record in sorted(self.logs[attempt_id].items())]

    def records(self, attempt_id: int = 1) -> list[LogRecord]:
        return [record for _, record in sorted(self.logs[attempt_id].items())]

    def handle(self, method: str, call: str, argument: str, body: bytes, token: str) -> tuple[int, bytes]:
        with self.lock:
            self.tokens.append(token)
            self.requests[call] += 1
            if self.statuses[call]:
                return _refuse(self.statuses[call].pop(0))
            found = getattr(self, f"_{method.lower()}_{call.replace('/', '_')}", None)
            if found is None:
                return _refuse(404)
            answer = found(argument, body)
            return answer if isinstance(answer, tuple) else (200, msgspec.json.encode(answer))

    def _post_claim(self, argument: str, body: bytes) -> Any:
        request = msgspec.json.decode(body, type=ClaimRequest)
        self.claims.append(request)
        holder = self.holders.setdefault(request.attempt_id, (request.uid, request.nonce))
        if holder != (request.uid, request.nonce) or request.attempt_id in self.ends:
            return _refuse(409)
        return self.answer

    def _post_heartbeat(self, argument: str, body: bytes) -> Any:
        if self.fenced:
            return _refuse(409)
        self.beats.append(msgspec.json.decode(body, type=Heartbeat))
        return HeartbeatAnswer(
            stop=self.stop_reason is not None,
            reason=self.stop_reason or "",
            token=self.renewed_token,
            watched=self.watched,
        )

    def _post_logs(self, argument: str, body: bytes) -> Any:
        batch = msgspec.json.decode(body, type=LogBatch)
        self.batches.append(batch)
        self._keep(batch.nonce, batch.records)
        return Accepted(watched=self.watched)

    def _post_end(self, argument: str, body: bytes) -> Any:
        end = msgspec.json.decode(body, type=End)
        attempt = self.attempt_of(end.nonce)
        if not attempt or self.fenced:
            return _refuse(409)
        self._keep(end.nonce, end.logs)
        for value in end.xcoms:
            self.xcoms[(value.task_id, value.key, value.map_index)] = value
        self.ends[attempt] = end
        return EndAnswer(accepted=True, state="success", hold_seconds=self.hold_seconds)

    def _put_xcoms(self, argument: str, body: bytes) -> Any:
        for value in msgspec.json.decode(body, type=XComPush).values:
            self.xcoms[(value.task_id, value.key, value.map_index)] = value
        return Accepted()

    def _post_xcoms_pull(self, argument: str, body: bytes) -> Any:
        pull = msgspec.json.decode(body, type=XComPull)
        found = [value for value in self.xcoms.values() if value.task_id in pull.task_ids and value.key == pull.key]
        return XComValues(values=tuple(found))

    def _put_blobs(self, argument: str, body: bytes) -> Any:
        if hashlib.sha256(body).hexdigest() != argument:
            return _refuse(400)
        self.blobs[argument] = body
        return Accepted()

    def _get_blobs(self, argument: str, body: bytes) -> Any:
        return (200, self.blobs[argument]) if argument in self.blobs else _refuse(404)

    def _get_bundles(self, argument: str, body: bytes) -> Any:
        return (200, self.bundles[argument]) if argument in self.bundles else _refuse(404)

    def _get_variables(self, argument: str, body: bytes) -> Any:
        return self.variables.get(argument) or _refuse(404)

    def _put_variables(self, argument: str, body: bytes) -> Any:
        self.variables[argument] = msgspec.json.decode(body, type=SecretValue)
        return Accepted()

    def _delete_variables(self, argument: str, body: bytes) -> Any:
        return Accepted() if self.variables.pop(argument, None) else _refuse(404)

    def _get_connections(self, argument: str, body: bytes) -> Any:
        return self.connections.get(argument) or _refuse(404)

    def _keep(self, nonce: str, records: tuple[LogRecord, ...]) -> None:
        attempt = self.attempt_of(nonce)
        for record in records:
            self.logs[attempt][record.offset] = record


_CODES = {400: "malformed", 401: "token", 404: "not_found", 409: "fenced", 425: "not_yet", 503: "unavailable"}


def _refuse(status: int) -> tuple[int, bytes]:
    refusal = Refusal(code=_CODES.get(status, "unavailable"), message=f"refused by the test with {status}")
    return status, msgspec.json.encode(refusal)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, api: StubApi, unix: str) -> None:
        self.api = api
        if unix:
            self.address_family = socket.AF_UNIX
            self.url = f"unix:{unix}"
        super().__init__(unix or ("127.0.0.1", 0), _Handler)  # type: ignore[arg-type]
        if not unix:
            self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Cut connections are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = False
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.api._sockets.add(self.request)

    def finish(self) -> None:
        self.server.api._sockets.discard(self.request)
        super().finish()

    def address_string(self) -> str:
        return "test"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        api = self.server.api
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if api.down:
            api.refused_connections += 1
            self.close_connection = True
            return
        path = self.path.removeprefix("/worker/v1/")
        call, _, argument = path.partition("/")
        if path == "xcoms/pull":
            call, argument = path, ""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        status, data = api.handle(self.command, call, unquote(argument), body, token)
        api.transcript.append((self.command, path, body, status, data))
        if api.lose_answers[call] > 0:
            api.lose_answers[call] -= 1
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = _serve
