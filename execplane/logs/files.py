"""Logs as files of JSON lines, one file an attempt, appended under a file lock and read by seeking.

Safe for several processes: each append first reads what others added since. A line torn by a crash is skipped, and
its offset counts as missing until it is sent again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from execplane.contract.errors import storage_error
from execplane.contract.keys import AttemptKey
from execplane.contract.logs import LogGap, LogPage, LogRecord
from execplane.logs.index import LineIndex, LineRun
from execplane.logs.options import FileLogOptions
from execplane.logs.pages import NO_FILTER, UNKNOWN, Filter, Produced, gap_before, tail_gaps
from execplane.logs.paths import log_path, run_path

_SCAN_BYTES = 1 << 20
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogRecord)


@dataclass(kw_only=True)
class _Known:
    """What this process knows of one file. `inode` tells whether it still is that file."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inode: int = 0
    index: LineIndex = field(default_factory=LineIndex)


class FileLogStore:
    """A `LogStore` in a folder; `read` keeps in memory what it gives back and no more."""

    name = "file"

    def __init__(self, options: FileLogOptions) -> None:
        self._options = options
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def append(self, key: AttemptKey, records: Sequence[LogRecord]) -> int:
        """See `LogStore.append`."""
        if not records:
            return 0
        path = self._options.folder / log_path(key)
        try:
            with _open_to_append(path) as file, self._index(path, file) as index:
                return _append(file, index, records)
        except OSError as error:
            raise storage_error(f"Keeping the log of {key}", self._options.folder, error) from error

    def has(self, key: AttemptKey) -> bool:
        return (self._options.folder / log_path(key)).exists()

    def read(
        self,
        key: AttemptKey,
        *,
        offset: int = 0,
        limit: int = 1000,
        produced: Produced = UNKNOWN,
        show: Filter = NO_FILTER,
    ) -> LogPage:
        """See `LogReader.read`."""
        path = self._options.folder / log_path(key)
        try:
            with open(path, "rb") as file, self._index(path, file) as index:
                start = offset if offset >= 0 else max(0, index.end + offset)
                reading = _Reading(start=start, limit=limit, show=show, scan_lines=self._options.scan_lines)
                return reading.page(file, index, produced)
        except FileNotFoundError:
            gaps, end = tail_gaps(max(0, offset), produced)
            return LogPage(gaps=gaps, next_offset=end, complete=produced.ended, source=self.name)
        except OSError as error:
            raise storage_error(f"Reading the log of {key}", self._options.folder, error) from error

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """See `LogStore.delete_run`."""
        folder = self._options.folder / run_path(dag_id, run_id)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(f"Deleting the logs of {dag_id}/{run_id}", folder, error) from error

    @contextmanager
    def _index(self, path: Path, file: BinaryIO) -> Iterator[LineIndex]:
        """The file's index up to its present end; no other thread of ours uses it meanwhile."""
        with self._lock:
            known = self._known.setdefault(str(path), _Known())
            self._known.move_to_end(str(path))
            while len(self._known) > self._options.kept_indexes:
                self._known.popitem(last=False)
        with known.lock:
            status = os.fstat(file.fileno())
            # Deleted and begun anew, or cut: what we know is of another file.
            if known.inode != status.st_ino or status.st_size < known.index.scanned_bytes:
                known.inode, known.index = status.st_ino, LineIndex()
            _catch_up(file, known.index)
            yield known.index


@contextmanager
def _open_to_append(path: Path) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o640)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o640)
    with open(descriptor, "rb+", buffering=0) as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield file


def _catch_up(file: BinaryIO, index: LineIndex) -> None:
    file.seek(index.scanned_bytes)
    rest = b""
    while data := file.read(_SCAN_BYTES):
        data = rest + data
        rest = data[index.feed(data) :]


def _append(file: BinaryIO, index: LineIndex, records: Sequence[LogRecord]) -> int:
    new = {record.offset: record for record in records if record.offset >= 0 and not index.has(record.offset)}
    if index.full:
        new = {offset: record for offset, record in new.items() if index.extends(offset) or offset - 1 in new}
    if not new:
        return 0
    size = os.fstat(file.fileno()).st_size
    # A line that a crash cut short must not swallow the first new one.
    lead = b"\n" if size > index.scanned_bytes else b""
    data = lead + b"".join(_encoder.encode(new[offset]) + b"\n" for offset in sorted(new))
    try:
        _write_all(file.fileno(), data)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file.fileno(), size)
        raise
    _catch_up(file, index)
    return len(new)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@dataclass(kw_only=True)
class _Reading:
    """One page being put together."""

    start: int
    limit: int
    show: Filter
    scan_lines: int
    records: list[LogRecord] = field(default_factory=list)
    gaps: list[LogGap] = field(default_factory=list)
    scanned: int = 0

    def page(self, file: BinaryIO, index: LineIndex, produced: Produced) -> LogPage:
        expected = self.start
        for run in index.runs_from(self.start):
            if self._enough():
                return self._page(expected, complete=False)
            self.gaps += gap_before(expected, run.first)
            expected = self._read_run(file, run, max(expected, run.first))
            if expected <= run.last:
                return self._page(expected, complete=False)
        gaps, end = tail_gaps(expected, produced)
        self.gaps += gaps
        return self._page(end, complete=produced.ended)

    def _enough(self) -> bool:
        return len(self.records) >= self.limit or (bool(self.show) and self.scanned >= self.scan_lines)

    def _read_run(self, file: BinaryIO, run: LineRun, offset: int) -> int:
        """Take lines of a run from `offset` on; gives the offset after the last one taken."""
        file.seek(run.start_for(offset))
        while offset <= run.last and not self._enough():
            line = file.readline()
            record = _decode(line) if line else None
            if line and (record is None or record.offset < offset):
                continue
            # Lines that the index knows and the file does not give: cut or damaged since.
            found = min(record.offset if record else run.last + 1, run.last + 1)
            self.gaps += gap_before(offset, found)
            if record is None or found > run.last:
                return run.last + 1
            offset = found + 1
            self.scanned += 1
            if not self.show or self.show.takes(record):
                self.records.append(record)
        return offset

    def _page(self, next_offset: int, *, complete: bool) -> LogPage:
        return LogPage(
            records=tuple(self.records),
            gaps=tuple(self.gaps),
            next_offset=next_offset,
            complete=complete,
            source=FileLogStore.name,
        )


def _decode(line: bytes) -> LogRecord | None:
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError:
        return None
