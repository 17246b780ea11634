"""The wake bus: topics that travel between the processes of one deployment, so that nobody has to poll.

A wake carries a topic and never data; a lost one costs at most a loop's safety poll. Beside SQLite each process
binds a Unix datagram socket in a folder of home, and publishing sends to all of them; on PostgreSQL the store's
transactions NOTIFY, and each process LISTENs on a direct connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

Callback = Callable[[str], None]
ANY = "*"
_MAX_DATAGRAM_BYTES = 60_000


class WakeBus:
    """Delivery inside this process; a transport, when there is one, carries topics to and from other processes."""

    def __init__(self) -> None:
        self.origin = secrets.token_hex(8)
        self._callbacks: list[Callback] = []
        self._lock = threading.Lock()
        self.transport: Transport | None = None

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """`callback(topic)` runs in whatever thread the wake comes from, must not block, and may get "*" (all).
        Gives the function that ends the subscription."""
        with self._lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    def publish(self, topics: Sequence[str]) -> None:
        """Wake the subscribers of this process, then the other processes."""
        self.deliver(topics)
        if self.transport is not None:
            try:
                self.transport.send(topics)
            except OSError:
                # What was published is committed already; the others poll.
                log.warning("other processes could not be woken", exc_info=True)

    def deliver(self, topics: Sequence[str]) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            for topic in topics:
                try:
                    callback(topic)
                except Exception:
                    log.exception("a wake subscriber failed on %s", topic)


class Transport:
    """Carries topics between processes."""

    def send(self, topics: Sequence[str]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class DatagramTransport(Transport):
    """Unix datagrams beside SQLite: one socket a process in `folder`; a dead process's socket is removed."""

    def __init__(self, bus: WakeBus, folder: Path) -> None:
        self._bus = bus
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Socket paths are limited to 107 bytes, so we go by a descriptor of the folder, however deep home lies.
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._name = f"{os.getpid()}.{bus.origin}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address(self._name))
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._closed = False
        self._thread = threading.Thread(target=self._receive, name="wake", daemon=True)
        self._thread.start()

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._directory}/{name}"

    def send(self, topics: Sequence[str]) -> None:
        names = [name for name in os.listdir(self._directory) if name != self._name]
        if not names:
            return
        payload = msgspec.json.encode(list(topics))
        if len(payload) > _MAX_DATAGRAM_BYTES:
            payload = msgspec.json.encode([ANY])
        for name in names:
            try:
                self._sender.sendto(payload, self._address(name))
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=self._directory)
            except OSError:
                # A full buffer: that process has wakes to read anyway.
                continue

    def _receive(self) -> None:
        while not self._closed:
            try:
                payload = self._socket.recv(65536)
            except OSError:
                return
            if payload:
                with contextlib.suppress(msgspec.DecodeError):
                    self._bus.deliver(msgspec.json.decode(payload, type=list[str]))

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._sender.sendto(b"", self._address(self._name))
        self._thread.join(timeout=2)
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory)
        self._socket.close()
        self._sender.close()
        os.close(self._directory)


class ListenTransport(Transport):
    """PostgreSQL: sending is the store's NOTIFY inside the transaction; here we LISTEN, and come back when cut."""

    def __init__(self, bus: WakeBus, conninfo: str, channel: str, *, retry_seconds: float = 1.0) -> None:
        self._bus = bus
        self._conninfo = conninfo
        self._channel = channel
        self._retry_seconds = retry_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wake", daemon=True)
        self._thread.start()

    def send(self, topics: Sequence[str]) -> None:
        """Nothing: the transaction has notified already."""

    def _run(self) -> None:
        import psycopg

        while not self._stop.is_set():
            try:
                # Keepalives: a connection that a firewall forgot would otherwise be listened to for ever.
                with psycopg.connect(
                    self._conninfo, autocommit=True, connect_timeout=10, keepalives_idle=30, keepalives_interval=10
                ) as connection:
                    connection.execute(f'LISTEN "{self._channel}"')
                    # What happened while we were away is unknown: everybody looks once.
                    self._bus.deliver([ANY])
                    while not self._stop.is_set():
                        for notification in connection.notifies(timeout=1.0):
                            self._hear(notification.payload)
            except psycopg.Error as error:
                log.warning("wakes are cut off, loops poll meanwhile: %s", str(error).splitlines()[:1])
                self._stop.wait(self._retry_seconds)

    def _hear(self, payload: str) -> None:
        try:
            origin, *topics = msgspec.json.decode(payload, type=list[str])
        except (msgspec.DecodeError, ValueError):
            return
        if origin != self._bus.origin:
            self._bus.deliver(topics)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=3)
