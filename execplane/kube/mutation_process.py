"""The driver's end of the hooks' process: starting it, asking it within a time limit, and saying how it died."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import execplane
from execplane.contract.errors import ExecplaneError
from execplane.contract.process import Frames, frame
from execplane.kube.mutation_messages import HookStart, Loaded, Mutate, Mutated, NotLoaded, OutOfMemory, Refused, Reply
from execplane.kube.mutation_places import HOOK_NAME

_READ_BYTES = 1 << 20
_OWN_START_SECONDS = 60.0
"""For what we import ourselves, on a machine that has much else to do."""
_GRACE_SECONDS = 1.0
"""After its own limit, in which the process tells where it hung."""
_TRACE_BYTES = 1 << 16
_REAP_SECONDS = 5.0
_CALLER = "execplane/kube/mutation.py"
_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')
_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


@dataclass(frozen=True, kw_only=True)
class HookOptions:
    """How far the operators' hooks are trusted."""

    limit_seconds: float = 5.0
    """For one pod."""
    start_seconds: float = 60.0
    """To import what is theirs."""
    memory_bytes: int = 1 << 30
    """Address space of the process; 0: no limit."""
    folders: tuple[str, ...] = ()
    """Looked in for settings modules, after the path."""


class HookDied(ExecplaneError):
    """The process hung, or is gone. Whoever gets it kills what is left."""


class HookProcess:
    """One process. Not for two threads at once."""

    def __init__(self, options: HookOptions) -> None:
        """Starts it; `loaded` tells when it is ready. Raises OSError."""
        self._options = options
        self._files: tuple[str, ...] = ()
        self._frames = Frames()
        start = HookStart(
            path=(*(part for part in sys.path if part), *options.folders),
            limit_seconds=options.limit_seconds,
            start_seconds=options.start_seconds,
            memory_bytes=options.memory_bytes,
        )
        ours, theirs = socket.socketpair()
        self._trace, trace = os.pipe()
        try:
            # A group of its own, so that what a hook starts ends with it; and a Ctrl-C is the driver's to handle.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "execplane.kube.mutation_child"),
                    *(str(theirs.fileno()), str(trace), msgspec.json.encode(start).decode()),
                ],
                pass_fds=[theirs.fileno(), trace],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            os.close(self._trace)
            raise
        finally:
            theirs.close()
            os.close(trace)
        self._socket = ours
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    def loaded(self, wait_seconds: float) -> Loaded | NotLoaded | None:
        """What came of the imports; None when they are still going on. Raises HookDied."""
        left = self._started + _OWN_START_SECONDS + self._options.start_seconds - time.monotonic()
        try:
            reply = self._receive(min(wait_seconds, max(left, 0.0)))
        except TimeoutError:
            if left > wait_seconds:
                return None
            raise self._death("was not imported", self._options.start_seconds) from None
        except OSError:
            raise self._death("was not imported", self._options.start_seconds) from None
        assert isinstance(reply, Loaded | NotLoaded)
        if isinstance(reply, Loaded):
            self._files = reply.files
        return reply

    def mutate(self, pod: dict[str, Any]) -> Mutated | Refused:
        """Returns within the limit and a moment. Raises HookDied."""
        try:
            self._socket.settimeout(self._options.limit_seconds + _GRACE_SECONDS)
            self._socket.sendall(frame(Mutate(pod=pod)))
            reply = self._receive(self._options.limit_seconds + _GRACE_SECONDS)
        except OSError:
            raise self._death("did not return", self._options.limit_seconds) from None
        if isinstance(reply, OutOfMemory):
            most = self._options.memory_bytes >> 20
            raise HookDied(
                f"{HOOK_NAME} ran out of memory: its process may have {most} MiB{reply.place}.",
                hint="Mend the hook, or raise kubernetes.mutation_hook_memory_bytes.",
            )
        assert isinstance(reply, Mutated | Refused)
        return reply

    def kill(self) -> None:
        """End it and all that it started."""
        self._socket.close()
        self._kill_group()
        if self._trace >= 0:
            os.close(self._trace)
            self._trace = -1

    def _receive(self, seconds: float) -> Reply:
        """The next reply. Raises TimeoutError, or another OSError when there will be none that can be read."""
        until = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError
            # Each question has one answer.
            if bodies := list(self._frames.feed(data)):
                try:
                    return _decoder.decode(bodies[0])
                except msgspec.MsgspecError as error:
                    raise ConnectionAbortedError from error

    def _death(self, what: str, limit_seconds: float) -> HookDied:
        """How it ended, or that it hangs; the trace names the line. Kills it."""
        status, hangs = self._end()
        trace = self._last_trace()
        place = place_in(trace, self._files)
        if hangs or trace.startswith("Timeout"):
            hint = "Mend it, or raise kubernetes.mutation_hook_timeout_seconds." if self._files else "Mend the module."
            return HookDied(f"{HOOK_NAME} {what} within {limit_seconds:g} s{place}.", hint=hint)
        how = f"by {_signal_name(-status)}" if status < 0 else f"with exit code {status}"
        return HookDied(f"The process of {HOOK_NAME} ended {how}{place}.", hint="Mend the hook.")

    def _end(self) -> tuple[int, bool]:
        """The exit status, and whether it had to be killed: its socket closes a moment before it has ended."""
        until, pause = time.monotonic() + _GRACE_SECONDS, threading.Event()
        while not (ended := self._has_ended()) and time.monotonic() < until:
            pause.wait(0.01)
        self._kill_group()
        return self._process.returncode or 0, not ended

    def _has_ended(self) -> bool:
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            # Somebody has waited for it already.
            return True

    def _kill_group(self) -> None:
        """All that it started, too. Before it is waited for: until then nobody else can have its number."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_SECONDS)

    def _last_trace(self) -> str:
        os.set_blocking(self._trace, False)
        try:
            return os.read(self._trace, _TRACE_BYTES).decode(errors="replace")
        except BlockingIOError:
            return ""


def _signal_name(number: int) -> str:
    """Most realtime signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def place_in(trace: str, files: Sequence[str]) -> str:
    """ " (file:line)" of the operator's own code, in what faulthandler wrote of all threads; "" where it is unknown."""
    for block in re.split(r"^(?=Thread |Current thread )", trace, flags=re.MULTILINE):
        calls = [(found["file"], found["line"]) for found in _FRAME.finditer(block)]
        ours = next((index for index, (file, _) in enumerate(calls) if file.endswith(_CALLER)), 0)
        theirs = [call for call in calls[:ours] if not call[0].startswith("<frozen")]
        if theirs:
            own = [call for call in theirs if call[0] in files or "local_settings" in call[0]]
            file, line = own[0] if own else theirs[-1]
            return f" ({file}:{line})"
    return ""


def _environment() -> dict[str, str]:
    """The driver's own (hooks are the operators'), and the way to execplane where it is not installed."""
    root = str(Path(execplane.__file__).parent.parent)
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, known]))}
