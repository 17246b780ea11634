"""Watches over the task's process: reads its output, passes on orders, kills it when it must, and reaps it.

One thread and one poll. The courier thread talks to the API meanwhile; neither waits for the other.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from execplane.contract.clock import Clock
from execplane.contract.messages import ClaimAnswer
from execplane.contract.process import kill_descendants, memory_limit_bytes, oom_kills
from execplane.worker.channel import Channel, Done, Line, Message, Rendered, Started
from execplane.worker.endings import Death
from execplane.worker.heartbeat import Courier
from execplane.worker.logs import LineCutter, LogBook
from execplane.worker.options import WorkerOptions

_READ_BYTES = 64 * 1024
_MESSAGES_PER_TURN = 500
_LONGEST_POLL_SECONDS = 60.0
_READABLE = select.POLLIN | select.POLLHUP


class Signals:
    """SIGTERM and SIGCHLD as something to poll for. To be made and used in the main thread."""

    def __init__(self) -> None:
        self.terminated = False
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        # Without a handler of Python's, SIGCHLD would not reach the wakeup descriptor.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._terminate)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)

    def _terminate(self, number: int, frame: Any) -> None:
        self.terminated = True

    def fileno(self) -> int:
        return self._read.fileno()

    def nudge(self) -> None:
        """End a poll, from any thread."""
        with contextlib.suppress(BlockingIOError):
            self._write.send(b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass

    def wait(self, seconds: float) -> bool:
        """Sleep so long; True, perhaps early, once SIGTERM has come."""
        if not self.terminated:
            self.sleep(seconds)
        return self.terminated

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or until the next signal."""
        select.select([self._read], [], [], seconds)
        self.clear()

    def forget(self) -> None:
        """In a child: default handling again."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._read.close()
        self._write.close()


@dataclass
class Seen:
    """What became known of the task's process."""

    started_at: datetime | None = None
    rendered: dict[str, Any] | None = None
    peak_memory_bytes: int | None = None


