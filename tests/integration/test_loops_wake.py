"""The wake bus between processes: datagrams beside SQLite, NOTIFY on PostgreSQL; it never fails a commit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.db import connection

from execplane.loops.wake import DatagramTransport, ListenTransport, WakeBus
from execplane.store.database import NOTIFY_CHANNEL, is_postgresql, nudge, set_publisher, write
from tests.integration.deployment_part import database_url, lines, logs, process
from tests.parts.eventually import eventually


def heard_by(bus: WakeBus) -> list[str]:
    topics: list[str] = []
    bus.subscribe(topics.append)
    return topics


def pair(folder: Path) -> tuple[WakeBus, WakeBus]:
    one, other = WakeBus(), WakeBus()
    for bus in (one, other):
        bus.transport = DatagramTransport(bus, folder)
    return one, other


def close(*buses: WakeBus) -> None:
    for bus in buses:
        assert bus.transport is not None
        bus.transport.close()


def test_a_datagram_wakes_the_other_process_and_the_own_subscribers(tmp_path: Path) -> None:
    one, other = pair(tmp_path / "wake")
    here, there = heard_by(one), heard_by(other)

    one.publish(["driver", "run:1"])

    eventually(lambda: there == ["driver", "run:1"], 10)
    assert here == ["driver", "run:1"]
    close(one, other)
    assert os.listdir(tmp_path / "wake") == []


def test_a_home_however_deep_has_room_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 12)
    one, other = pair(deep)
    there = heard_by(other)

    one.publish(["driver"])

    eventually(lambda: there, 10)
    close(one, other)


def test_the_socket_of_a_dead_process_is_removed_by_whoever_sends_to_it(tmp_path: Path) -> None:
    import socket

    one, other = pair(tmp_path)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(tmp_path / "dead"))
    dead.close()
    there = heard_by(other)

    one.publish(["driver"])

    eventually(lambda: there, 10)
    assert not (tmp_path / "dead").exists()
    close(one, other)


def test_more_topics_than_a_datagram_holds_wake_everybody(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    there = heard_by(other)

    one.publish([f"attempt:{number}" for number in range(10_000)])

    eventually(lambda: there == ["*"], 10)
    close(one, other)


def test_a_bus_that_cannot_send_fails_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = pair(tmp_path)
    here = heard_by(one)
    close(one, other)

    one.publish(["driver"])

    assert here == ["driver"]
    assert "could not be woken" in caplog.text


def test_a_subscriber_that_fails_keeps_no_other_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    bus = WakeBus()

    def broken(topic: str) -> None:
        raise ValueError("no")

    bus.subscribe(broken)
    topics = heard_by(bus)

    bus.publish(["driver"])

    assert topics == ["driver"]


@pytest.mark.django_db(transaction=True)
def test_a_commit_in_one_process_wakes_another(tmp_path: Path) -> None:
    with process("listener", tmp_path):
        eventually(lambda: lines(tmp_path, "ready"), on_failure=lambda: logs(tmp_path))
        with process("publisher", tmp_path, "driver", "run:7"):

            def heard() -> bool:
                return {"driver", "run:7"} <= {line["topic"] for line in lines(tmp_path, "heard")}

            eventually(heard, on_failure=lambda: logs(tmp_path))


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_wakes_nobody() -> None:
    bus = WakeBus()
    topics = heard_by(bus)
    set_publisher(bus.publish, bus.origin)

    def fail() -> None:
        with write():
            nudge("driver")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with write():
        nudge("scheduler")
    set_publisher(None)

    assert topics == ["scheduler"]


def backends() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()")
        return [row[0] for row in cursor.fetchall()]


if is_postgresql():  # beside SQLite there is no connection to cut; the datagrams' failures are tested above

    @pytest.mark.django_db(transaction=True)
    def test_a_listener_that_was_cut_off_comes_back_and_everybody_looks_once() -> None:
        bus = WakeBus()
        topics = heard_by(bus)
        transport = ListenTransport(bus, database_url(), NOTIFY_CHANNEL, retry_seconds=0.1)
        eventually(lambda: topics == ["*"], 10)
        set_publisher(lambda _: None, "somebody else")
        with connection.cursor() as cursor:
            for pid in backends():
                cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        eventually(lambda: topics == ["*", "*"], 20)

        with write():
            nudge("driver")
        eventually(lambda: topics[2:] == ["driver"], 10)

        with write():
            nudge(*[f"attempt:{number}" for number in range(2000)])
        eventually(lambda: topics[3:] == ["*"], 10)
        set_publisher(None)
        transport.close()
