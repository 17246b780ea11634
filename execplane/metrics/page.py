"""`/metrics`: what Prometheus scrapes, as a small ASGI application. No login: it holds numbers, no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PATH = "/metrics"

_Message = MutableMapping[str, Any]


class MetricsPage:
    """`text` gives the samples and their content type for an Accept header; it runs on a thread, as it may be long."""

    def __init__(self, text: Callable[[str], tuple[bytes, str]]) -> None:
        self._text = text

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"Use GET.\n", "text/plain; charset=utf-8")
            return
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        body, content_type = await asyncio.to_thread(self._text, accept)
        await _answer(send, 200, body, content_type, head=scope["method"] == "HEAD")


async def _answer(
    send: Callable[[_Message], Awaitable[None]], status: int, body: bytes, content_type: str, *, head: bool = False
) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
