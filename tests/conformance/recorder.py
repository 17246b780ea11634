"""A witness outside execplane: tasks keep a connection to it open for as long as they, or anything they started, live.

So it knows from the kernel, and not from our own tables, how often a task was started and when it was dead.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(eq=False)
class Visit:
    """One start of user code. Times are monotonic seconds."""

    run_id: str
    task_id: str
    try_number: int
    who: str
    """The pod's uid, or the process's id on this machine."""
    began: float
    reply: Any
    ended: float | None = None
    notes: list[str] = field(default_factory=list)
    """What the task said later: "on_kill", say."""

    def release(self) -> None:
        """Let the task go on, if it waits."""
        self.reply(b"go\n")


class Recorder:
    """Listens on every address of this machine; pods reach it at the host's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: list[Visit] = []
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def visits(self, run_id: str, task_id: str = "work") -> list[Visit]:
        """In the order of their beginning."""
        with self.lock:
            return [visit for visit in self.all if (visit.run_id, visit.task_id) == (run_id, task_id)]

    def visits_of_run(self, run_id: str) -> list[Visit]:
        with self.lock:
            return [visit for visit in self.all if visit.run_id == run_id]

    def most_at_once(self, run_id: str) -> int:
        """How many tasks of the run were alive at the same time."""
        visits = self.visits_of_run(run_id)
        steps = [(visit.began, 1) for visit in visits]
        steps += [(visit.ended, -1) for visit in visits if visit.ended is not None]
        now = most = 0
        for _, step in sorted(steps):
            now += step
            most = max(most, now)
        return most


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__(("0.0.0.0", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed task resets its connection: that is what we are here for."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def setup(self) -> None:
        super().setup()
        # A pod's network goes with it, sometimes before the kernel has said goodbye for its processes.
        for option, number in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
            self.request.setsockopt(socket.IPPROTO_TCP, option, number)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def handle(self) -> None:
        first: dict[str, Any] = json.loads(self.rfile.readline())
        visit = Visit(**first, began=time.monotonic(), reply=self.request.sendall)
        with self.server.recorder.lock:
            self.server.recorder.all.append(visit)
        try:
            for line in self.rfile:
                visit.notes.append(line.decode().strip())
        except OSError:
            pass
        finally:
            visit.ended = time.monotonic()
