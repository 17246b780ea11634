"""One file's import, in a process of its own that was forked for it and ends with it.

Whatever the file does (exit, hang, eat memory, start threads) hurts this process only. While it runs, an audit hook
notes which of the bundle's files it reads, so that a change of a helper module imports just the files that use it.
"""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NoReturn

import msgspec

from execplane.contract.dag import ParsedFile
from execplane.parsing import deaths
from execplane.parsing.messages import Answer, Job
from execplane.parsing.options import Limits

Loader = Callable[[str, str, Mapping[str, str]], ParsedFile]
_SPARE_BYTES = 64 << 20
_LISTINGS = frozenset({"os.listdir", "os.scandir"})
_IMPORT_MACHINERY = "<frozen importlib._bootstrap_external>"


def import_and_exit(job: Job, *, load: Loader, limits: Limits, answer: int, output: int) -> NoReturn:
    """Import the job's file under its limits, write the Answer to the descriptor `answer`, end the process."""
    try:
        _enter(limits, output)
        notes = _Notes(job.root)
        _arm(job, notes, limits, answer)
        sys.addaudithook(notes.hook)
        started = time.monotonic()
        parsed = _load(job, load, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        parsed = msgspec.structs.replace(parsed, file=job.file, duration_seconds=round(time.monotonic() - started, 4))
        _write(answer, _encode(job.file, parsed, notes))
    except MemoryError:
        os._exit(deaths.MEMORY_STATUS)
    except BaseException:
        # Nobody above: the zygote's own frames must not run on in a child.
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _enter(limits: Limits, output: int) -> None:
    """Become a process that can do little harm: own group, own output, limited memory, no core file."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable(2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = _address_space_bytes()
    if taken:
        limit = taken + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit + _SPARE_BYTES))


def _open_spare_memory() -> None:
    """Room to say what happened in, once the limit was hit."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _address_space_bytes() -> int:
    """What this process has mapped; 0 where that cannot be known, and then there is no limit."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _arm(job: Job, notes: _Notes, limits: Limits, answer: int) -> None:
    """At the timeout, answer from inside the signal handler: an exception could be swallowed by the file."""

    def timed_out(_number: int, frame: FrameType | None) -> None:
        parsed = ParsedFile(
            file=job.file,
            error=deaths.too_slow(job.file, limits, _line_of(os.path.join(job.root, job.file), frame)),
            traceback="".join(traceback.format_stack(frame)[-20:]),
            duration_seconds=limits.timeout_seconds,
        )
        _write(answer, _encode(job.file, parsed, notes))
        os._exit(0)

    signal.signal(signal.SIGALRM, timed_out)
    signal.setitimer(signal.ITIMER_REAL, limits.timeout_seconds)


def _line_of(path: str, frame: FrameType | None) -> int:
    """The line of the file itself that is being run; 0: it cannot be told."""
    while frame is not None:
        if frame.f_code.co_filename == path:
            return frame.f_lineno
        frame = frame.f_back
    return 0


def _load(job: Job, load: Loader, limits: Limits) -> ParsedFile:
    try:
        parsed = load(os.path.join(job.root, job.file), job.root, job.variables)
    except MemoryError:
        _open_spare_memory()
        error, text = deaths.too_large(job.file, limits), traceback.format_exc()
    except SystemExit as exit_:
        error, text = deaths.exited(job.file, exit_.code), traceback.format_exc()
    except BaseException as exception:
        error, text = _one_line(exception), traceback.format_exc()
    else:
        if parsed.error and _ends_with_memory_error(parsed):
            found = re.match(r".*?, line (\d+):", parsed.error)
            line = int(found[1]) if found else 0
            return msgspec.structs.replace(parsed, error=deaths.too_large(job.file, limits, line))
        return parsed
    return ParsedFile(file=job.file, error=error, traceback=text)


def _one_line(exception: BaseException) -> str:
    lines = str(exception).strip().splitlines()
    return f"{type(exception).__name__}: {lines[0] if lines else 'no message'}"


def _ends_with_memory_error(parsed: ParsedFile) -> bool:
    last = (parsed.traceback.strip().splitlines() or [""])[-1]
    return last.startswith("MemoryError") or parsed.error.startswith("MemoryError")


def _encode(file: str, parsed: ParsedFile, notes: _Notes) -> bytes:
    inputs, listed = notes.found()
    try:
        return msgspec.json.encode(Answer(parsed=parsed, inputs=inputs, listed=listed))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exception:
        failed = ParsedFile(
            file=file, error=f"{file} defines a DAG that cannot be written as JSON: {_one_line(exception)}."
        )
        return msgspec.json.encode(Answer(parsed=failed, inputs=inputs, listed=listed))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class _Notes:
    """Which of the bundle's files and folders were looked at."""

    def __init__(self, root: str) -> None:
        self._root = root + os.sep
        self._opened: set[str] = set()
        self._listed: set[str] = set()

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        # Called for every audit event of the process, so it must be cheap and must never raise.
        if event == "open":
            self._note(self._opened, args[0])
        elif event in _LISTINGS and sys._getframe(1).f_code.co_filename != _IMPORT_MACHINERY:
            # The import system lists every folder of sys.path; that says nothing about the file's own interest.
            self._note(self._listed, args[0])

    def found(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(files, folders), relative to the root, sorted."""
        for module in list(sys.modules.values()):
            # A module may come from a .pyc, so that its source was never opened.
            self._note(self._opened, getattr(module, "__file__", None))
        return self._relative(self._opened), self._relative(self._listed)

    def _note(self, where: set[str], path: object) -> None:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        elif isinstance(path, os.PathLike):
            path = os.fspath(path)
        if path is None and where is self._listed:
            path = "."
        if isinstance(path, str):
            where.add(path)

    def _relative(self, paths: set[str]) -> tuple[str, ...]:
        found = set()
        for path in paths:
            full = os.path.abspath(path)
            if (full + os.sep).startswith(self._root) and "__pycache__" not in full:
                found.add(full[len(self._root) :])
        return tuple(sorted(found))
