"""The live socket: who may listen, what is heard, and that a burst is heard once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from execplane.loops.wake import WakeBus
from execplane.web.live import MAX_TOPICS, LiveConsumer, hub, wanted_topics

USER = SimpleNamespace(is_authenticated=True)
ANONYMOUS = SimpleNamespace(is_authenticated=False)


def talk(conversation: Callable[[Any], Awaitable[None]], user: object = USER) -> None:
    async def run() -> None:
        socket = WebsocketCommunicator(LiveConsumer.as_asgi(), "/ws/live")
        socket.scope["user"] = user
        connected, _ = await socket.connect()
        assert connected
        await conversation(socket)
        await socket.disconnect()

    asyncio.run(run())


def test_a_nudge_from_another_thread_reaches_who_asked_for_its_topic() -> None:
    bus = WakeBus()
    detach = hub.attach(bus)

    async def conversation(socket: Any) -> None:
        await socket.send_json_to({"subscribe": ["run:7", "dags"]})
        assert await socket.receive_json_from() == {"subscribed": 2}
        burst = [f"run:{number}" for number in range(5, 9)] * 20
        threading.Thread(target=bus.publish, args=(burst,)).start()
        assert await socket.receive_json_from() == {"topic": "run:7"}
        assert await socket.receive_nothing(timeout=0.3)

    talk(conversation)
    detach()
    assert len(hub) == 0


def test_star_nudges_everybody() -> None:
    async def conversation(socket: Any) -> None:
        hub.publish("*")
        assert await socket.receive_json_from() == {"topic": "*"}

    talk(conversation)


def test_who_is_not_logged_in_is_told_so_and_hears_nothing() -> None:
    async def conversation(socket: Any) -> None:
        assert (await socket.receive_output())["code"] == 4401
        assert len(hub) == 0

    talk(conversation, ANONYMOUS)


def test_what_is_not_a_subscription_ends_the_connection() -> None:
    async def conversation(socket: Any) -> None:
        await socket.send_to(text_data="hello")
        assert (await socket.receive_output())["code"] == 4400

    talk(conversation)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"subscribe": "dags"}', '{"subscribe": [1]}', '{"subscribe": ["Bad Topic"]}', "x" * 99_999],
)
def test_only_short_lists_of_topics_are_subscriptions(text: str) -> None:
    assert wanted_topics(text) is None


def test_topics_may_name_anything_of_ours() -> None:
    assert wanted_topics('{"subscribe": ["dag:my.dag-1", "run:7"]}') == {"dag:my.dag-1", "run:7"}
    assert wanted_topics(f'{{"subscribe": {["dags"] * (MAX_TOPICS + 1)}}}'.replace("'", '"')) is None
