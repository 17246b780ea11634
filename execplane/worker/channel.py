"""What stands between the supervisor and the task's process: made before the fork, inherited, nothing named.

- a socket of whole messages (SEQPACKET): any process or thread of the task may write a log line without tearing
  another's, and the order of print and logging survives;
- two pipes as stdout and stderr, for what subprocesses and C code write;
- a memory file for the briefing, and a pipe that tells that it is there: what the task's process waits for before it
  begins, and what the supervisor must not wait for, as nothing ends a task that hangs before the first heartbeat;
- a memory file for the result, which may be large and must be whole or absent;
- a page of shared memory with the attempt token, which the supervisor's heartbeats renew.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
from datetime import datetime
from typing import Any

import msgspec

from execplane.contract.messages import ErrorInfo, XComValue

_PIECE_CHARS = 16 * 1024
"""At most four bytes each, so that a message stays far below the socket's buffer (about 200 KiB)."""
MESSAGE_BYTES = 256 * 1024


class Line(msgspec.Struct, frozen=True, kw_only=True, tag="line"):
    """Something logged or printed; the message may hold several lines."""

    at: datetime
    message: str
    level: str = "INFO"
    logger: str = ""
    stream: str = "log"


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The DAG file is loaded, user code begins; after `timeout_seconds` it must be over."""

    at: datetime
    timeout_seconds: float | None = None


class Rendered(msgspec.Struct, frozen=True, kw_only=True, tag="rendered"):
    """The rendered template fields."""

    fields: dict[str, Any]


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The result file is written; the process is about to exit."""


Message = Line | Started | Rendered | Done
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the task's process says about its end; fields as in messages.End."""

    outcome: str
    reason: str = ""
    error: ErrorInfo | None = None
    xcoms: tuple[XComValue, ...] = ()
    map_length: int | None = None
    map_label: str = ""
    skip: tuple[str, ...] = ()
    reschedule_at: datetime | None = None
    rendered: dict[str, Any] | None = None


class TokenPage:
    """One token in shared memory. Two slots and a switch: a reader never sees half of a new one, since renewals
    are minutes apart."""

    _SLOT_BYTES = 16 * 1024
    _LENGTH = struct.Struct("<I")

    def __init__(self, token: str) -> None:
        self._memory = mmap.mmap(-1, 1 + 2 * self._SLOT_BYTES)
        self.write(token)

    def write(self, token: str) -> None:
        data = token.encode()
        if len(data) > self._SLOT_BYTES - self._LENGTH.size:
            raise ValueError("an attempt token is at most 16 KiB")
        slot = 1 - self._memory[0]
        at = 1 + slot * self._SLOT_BYTES
        self._memory[at : at + self._LENGTH.size + len(data)] = self._LENGTH.pack(len(data)) + data
        self._memory[0] = slot

    def read(self) -> str:
        at = 1 + self._memory[0] * self._SLOT_BYTES
        (length,) = self._LENGTH.unpack_from(self._memory, at)
        start = at + self._LENGTH.size
        return self._memory[start : start + length].decode()


class ChildEnd:
    """The task's side. Safe from any thread and from processes that the task forks."""

    def __init__(
        self, sock: socket.socket, briefed_fd: int, briefing_fd: int, result_fd: int, token: TokenPage
    ) -> None:
        self._sock = sock
        self._briefed_fd = briefed_fd
        self._briefing_fd = briefing_fd
        self._result_fd = result_fd
        self.token = token

    def briefing(self) -> bytes:
        """Waits for it, once; b"": there is none, because the supervisor has gone."""
        with open(self._briefed_fd, "rb") as told, open(self._briefing_fd, "rb") as file:
            if not told.read(1):
                return b""
            file.seek(0)
            briefing = file.read()
            os.ftruncate(file.fileno(), 0)  # the supervisor holds it, too, and neither needs it any more
            return briefing

    def line(self, message: str, *, at: datetime, level: str = "INFO", logger: str = "", stream: str = "log") -> None:
        for piece in _pieces(message):
            self.send(Line(at=at, message=piece, level=level, logger=logger, stream=stream))

    def send(self, message: Message) -> bool:
        """False when the message is too large or nobody listens any more."""
        try:
            self._sock.sendall(msgspec.msgpack.encode(message))
        except OSError:
            return False
        return True

    def finish(self, result: Result) -> None:
        """Leave the result. Nothing that follows can change it."""
        data = msgspec.json.encode(result)
        with open(os.dup(self._result_fd), "wb") as file:
            file.write(data)
        self.send(Done())


class Channel:
    """The supervisor's side, and the factory of the child's."""

    def __init__(self, token: str) -> None:
        self.sock, self._child_sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self._child_briefed, self._briefed_fd = os.pipe()
        self._briefing_fd = os.memfd_create("execplane-briefing")
        self._result_fd = os.memfd_create("execplane-result")
        self.stdout_fd, self._child_stdout = os.pipe()
        self.stderr_fd, self._child_stderr = os.pipe()
        os.set_blocking(self.stdout_fd, False)
        os.set_blocking(self.stderr_fd, False)
        self.token = TokenPage(token)

    def into_child(self) -> ChildEnd:
        """In the child, after the fork: the supervisor's ends are closed, stdin, stdout and stderr replaced."""
        self.sock.close()
        for fd in (self.stdout_fd, self.stderr_fd, self._briefed_fd):
            os.close(fd)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (self._child_stdout, 1), (self._child_stderr, 2)):
            os.dup2(source, target)
            os.close(source)
        return self.child_end()

    def child_end(self) -> ChildEnd:
        return ChildEnd(self._child_sock, self._child_briefed, self._briefing_fd, self._result_fd, self.token)

    def into_supervisor(self) -> None:
        """In the supervisor, after the fork."""
        self._child_sock.close()
        for fd in (self._child_stdout, self._child_stderr, self._child_briefed):
            os.close(fd)

    def brief(self, briefing: bytes) -> None:
        """Once, and without waiting for the child. One that has died meanwhile is seen when it is reaped."""
        with open(self._briefing_fd, "wb", closefd=False) as file:
            file.write(briefing)
        fd, self._briefed_fd = self._briefed_fd, -1
        with contextlib.suppress(BrokenPipeError), open(fd, "wb", buffering=0) as told:
            told.write(b"\0")

    def receive(self) -> Message | None:
        """The next message, None when there is none now. Raises EOFError when nobody can write one any more."""
        try:
            data = self.sock.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            raise EOFError from None
        if not data:
            raise EOFError
        return _decoder.decode(data)

    def result(self) -> Result | None:
        """What the child left, once it is dead; None when it did not get that far."""
        os.lseek(self._result_fd, 0, os.SEEK_SET)
        with open(self._result_fd, "rb", closefd=False) as file:
            data = file.read()
        try:
            return msgspec.json.decode(data, type=Result)
        except msgspec.DecodeError:
            return None

    def close(self) -> None:
        self.sock.close()
        for fd in (self.stdout_fd, self.stderr_fd, self._briefed_fd, self._briefing_fd, self._result_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def _pieces(message: str) -> list[str]:
    if len(message) <= _PIECE_CHARS:
        return [message]
    return [
        line[start : start + _PIECE_CHARS]
        for line in message.split("\n")
        for start in range(0, max(len(line), 1), _PIECE_CHARS)
    ]
