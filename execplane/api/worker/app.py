"""The worker API as an ASGI application: read the request, answer on a thread of our own.

Threads keep their database connections, and nothing of Django's request machinery is involved: a claim costs about
as much as its transaction. Request bodies are bounded; blobs are streamed, never held in memory whole.
"""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from django.db import DatabaseError, DataError, InterfaceError, connections

from execplane import metrics
from execplane.actions.worker import Fenced, NotYet, UnknownProtocol
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import (
    Conflict,
    ExecplaneError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
)
from execplane.contract.messages import Refusal

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREFIX = "/worker/v1/"
MOST_BODY_BYTES = 16 << 20
_MOST_DRAINED_BYTES = 256 << 20
"""Of a body that is too large, read to its end so that its sender gets to see the refusal."""
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call. `chunks` streams the body where the route wants it so; else `body` has it."""

    method: str
    path: tuple[str, ...]
    token: str
    body: bytes = b""
    chunks: Iterator[bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class FileAnswer:
    """A file as the answer, streamed."""

    path: Path
    content_type: str = "application/octet-stream"


Handler = Callable[[Request], Any]
"""Gives a msgspec Struct, or a FileAnswer."""

_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (NotYet, 425, "not_yet"),
    (Fenced, 409, "fenced"),
    (Forbidden, 401, "token"),
    (NotFound, 404, "not_found"),
    (UnknownProtocol, 400, "protocol"),
    (InvalidInput, 400, "malformed"),
    (Conflict, 409, "fenced"),
    (Unavailable, 503, "unavailable"),
)


class WorkerApp:
    """Dispatches to `route(method, path)`; see `routes`."""

    def __init__(self, handler: Handler, *, threads: int = 4, clock: Clock | None = None) -> None:
        self._handler = handler
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="worker-api")
        # A blob takes its sender's time: slow senders must not keep heartbeats and ends waiting.
        self._streams = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="worker-api-blobs")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = tuple(part for part in _path(scope).removeprefix(PREFIX).split("/") if part)
        request_token = _bearer(scope)
        if scope["method"] == "PUT" and path[:1] == ("blobs",):
            await self._streamed(scope, receive, send, path, request_token)
            return
        body = await _read(receive)
        if body is None:
            refusal = Refusal(code="too_large", message=f"A request has at most {MOST_BODY_BYTES} bytes.")
            await _answer(send, 413, msgspec.json.encode(refusal))
            return
        request = Request(method=scope["method"], path=path, token=request_token, body=body)
        await self._run(request, send)

    async def _run(self, request: Request, send: Send) -> None:
        loop = asyncio.get_running_loop()
        started = self._clock.monotonic()
        status, payload = await loop.run_in_executor(self._threads, self._call, request)
        _measure(request, status, self._clock.monotonic() - started)
        if isinstance(payload, FileAnswer):
            await _send_file(send, payload)
        else:
            await _answer(send, status, payload)

    async def _streamed(self, scope: Scope, receive: Receive, send: Send, path: tuple[str, ...], token: str) -> None:
        """The body goes to the handler's thread through a bounded queue."""
        parts: queue.Queue[bytes | None] = queue.Queue(maxsize=8)

        def chunks() -> Iterator[bytes]:
            while (part := parts.get()) is not None:
                yield part

        request = Request(method="PUT", path=path, token=token, chunks=chunks())
        started = self._clock.monotonic()
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(self._streams, self._call, request)
        more = True
        while more:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            part = message.get("body", b"")
            while not answer.done():
                try:
                    if part:
                        parts.put_nowait(part)
                    break
                except queue.Full:
                    await asyncio.sleep(0.005)
        while not answer.done():
            try:
                parts.put_nowait(None)
                break
            except queue.Full:
                await asyncio.sleep(0.005)
        status, payload = await answer
        _measure(request, status, self._clock.monotonic() - started)
        await _answer(send, status, payload)

    def _call(self, request: Request) -> tuple[int, Any]:
        """On a thread: the handler's answer, or a refusal that says why."""
        try:
            answer = self._handler(request)
        except ExecplaneError as error:
            status, code = next(
                ((status, code) for kind, status, code in _STATUS if isinstance(error, kind)), (500, "unavailable")
            )
            return status, msgspec.json.encode(Refusal(code=code, message=error.message, hint=error.hint))
        except msgspec.ValidationError as error:
            return 400, msgspec.json.encode(Refusal(code="malformed", message=f"The request is malformed: {error}."))
        except msgspec.DecodeError as error:
            return 400, msgspec.json.encode(Refusal(code="malformed", message=f"The request is not JSON: {error}."))
        except RecursionError:
            return 400, msgspec.json.encode(Refusal(code="malformed", message="The request is nested too deeply."))
        except (DataError, OverflowError) as error:
            log.warning("the worker API was sent what the database cannot hold: %s", error)
            sentence = "The request holds what the database cannot keep: a text too long or with a NUL, or a number."
            return 400, msgspec.json.encode(Refusal(code="malformed", message=sentence))
        except (DatabaseError, InterfaceError) as error:
            connections.close_all()
            log.warning("the worker API lost the database: %s", error)
            refusal = Refusal(code="unavailable", message="The database does not answer; try again.")
            return 503, msgspec.json.encode(refusal)
        except Exception:
            log.exception("the worker API failed on %s %s", request.method, "/".join(request.path))
            refusal = Refusal(code="unavailable", message="The worker API failed; its log says why.")
            return 503, msgspec.json.encode(refusal)
        return 200, answer if isinstance(answer, FileAnswer) else msgspec.json.encode(answer)

    def close(self) -> None:
        for threads in (self._threads, self._streams):
            threads.shutdown(wait=False, cancel_futures=True)


_ROUTES = frozenset({"claim", "heartbeat", "end", "logs", "xcoms", "variables", "connections", "bundles", "blobs"})


def _measure(request: Request, status: int, seconds: float) -> None:
    """By the first part of the path, where it is one of ours: what follows are keys, and strangers send anything."""
    route = request.path[0] if request.path and request.path[0] in _ROUTES else "other"
    metrics.current().count("execplane_worker_api_requests_total", route=route, status=str(status))
    metrics.current().observe("execplane_worker_api_request_seconds", seconds, route=route)


def _path(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode()
    return str(raw.decode("ascii", "replace").split("?")[0])


def _bearer(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return str(token.strip()) if kind.lower() == "bearer" else ""
    return ""


async def _read(receive: Receive) -> bytes | None:
    """The body; None: it is too large (and was read all the same: who still sends hears no answer)."""
    body = bytearray()
    size = 0
    more = True
    while more and size <= _MOST_DRAINED_BYTES:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_BODY_BYTES:
            body += part
        else:
            body.clear()
    return bytes(body) if size <= MOST_BODY_BYTES else None


async def _answer(send: Send, status: int, payload: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})


async def _send_file(send: Send, answer: FileAnswer) -> None:
    size = answer.path.stat().st_size
    headers = [(b"content-type", answer.content_type.encode()), (b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    with answer.path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
