"""The parser's process: `python -m execplane.parsing.child DESCRIPTOR`.

It loads the sdk once, then forks a child per file: no threads, no connections, and nothing of one file is left for
the next. Its owner talks to it over the socket DESCRIPTOR; when that closes, it and all its children end.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from execplane.contract.process import Frames, frame
from execplane.parsing.importing import Loader, import_and_exit
from execplane.parsing.messages import Done, Job
from execplane.parsing.options import Limits

_READ_BYTES = 1 << 16
_ANSWER_BYTES = 256 << 20
_TAIL_BYTES = 16 << 10
_NICENESS = 5
"""Parsing yields to what runs tasks and decides about them."""


@dataclass(kw_only=True)
class _Child:
    job: Job
    pid: int
    answer: int
    output: int
    started: float
    kill_at: float
    death: str = ""
    status: int = 0
    received: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    printed: int = 0
    cut: bool = False


class Zygote:
    """Forks children for jobs, `limits.processes` at a time, and tells how each ended."""

    def __init__(self, control: socket.socket, limits: Limits, load: Loader) -> None:
        self._control = control
        self._limits = limits
        self._load = load
        self._jobs: deque[Job] = deque()
        self._children: dict[int, _Child] = {}
        self._frames = Frames()
        self._open = True
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)

    def run(self) -> None:
        """Until the owner closes the socket."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        try:
            while self._open:
                while self._jobs and len(self._children) < self._limits.processes:
                    self._fork(self._jobs.popleft())
                for key, _ in self._selector.select(self._patience()):
                    self._ready(key)
                self._kill_late()
                self._reap()
        finally:
            for child in self._children.values():
                _kill_group(child.pid)

    def _ready(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._control:
            self._receive()
        elif key.fileobj == self._wake_read:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        elif (child := self._children.get(key.data)) is not None:
            self._drain(child, key.fd)

    def _receive(self) -> None:
        try:
            data = self._control.recv(_READ_BYTES)
        except OSError:
            data = b""
        self._open = bool(data)
        for body in self._frames.feed(data):
            self._jobs.append(msgspec.msgpack.decode(body, type=Job))

    def _fork(self, job: Job) -> None:
        answer_read, answer_write = os.pipe()
        output_read, output_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._control.close()
            import_and_exit(job, load=self._load, limits=self._limits, answer=answer_write, output=output_write)
        os.close(answer_write)
        os.close(output_write)
        now = time.monotonic()
        self._children[pid] = _Child(
            job=job,
            pid=pid,
            answer=answer_read,
            output=output_read,
            started=now,
            kill_at=now + self._limits.timeout_seconds + self._limits.kill_after_seconds,
        )
        for descriptor in (answer_read, output_read):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, pid)

    def _patience(self) -> float | None:
        if not self._children:
            return None
        return max(0.0, min(child.kill_at for child in self._children.values()) - time.monotonic())

    def _drain(self, child: _Child, descriptor: int) -> bool:
        """Take what is in a child's pipe now; True: there may be more."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            with suppress(KeyError):
                self._selector.unregister(descriptor)
            return False
        if descriptor == child.answer:
            child.received += data
            if len(child.received) > _ANSWER_BYTES:
                self._kill(child, "output")
        else:
            child.printed += len(data)
            child.tail += data
            del child.tail[:-_TAIL_BYTES]
            if child.printed > self._limits.output_bytes:
                self._kill(child, "output")
        return True

    def _kill(self, child: _Child, death: str) -> None:
        if not child.cut:
            child.cut, child.death = True, death
            _kill_group(child.pid)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if now >= child.kill_at:
                self._kill(child, "timeout")

    def _reap(self) -> None:
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._finish(child, status)

    def _finish(self, child: _Child, status: int) -> None:
        # What the file left running must not outlive it, nor hold its pipes open.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        for descriptor in (child.answer, child.output):
            while self._drain(child, descriptor):
                pass
            with suppress(KeyError):
                self._selector.unregister(descriptor)
            os.close(descriptor)
        del self._children[child.pid]
        code = os.waitstatus_to_exitcode(status)
        answered = code == 0 and not child.cut and bool(child.received)
        death = child.death or ("signal" if code < 0 else "exit")
        self._tell(
            Done(
                number=child.job.number,
                answer=bytes(child.received) if answered else b"",
                death="" if answered else death,
                status=abs(code),
                output=bytes(child.tail),
                seconds=round(time.monotonic() - child.started, 4),
            )
        )

    def _tell(self, done: Done) -> None:
        try:
            self._control.sendall(frame(done))
        except OSError:
            self._open = False


def _kill_group(pid: int) -> None:
    # The group exists once the child has called setsid; before that only the child itself can be hit.
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _first_frame(control: socket.socket) -> bytes:
    frames = Frames()
    while data := control.recv(1 << 16):
        for body in frames.feed(data):
            return body
    raise SystemExit(0)


def _find_loader(name: str) -> Loader:
    module, _, function = name.partition(":")
    loader: Loader = getattr(importlib.import_module(module), function)
    return loader


def _preload(name: str) -> None:
    """Import a module, or all of a package. One that does not import here is left to the file that wants it."""
    package = name.removesuffix(".*")
    with suppress(ImportError):
        module = importlib.import_module(package)
        if package != name:
            for found in pkgutil.walk_packages(module.__path__, f"{package}."):
                _preload(found.name)


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    limits = msgspec.msgpack.decode(_first_frame(control), type=Limits)
    os.nice(_NICENESS)
    load = _find_loader(limits.loader)
    for name in limits.preload:
        _preload(name)
    # DAG files must not see what only served to find execplane itself.
    if ours := os.environ.pop("EXECPLANE_PARSER_PATH", ""):
        sys.path.remove(ours)
        os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].removeprefix(ours).lstrip(os.pathsep)
    gc.collect()
    gc.freeze()
    control.sendall(frame(Done(number=0)))
    Zygote(control, limits, load).run()


if __name__ == "__main__":
    main()
