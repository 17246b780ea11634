"""Live pages: a browser names topics, the wake bus nudges, the page fetches again what carries the topic.

Data never travels on the socket, so it needs no permissions of its own beyond the login, and a lost nudge costs at
most one poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable
from typing import Any, Protocol

from channels.generic.websocket import AsyncWebsocketConsumer

ANY = "*"
MAX_TOPICS = 400
MAX_MESSAGE_CHARS = 64_000
COALESCE_SECONDS = 0.1
_TOPIC = re.compile(r"^[a-z][a-z-]*(:[^\s\"]{1,260})?$")


class Bus(Protocol):
    def subscribe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """`callback(topic)` comes from any thread; gives the function that ends it."""


class Connection:
    """One browser's interests, and the nudges not sent yet. `nudge` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.topics: frozenset[str] = frozenset()
        self._loop = loop
        self._pending: set[str] = set()
        self._awake = asyncio.Event()

    def nudge(self, topic: str) -> None:
        if topic == ANY or topic in self.topics:
            # A loop that is closing refuses; its browser is going away with it.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._add, topic)

    def _add(self, topic: str) -> None:
        self._pending.add(topic)
        self._awake.set()

    async def next(self) -> list[str]:
        """Waits for nudges; a burst of one topic comes as one."""
        await self._awake.wait()
        await asyncio.sleep(COALESCE_SECONDS)
        self._awake.clear()
        found, self._pending = sorted(self._pending), set()
        return found


class LiveHub:
    """All browsers of this process. The bus calls it from any thread."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Feed from a bus; gives the function that ends it."""
        return bus.subscribe(self.publish)

    def publish(self, topic: str) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.nudge(topic)

    def add(self, connection: Connection) -> None:
        with self._lock:
            self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    def __len__(self) -> int:
        with self._lock:
            return len(self._connections)


hub = LiveHub()
"""The process's one hub."""


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """/ws/live. From the browser {"subscribe": [topic, …]} (replaces the earlier list); to it {"topic": …}."""

    async def connect(self) -> None:
        self._connection = Connection(asyncio.get_running_loop())
        self._sender: asyncio.Task[None] | None = None
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            # Accepted first: a browser learns a close code only from an open socket, and must not retry this.
            await self.accept()
            await self.close(code=4401)
            return
        await self.accept()
        hub.add(self._connection)
        self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            for topic in await self._connection.next():
                await self.send(text_data=json.dumps({"topic": topic}))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        topics = wanted_topics(text_data or "")
        if topics is None:
            await self.close(code=4400)
            return
        self._connection.topics = topics
        await self.send(text_data=json.dumps({"subscribed": len(topics)}))

    async def disconnect(self, code: int) -> None:
        hub.remove(self._connection)
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender


def wanted_topics(text: str) -> frozenset[str] | None:
    """The topics of a subscribe message; None when it is not one. Pure."""
    if len(text) > MAX_MESSAGE_CHARS:
        return None
    try:
        message: Any = json.loads(text)
    except ValueError:
        return None
    topics = message.get("subscribe") if isinstance(message, dict) else None
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        return None
    if not all(isinstance(topic, str) and _TOPIC.match(topic) for topic in topics):
        return None
    return frozenset(topics)
