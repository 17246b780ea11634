"""The owner's end of the parser's process: jobs in, finished files out, and a process only while there is work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from execplane.contract.clock import Clock
from execplane.contract.dag import ParsedFile
from execplane.contract.errors import Unavailable
from execplane.contract.process import AUTHORS_PREFIXES, Frames, frame
from execplane.parsing.deaths import describe_death, tail
from execplane.parsing.messages import Answer, Done, Job
from execplane.parsing.options import Limits

_START_SECONDS = 60.0
_STARTS_PER_JOB = 2
_SHORTEST_SECRET = 4
_AHEAD = 4
"""Jobs sent per process: enough that none waits for us, few enough that a newer plan overtakes them."""
# Numeric libraries reserve memory per core and thread pool, which would count against a file's limit.
_CALM_LIBRARIES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One file's outcome. `inputs` and `listed` as in `messages.Answer`; empty when the process died."""

    number: int
    root: str
    file: str
    parsed: ParsedFile
    inputs: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Running:
    """The process, while there is one."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    errors: IO[bytes]
    frames: Frames = field(default_factory=Frames)


class Parsers:
    """Imports files in children of one process, started at the first job. For one thread."""

    def __init__(self, limits: Limits, *, clock: Clock, environment: Mapping[str, str]) -> None:
        """`environment` is the process's whole environment; see `parser_environment`."""
        self._limits = limits
        self._clock = clock
        self._environment = dict(environment)
        self._waiting: deque[Job] = deque()
        self._sent: dict[int, Job] = {}
        self._losses: dict[int, int] = {}
        self._numbers = 0
        self._running: _Running | None = None
        self._busy_at = 0.0

    @property
    def pending(self) -> int:
        """Jobs without a result."""
        return len(self._waiting) + len(self._sent)

    @property
    def pid(self) -> int | None:
        """The parser's process, while there is one."""
        return self._running.process.pid if self._running else None

    def submit(
        self, root: str, files: Iterable[str], variables: Mapping[str, dict[str, str]] | None = None
    ) -> tuple[int, ...]:
        """Import these files of a materialised bundle, in this order; gives the jobs' numbers. `variables` by file are
        the stored Variables that it may read."""
        numbers = []
        for file in files:
            self._numbers += 1
            given = (variables or {}).get(file, {})
            self._waiting.append(Job(number=self._numbers, root=root, file=file, variables=given))
            numbers.append(self._numbers)
        return tuple(numbers)

    def cancel(self, numbers: Iterable[int]) -> None:
        """Forget jobs that have not been sent; of the others the results still come."""
        unwanted = set(numbers)
        self._waiting = deque(job for job in self._waiting if job.number not in unwanted)

    def results(self, wait_seconds: float) -> list[Finished]:
        """What finished within `wait_seconds`, or sooner when nothing is left: one batch to save, not many. Raises
        Unavailable when the process cannot be started (then nothing is lost: the jobs stay)."""
        found: list[Finished] = []
        deadline = self._clock.monotonic() + wait_seconds
        while self.pending:
            now = self._busy_at = self._clock.monotonic()
            if now > deadline:
                break
            try:
                running = self._running or self._start()
            except Unavailable:
                if found:
                    break  # Said at the next call.
                raise
            self._send(running)
            found += self._receive(running, deadline - now)
        return found

    def stop_when_idle(self, idle_seconds: float) -> float | None:
        """End the process if it has had nothing to do for this long; else say in how many seconds to ask again
        (None: there is no process)."""
        if self._running is None:
            return None
        rest = idle_seconds - (self._clock.monotonic() - self._busy_at)
        if self.pending or rest > 0:
            return max(rest, 0.05)
        self.stop()
        return None

    def stop(self) -> None:
        """End the process and all its children; jobs without a result are sent again after the next start."""
        running, self._running = self._running, None
        if running is None:
            return
        # Its children end with it: it kills them when the socket closes, so it gets a moment for that.
        running.control.close()
        try:
            running.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
        running.errors.close()
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()

    def _start(self) -> _Running:
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "execplane.parsing.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[theirs.fileno()],
                env=self._environment,
                start_new_session=True,
            )
        running = _Running(process=process, control=ours, errors=errors)
        try:
            ours.sendall(frame(self._limits))
            ours.settimeout(_START_SECONDS)
            ready = ours.recv(1 << 16)
            ours.settimeout(None)
        except OSError:
            ready = b""
        self._running = running
        if not ready:
            said = self._said(running)
            self.stop()
            raise Unavailable(
                f"The DAG parser did not start: {said or 'it said nothing'}.",
                hint="`python -c 'import execplane.sdk'` in the same environment shows the whole error.",
            )
        return running

    def _send(self, running: _Running) -> None:
        while self._waiting and len(self._sent) < self._limits.processes * _AHEAD:
            job = self._waiting.popleft()
            self._sent[job.number] = job
            with suppress(OSError):  # It died; the read below finds that out.
                running.control.sendall(frame(job))

    def _receive(self, running: _Running, wait_seconds: float) -> list[Finished]:
        running.control.settimeout(max(wait_seconds, 0.001))
        try:
            data = running.control.recv(1 << 20)
        except TimeoutError:
            return []
        except OSError:
            data = b""
        if not data:
            return self._lost(running)
        found = []
        for body in running.frames.feed(data):
            done = msgspec.msgpack.decode(body, type=Done)
            job = self._sent.pop(done.number, None)
            if job is not None:
                self._losses.pop(job.number, None)
                found.append(self._finish(job, done))
        self._send(running)
        return found

    def _finish(self, job: Job, done: Done) -> Finished:
        done = msgspec.structs.replace(done, output=_hidden(done.output, job.variables))
        if not done.answer:
            parsed = _remembering(describe_death(job.file, done, self._limits), job)
            return Finished(number=job.number, root=job.root, file=job.file, parsed=parsed)
        try:
            answer = msgspec.json.decode(done.answer, type=Answer)
        except msgspec.MsgspecError:
            # Only a file that writes into its parent's pipe gets here.
            parsed = ParsedFile(file=job.file, error=f"{job.file} disturbed the parser's own pipe.")
            return Finished(number=job.number, root=job.root, file=job.file, parsed=parsed)
        return Finished(
            number=job.number,
            root=job.root,
            file=job.file,
            parsed=_remembering(_with_output(answer.parsed, done.output), job),
            inputs=answer.inputs,
            listed=answer.listed,
        )

    def _lost(self, running: _Running) -> list[Finished]:
        """The process is gone: its jobs are tried once more, and a second loss is the file's own error."""
        said = self._said(running)
        jobs = list(self._sent.values())
        self._sent.clear()
        self.stop()
        found = []
        for job in reversed(jobs):
            self._losses[job.number] = self._losses.get(job.number, 0) + 1
            if self._losses[job.number] < _STARTS_PER_JOB:
                self._waiting.appendleft(job)
                continue
            del self._losses[job.number]
            parsed = ParsedFile(file=job.file, error=f"The parser died while it imported {job.file}. {said}".strip())
            found.append(Finished(number=job.number, root=job.root, file=job.file, parsed=parsed))
        return found

    def _said(self, running: _Running) -> str:
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(timeout=1)
        running.errors.seek(0)
        lines = tail(running.errors.read()).strip().splitlines()
        status = running.process.poll()
        last = lines[-1].strip().rstrip(".") if lines else ""
        if status is not None and status < 0:
            return f"{last} (killed by {signal.Signals(-status).name})".strip()
        return last


