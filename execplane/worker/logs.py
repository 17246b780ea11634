"""The attempt's log on its way out: numbered without gaps, bounded in memory, kept in a file while the API is away.

Lines come from the task's process: structured ones (logging, print) as messages, raw ones (subprocesses, C code)
through the pipes that stand in for its stdout and stderr.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path

import msgspec

from execplane.contract.clock import Clock
from execplane.contract.logs import LogRecord

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogRecord)
_OVERHEAD_BYTES = 120
"""What a record costs beside its message, on the wire and in memory, roughly."""


def record_bytes(record: LogRecord) -> int:
    return len(record.message) + _OVERHEAD_BYTES


class LogBook:
    """Unsent records in order. The supervisor appends, the courier takes; both may do so at once."""

    def __init__(
        self,
        spill: Path,
        *,
        clock: Clock,
        memory_bytes: int,
        line_bytes: int,
        copy: Callable[[bytes], object] | None = None,
    ) -> None:
        self._spill = spill
        self._clock = clock
        self._memory_limit = memory_bytes
        self._line_bytes = line_bytes
        self._copy = copy
        self._lock = threading.Lock()
        self._memory: deque[LogRecord] = deque()
        self._memory_bytes = 0
        self._file: FileIO | None = None
        self._read_at = 0
        self._written = 0
        self._lost = 0
        self.produced = 0
        """The next offset: how many lines there have been."""
        self.oldest_unsent_at: float | None = None
        """Monotonic time since which something waits to be sent."""

    @property
    def waiting_bytes(self) -> int:
        """Of what is unsent in memory; more may lie in the file."""
        return self._memory_bytes

    def append(self, message: str, *, at: datetime, level: str = "INFO", logger: str = "", stream: str = "log") -> None:
        """One record per line; a line that is too long is cut into several."""
        for line in message.split("\n"):
            for start in range(0, max(len(line), 1), self._line_bytes):
                self._add(
                    LogRecord(
                        offset=self.produced,
                        at=at,
                        message=line[start : start + self._line_bytes],
                        level=level,
                        logger=logger,
                        stream=stream,
                    )
                )

    def take(self, limit_bytes: int) -> list[LogRecord]:
        """The oldest unsent records up to about `limit_bytes`; give them back with `untake` when not sent."""
        with self._lock:
            if not self._memory:
                self._reload()
            taken: list[LogRecord] = []
            size = 0
            while self._memory and (not taken or size + record_bytes(self._memory[0]) <= limit_bytes):
                record = self._memory.popleft()
                size += record_bytes(record)
                taken.append(record)
            self._memory_bytes -= size
            self.oldest_unsent_at = self._clock.monotonic() if self._memory or self._file else None
            return taken

    def untake(self, records: list[LogRecord]) -> None:
        """They could not be sent: they are the oldest again."""
        with self._lock:
            self._memory.extendleft(reversed(records))
            self._memory_bytes += sum(map(record_bytes, records))
            if records and self.oldest_unsent_at is None:
                self.oldest_unsent_at = self._clock.monotonic()

    def close(self) -> None:
        with self._lock:
            self._drop_file()

    def _add(self, record: LogRecord) -> None:
        with self._lock:
            self.produced += 1
            if self.oldest_unsent_at is None:
                self.oldest_unsent_at = self._clock.monotonic()
            size = record_bytes(record)
            if self._file is None and self._memory_bytes + size <= self._memory_limit:
                self._memory.append(record)
                self._memory_bytes += size
            else:
                self._to_file(record)
        if self._copy is not None:
            self._copy(_encoder.encode(record) + b"\n")

    def _to_file(self, record: LogRecord) -> None:
        line = _encoder.encode(record) + b"\n"
        try:
            if self._file is None:
                self._spill.parent.mkdir(parents=True, exist_ok=True)
                # Unbuffered: an error must show at the line it costs. It stays open from outage to recovery.
                self._file = open(self._spill, "wb", buffering=0)  # noqa: SIM115
                self._read_at = self._written = 0
            written = self._file.write(line)
            if written < len(line):
                self._file.truncate(self._written)
                self._file.seek(self._written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._written += written
        except OSError as error:
            # The disk is full: the record's offset stays out, so the log shows the gap where it belongs.
            self._lost += 1
            if self._lost == 1:
                sys.stderr.write(f"execplane worker: log lines are lost: {error}\n")

    def _reload(self) -> None:
        if self._file is None:
            return
        with suppress(OSError), open(self._spill, "rb") as file:
            file.seek(self._read_at)
            while self._memory_bytes < self._memory_limit // 2 and (line := file.readline()):
                record = _decoder.decode(line)
                self._memory.append(record)
                self._memory_bytes += record_bytes(record)
                self._read_at += len(line)
        if not self._memory or self._read_at >= self._written:
            self._drop_file()

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            with suppress(OSError):
                self._spill.unlink(missing_ok=True)


class LineCutter:
    """Raw output of one file descriptor, cut into lines. A line that never ends is handed on in pieces."""

    def __init__(self, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield _text(line)
        while len(self._rest) >= self._line_bytes:
            yield _text(self._rest[: self._line_bytes])
            self._rest = self._rest[self._line_bytes :]

    def finish(self) -> Iterator[str]:
        """What came without a newline at the end."""
        if self._rest:
            yield _text(self._rest)
            self._rest = b""


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace").replace("\x00", "\ufffd")
