"""The live socket: who may listen, what is heard, and that a burst is heard once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from execplane.loops.wake import WakeBus
from execplane.web.live import MAX_TOPICS, LiveConsumer, hub, wanted_topics

USER = SimpleNamespace(is_authenticated=True)
ANONYMOUS = SimpleNamespace(is_authenticated=False)


class Socket:
    """A browser's end of the socket, over ASGI messages."""

    def __init__(self, user: object) -> None:
        scope = {"type": "websocket", "path": "/ws/live", "headers": [], "subprotocols": [], "user": user}
        communicator: Any = ApplicationCommunicator
        self._asgi: Any = communicator(LiveConsumer.as_asgi(), scope)

    async def open(self) -> None:
        await self._asgi.send_input({"type": "websocket.connect"})
        assert (await self._asgi.receive_output())["type"] == "websocket.accept"

    async def say(self, text: str) -> None:
        await self._asgi.send_input({"type": "websocket.receive", "text": text})

    async def hear(self) -> Any:
        return json.loads((await self._asgi.receive_output())["text"])

    async def closed(self) -> int:
        message = await self._asgi.receive_output()
        assert message["type"] == "websocket.close"
        return int(message["code"])

    async def silent(self) -> bool:
        return bool(await self._asgi.receive_nothing(timeout=0.3))

    async def close(self) -> None:
        await self._asgi.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._asgi.wait()


def talk(conversation: Callable[[Socket], Awaitable[None]], user: object = USER) -> None:
    async def run() -> None:
        socket = Socket(user)
        await socket.open()
        await conversation(socket)
        await socket.close()

    asyncio.run(run())


def test_a_nudge_from_another_thread_reaches_who_asked_for_its_topic() -> None:
    bus = WakeBus()
    detach = hub.attach(bus)

    async def conversation(socket: Socket) -> None:
        await socket.say('{"subscribe": ["run:7", "dags"]}')
        assert await socket.hear() == {"subscribed": 2}
        burst = [f"run:{number}" for number in range(5, 9)] * 20
        threading.Thread(target=bus.publish, args=(burst,)).start()
        assert await socket.hear() == {"topic": "run:7"}
        assert await socket.silent()

    talk(conversation)
    detach()
    assert len(hub) == 0


def test_star_nudges_everybody() -> None:
    async def conversation(socket: Socket) -> None:
        hub.publish("*")
        assert await socket.hear() == {"topic": "*"}

    talk(conversation)


def test_who_is_not_logged_in_is_told_so_and_hears_nothing() -> None:
    async def conversation(socket: Socket) -> None:
        assert await socket.closed() == 4401
        assert len(hub) == 0

    talk(conversation, ANONYMOUS)


def test_what_is_not_a_subscription_ends_the_connection() -> None:
    async def conversation(socket: Socket) -> None:
        await socket.say("hello")
        assert await socket.closed() == 4400

    talk(conversation)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"subscribe": "dags"}', '{"subscribe": [1]}', '{"subscribe": ["Bad Topic"]}', "x" * 99_999],
)
def test_only_short_lists_of_topics_are_subscriptions(text: str) -> None:
    assert wanted_topics(text) is None


def test_topics_may_name_anything_of_ours() -> None:
    assert wanted_topics('{"subscribe": ["dag:my.dag-1", "run:7"]}') == frozenset({"dag:my.dag-1", "run:7"})
    assert wanted_topics(f'{{"subscribe": {["dags"] * (MAX_TOPICS + 1)}}}'.replace("'", '"')) is None
