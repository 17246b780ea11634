"""The task's process: set apart by the supervisor's fork, it runs user code and leaves a result."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

from execplane.contract.clock import Clock
from execplane.contract.messages import ClaimAnswer, ErrorInfo
from execplane.contract.workload import WorkerStart
from execplane.sdk.masking import mask
from execplane.worker.channel import ChildEnd, Result
from execplane.worker.options import WorkerOptions

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class Work:
    """What user code is run with."""

    start: WorkerStart
    claim: ClaimAnswer
    nonce: str
    folder: Path
    """The root of the attempt's DAG files."""
    end: ChildEnd
    options: WorkerOptions
    clock: Clock


UserCode = Callable[[Work], Result]
"""Loads the DAG file, runs the task, says how it ended. In the worker: `usercode.run`; tests have their own."""


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies. PID 1 of a container is that anyway."""
    if os.getpid() != 1:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def task_main(
    begin: Callable[[], Work | None], user_code: UserCode, supervisor_pid: int, options: WorkerOptions
) -> NoReturn:
    """Never returns: the result goes through `work.end`, and the process ends with os._exit. `begin` waits for the
    work; None: there is none."""
    code = 1
    try:
        _set_apart(supervisor_pid, options)
        work = begin()
        if work is None:
            os._exit(0)
        os.environ.update(work.claim.env)
        _capture(work)
        try:
            result = user_code(work)
            code = 0
        except BaseException as error:
            # User code's exceptions are `user_code`'s to tell; this is a bug of ours or an order to stop that came
            # outside of the task.
            result = Result(outcome="failed", reason=str(error), error=error_info(error))
        _end_lines()
        work.end.finish(result)
    finally:
        with contextlib.suppress(BaseException):
            _leave()
        os._exit(code)


def on_sigterm(handler: Callable[[int, FrameType | None], None]) -> None:
    """From now on `handler` runs when the task is told to stop. SIGTERM has been held back since the fork."""
    signal.signal(signal.SIGTERM, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def error_info(error: BaseException) -> ErrorInfo:
    return ErrorInfo(
        type=type(error).__name__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    _libc().prctl(option, value, 0, 0, 0)


def _set_apart(supervisor_pid: int, options: WorkerOptions) -> None:
    """An own process group; dead with its supervisor; first in line when memory runs out."""
    os.setpgid(0, 0)
    if supervisor_pid != 1:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor_pid:
            os._exit(1)  # it died before we asked to die with it
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        score = min(1000, int(file.read()) + options.task_oom_score)
        file.seek(0)
        file.write(b"%d" % score)


def _capture(work: Work) -> None:
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  (the process's stdin: /dev/null)
    sys.stdout = StreamToLog(work, "stdout", 1)
    sys.stderr = StreamToLog(work, "stderr", 2)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(LogHandler(work))
    root.setLevel(work.options.log_level)
    logging.captureWarnings(True)


def _leave() -> None:
    """What a normal interpreter would do at its end, short of tearing itself down (which costs more than a task)."""
    atexit._run_exitfuncs()
    _end_lines()


def _end_lines() -> None:
    """What was printed without a newline becomes a line, too."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # user code may have put anything in their place
            stream.flush()
            if isinstance(stream, StreamToLog):
                stream.end_line()


class LogHandler(logging.Handler):
    """Each record goes to the supervisor whole, with its level and its logger's name; known secrets are hidden."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._end = work.end
        self._now = work.clock.now
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)
        except Exception as error:  # a wrong number of arguments must not fail the task
            message = f"{record.msg!r} % {record.args!r}: {error}"
        self._end.line(mask(message), at=self._now(), level=record.levelname, logger=record.name)


class StreamToLog(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr: whole lines go to the log in order with logging's own.

    `buffer` and `fileno` are the process's real ones, for code that writes bytes or hands the descriptor on.
    """

    def __init__(self, work: Work, stream: str, fd: int) -> None:
        super().__init__()
        self._end = work.end
        self._now = work.clock.now
        self._stream = stream
        self._fd = fd
        self._rest = ""
        self.buffer = open(fd, "wb", buffering=0, closefd=False)  # noqa: SIM115  (lives as long as the process)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        head, newline, rest = text.rpartition("\n")
        if newline:
            self._send(self._rest + head)
            self._rest = rest
        else:
            self._rest += rest
        return len(text)

    def flush(self) -> None:
        """What has no newline yet waits for it, or for the end: a progress bar is not a line per dot."""

    def end_line(self) -> None:
        """Send what is there without a newline."""
        if self._rest:
            self._send(self._rest)
            self._rest = ""

    def _send(self, text: str) -> None:
        self._end.line(mask(text.replace("\x00", "\ufffd")), at=self._now(), stream=self._stream)
