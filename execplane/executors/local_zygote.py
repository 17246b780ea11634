"""The executor's end of the zygote: starting it, writing to it without blocking, reading what it reports."""

from __future__ import annotations

import os
import site
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

import execplane
from execplane.contract.process import AUTHORS_PREFIXES, WORKER_MARK, Frames, Spawn, ZygoteReport, frame
from execplane.executors.local_options import LocalOptions

_READ_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20
_decoder: msgspec.msgpack.Decoder[ZygoteReport] = msgspec.msgpack.Decoder(ZygoteReport)


class ZygoteProcess:
    """One zygote. Reports come from `read` when `fileno` is readable; None from it means that the zygote is dead."""

    def __init__(self, options: LocalOptions) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            # A session of its own: a Ctrl-C or a closed terminal is the executor's to handle.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "execplane.worker.zygote"),
                    *(str(theirs.fileno()), options.worker_options),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment(os.environ, options.environment),
                start_new_session=True,
            )
        ours.setblocking(False)
        self._socket = ours
        self._frames = Frames()
        self._unsent = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def fileno(self) -> int:
        return self._socket.fileno()

    def spawn(self, spawn: Spawn) -> None:
        """Queue it; `flush` sends."""
        self._unsent += frame(spawn)

    def flush(self) -> None:
        """Write what the socket takes now. A dead zygote shows in `read`."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def read(self) -> Iterator[ZygoteReport] | None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return iter(())
        except OSError:
            return None
        if not data:
            return None
        return (_decoder.decode(body) for body in self._frames.feed(data))

    def close(self) -> None:
        """Let go: the zygote sees the end of the socket and leaves; its children stay."""
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def environment(source: Mapping[str, str], kept: tuple[str, ...]) -> dict[str, str]:
    """What tasks may see of our environment: all but our own settings, which hold the database's password and the
    keys. Variables and Connections that are set by environment stay. The mark of a worker goes: an executor that a task
    started (an upgrade of itself) is not that worker's, or its zygote would be killed with what that one left."""
    found = {
        name: value
        for name, value in source.items()
        if name != WORKER_MARK
        and (not name.startswith("EXECPLANE_") or name.startswith(AUTHORS_PREFIXES) or name in kept)
    }
    root = str(Path(execplane.__file__).parent.parent)
    if root not in site.getsitepackages():
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [root, found.get("PYTHONPATH", "")]))
    return found