class Supervisor:
    """One task's process, from its fork to its reaping."""

    def __init__(
        self,
        pid: int,
        channel: Channel,
        signals: Signals,
        courier: Courier,
        book: LogBook,
        claim: ClaimAnswer,
        *,
        options: WorkerOptions,
        clock: Clock,
        sigterm_reason: str,
    ) -> None:
        self._pid = pid
        self._channel = channel
        self._signals = signals
        self._courier = courier
        self._book = book
        self._claim = claim
        self._options = options
        self._clock = clock
        self._sigterm_reason = sigterm_reason
        self._cutters = {
            channel.stdout_fd: ("stdout", LineCutter(options.log_line_bytes)),
            channel.stderr_fd: ("stderr", LineCutter(options.log_line_bytes)),
        }
        self._open = [channel.sock.fileno(), *self._cutters]
        self._status: int | None = None
        self._stopped: str | None = None
        self._killed = ""
        self._limit_seconds = 0.0
        self._deadline: tuple[float, str, float] = self._limit("import", options.import_timeout_seconds)
        """(monotonic time, why, seconds): when the process is killed unless something else comes."""
        self._oom_kills = oom_kills()
        self.seen = Seen()

    def watch(self) -> Death:
        """Return when the process is dead, its leftovers are killed and its output is read."""
        poller = select.poll()
        poller.register(self._signals.fileno(), select.POLLIN)
        for fd in self._open:
            poller.register(fd, _READABLE)
        held_back = False
        while self._status is None:
            wait_seconds = max(0.0, self._next_time() - self._clock.monotonic())
            poller.poll(min(wait_seconds, _LONGEST_POLL_SECONDS) * 1000 + 1)
            self._signals.clear()
            self._obey()
            if held_back != self._too_much():
                held_back = not held_back
                for fd in self._open:
                    poller.modify(fd, 0 if held_back else _READABLE)
            if not held_back:
                before = set(self._open)
                self._read()
                for fd in before.difference(self._open):
                    # Closed by the task itself: a hung-up descriptor would end every poll at once.
                    poller.unregister(fd)
            self._send()
            self._reap()
        self._clear_up()
        return self._death()

    def say(self, message: str, level: str = "WARNING") -> None:
        """A line of our own in the attempt's log."""
        self._book.append(message, at=self._clock.now(), level=level, logger="execplane.worker")

    def _limit(self, why: str, seconds: float) -> tuple[float, str, float]:
        return (self._clock.monotonic() + seconds, why, seconds)

    def _fence_at(self) -> float:
        return self._courier.last_contact + self._claim.self_fence_seconds

    def _next_time(self) -> float:
        wanted = [self._deadline[0], self._fence_at()]
        if not self._courier.started:
            wanted.append(self._clock.monotonic() + self._courier.due_in())
        return min(wanted) if not self._killed else self._clock.monotonic() + 1

    def _too_much(self) -> bool:
        """The API takes lines more slowly than the task makes them: let the task wait, not the disk fill. While the
        API is away the file takes them all, because a task must not hang for that."""
        return self._book.waiting_bytes > self._options.log_memory_bytes // 2 and self._courier.reachable

    def _obey(self) -> None:
        orders = self._courier.orders
        now = self._clock.monotonic()
        if orders.fenced:
            self._kill("fenced", 0.0)
        elif now >= self._fence_at():
            self._kill("lost", self._claim.self_fence_seconds)
        elif now >= self._deadline[0]:
            self._kill(self._deadline[1], self._deadline[2])
        if orders.stop and self._stopped is None:
            self._stop(orders.reason or "Told to stop by the worker API")
        elif self._signals.terminated and self._stopped is None:
            self._stop(self._sigterm_reason)
            self._ask_who()
        self._learn_who()

    def _learn_who(self) -> None:
        """The answer to a SIGTERM's question: the log names whoever wanted the end, not only the signal."""
        orders = self._courier.orders
        if self._stopped == self._sigterm_reason and orders.stop and orders.reason:
            self._stopped = orders.reason
            self.say(f"The stop was asked for: {orders.reason}.")

    def _stop(self, reason: str) -> None:
        """SIGTERM to the task's process, where it calls on_kill; SIGKILL to all of it when the grace is over."""
        self._stopped = reason
        grace = self._claim.grace_seconds
        grace -= min(self._options.report_margin_seconds, grace / 5)
        self._deadline = self._limit("grace", grace)
        self.say(f"Stopping the task: {reason}.")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def _ask_who(self) -> None:
        if not self._courier.started:
            self._courier.start()
        self._courier.hurry()

    def _kill(self, why: str, limit_seconds: float) -> None:
        if self._killed:
            return
        self._killed, self._limit_seconds = why, limit_seconds
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def _send(self) -> None:
        if self._courier.started:
            self._courier.look()
        elif self._courier.due_in() <= 0:
            self._courier.start()

    def _read(self) -> bool:
        """Read what is there, structured lines first: they were mostly written before what a subprocess writes.
        True when there may be more."""
        more = False
        for fd in tuple(self._open):
            if fd == self._channel.sock.fileno():
                more |= self._read_messages(fd)
            else:
                more |= self._read_raw(fd)
        return more

    def _read_messages(self, fd: int) -> bool:
        for _ in range(_MESSAGES_PER_TURN):
            try:
                message = self._channel.receive()
            except EOFError:
                self._open.remove(fd)
                return False
            if message is None:
                return False
            self._take(message)
        return True

    def _read_raw(self, fd: int) -> bool:
        stream, cutter = self._cutters[fd]
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        for line in cutter.feed(data) if data else cutter.finish():
            self._book.append(line, at=self._clock.now(), stream=stream)
        if not data:
            self._open.remove(fd)
        return bool(data)

    def _take(self, message: Message) -> None:
        match message:
            case Line():
                self._book.append(
                    message.message,
                    at=message.at,
                    level=message.level,
                    logger=message.logger,
                    stream=message.stream,
                )
            case Started():
                self.seen.started_at = message.at
                if self._stopped is None:
                    timeout = message.timeout_seconds
                    self._deadline = (
                        (float("inf"), "", 0.0)
                        if timeout is None
                        else self._limit("timeout", timeout + self._options.timeout_margin_seconds)
                    )
            case Rendered():
                self.seen.rendered = message.fields
                self._courier.render(message.fields)
            case Done():
                self._deadline = self._limit("linger", self._options.exit_seconds)

    def _reap(self) -> None:
        """Collect every child that is dead; orphans of the task come to us too."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    self._status = status
                    self.seen.peak_memory_bytes = usage.ru_maxrss * 1024

    def _clear_up(self) -> None:
        """Kill what the task left running (a pod's end would, too), and read the last lines."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    kill_descendants(os.getpid())
                    os.waitpid(-1, 0)
        while self._read():
            pass
        for stream, cutter in self._cutters.values():
            for line in cutter.finish():
                self._book.append(line, at=self._clock.now(), stream=stream)

    def _death(self) -> Death:
        assert self._status is not None
        # The courier's last answer may say who wanted the stop that SIGTERM brought.
        self._courier.finish()
        self._learn_who()
        out_of_memory = oom_kills() > self._oom_kills
        return Death(
            status=self._status,
            result=self._channel.result(),
            stopped=self._stopped,
            killed=self._killed,
            limit_seconds=self._limit_seconds,
            out_of_memory=out_of_memory,
            memory_limit_bytes=memory_limit_bytes() if out_of_memory else None,
        )