def parser_environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment that DAG files are imported in: ours without EXECPLANE_ variables (database URL and keys are
    none of their business) but those that are Variables and Connections, with `extra` on top."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith(AUTHORS_PREFIXES) or (not name.startswith("EXECPLANE_") and name != "DJANGO_SETTINGS_MODULE")
    }
    package_parent = str(Path(__file__).resolve().parents[2])
    path = [package_parent, *filter(None, [kept.get("PYTHONPATH", "")])]
    kept["PYTHONPATH"] = os.pathsep.join(path)
    if Path(package_parent).name not in ("site-packages", "dist-packages"):
        kept["EXECPLANE_PARSER_PATH"] = package_parent
    return kept | _CALM_LIBRARIES | dict(extra)


def rewrite_paths(parsed: ParsedFile, root: str, folder: str) -> ParsedFile:
    """Errors as the author sees the file: in the DAG folder, not in our copy of it."""
    if not parsed.error and not parsed.warnings:
        return parsed
    return msgspec.structs.replace(
        parsed,
        error=parsed.error.replace(root, folder),
        traceback=parsed.traceback.replace(root, folder),
        warnings=tuple(warning.replace(root, folder) for warning in parsed.warnings),
    )


def _remembering(parsed: ParsedFile, job: Job) -> ParsedFile:
    """Of one that died or was ended it is not known what it asked for; what it got may be why."""
    if not parsed.error or parsed.variables:
        return parsed
    return msgspec.structs.replace(parsed, variables=tuple(sorted(job.variables)))


def _hidden(output: bytes, variables: Mapping[str, str]) -> bytes:
    """What a file printed, without the values of the Variables that it got: any of them may be a secret."""
    for value in sorted(variables.values(), key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            output = output.replace(value.encode(), b"***")
    return output


def _with_output(parsed: ParsedFile, output: bytes) -> ParsedFile:
    if not parsed.error or not output.strip():
        return parsed
    text = f"{parsed.traceback.rstrip()}\n\nThe file printed:\n{tail(output)}".lstrip()
    return msgspec.structs.replace(parsed, traceback=text)
