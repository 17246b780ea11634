"""A worker as a process: how it exits, what names it, and what the local executor and its zygote tell each other.

The pipe between executor and zygote carries frames: four bytes of length (big endian), then msgpack. Both ends come
from one installation, so there is no version in it.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import cache

import msgspec

from execplane.contract.workload import WorkerStart


class ExitCode(IntEnum):
    """The worker's own exit status. What the task did stands in its End; this is what is left without one."""

    SUCCESS = 0
    """Success, skipped or rescheduled, and the API knows."""
    FAILED = 1
    """Failed, terminated or timed out, and the API knows."""
    USAGE = 2
    REFUSED = 64
    """The claim was refused, or the attempt was taken away: nothing (more) ran."""
    UNREPORTED = 65
    """User code ran, and its End could not be delivered; the termination message has it."""
    NO_CLAIM = 66
    """The API was not to be reached for a claim: nothing ran."""


OUT_OF_MEMORY = "OutOfMemory"
LOST_CONTACT = "LostContact"
"""The error's type in an End, where the worker itself found the cause and not the task."""
WORKER_MARK = "_EXECPLANE_WORKER"
"""In the environment of all that a local worker's task starts: the worker's uid. Not one of the EXECPLANE_… names,
which are settings to a command that a task runs."""


AUTHORS_PREFIXES = ("EXECPLANE_VAR_", "EXECPLANE_CONN_")
"""Variables and Connections that are set by environment: of our settings, what DAG files and tasks may see."""


class Spawn(msgspec.Struct, frozen=True, kw_only=True):
    """Fork a worker. The launch token stands nowhere but here and in the child's memory."""

    start: WorkerStart
    token: str
    env: dict[str, str] = {}


class Spawned(msgspec.Struct, frozen=True, kw_only=True, tag="spawned"):
    attempt_id: int
    pid: int
    uid: str
    """"<boot id>:<pid>:<start ticks>"."""


class SpawnFailed(msgspec.Struct, frozen=True, kw_only=True, tag="spawn_failed"):
    attempt_id: int
    error: str


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag="exited"):
    """A child was reaped; `status` as waitpid gives it."""

    pid: int
    status: int
    peak_memory_bytes: int = 0


ZygoteReport = Spawned | SpawnFailed | Exited

_LENGTH = struct.Struct(">I")


def frame(message: msgspec.Struct) -> bytes:
    """One message as it goes through the pipe."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what comes out of the pipe into frames again."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of the frames that `data` completed."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[start + _LENGTH.size : end])
            start = end
        del self._buffer[:start]


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What /proc/<pid>/stat says that does not change under our hands."""

    pid: int
    state: str
    ppid: int
    session: int
    start_ticks: int


@cache
def boot_id() -> str:
    """Differs after every boot of the machine, so that a pid of an earlier one is not taken for ours."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def process_info(pid: int) -> ProcessInfo | None:
    """None when there is no such process (any more)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in brackets and may hold brackets and blanks itself.
    fields = data[data.rindex(b")") + 2 :].split()
    return ProcessInfo(
        pid=pid,
        state=fields[0].decode(),
        ppid=int(fields[1]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
    )


def process_uid(pid: int) -> str:
    """Names one process for ever: pids are reused, (boot, pid, start ticks) are not. "" when it is gone."""
    info = process_info(pid)
    return f"{boot_id()}:{pid}:{info.start_ticks}" if info else ""


def pid_and_ticks(uid: str) -> tuple[int, int] | None:
    """What a uid names: the pid and its start; None for one of another boot (or machine)."""
    boot, _, rest = uid.partition(":")
    pid, _, ticks = rest.partition(":")
    return (int(pid), int(ticks)) if boot == boot_id() and pid.isdigit() and ticks.isdigit() else None


def living_pid(uid: str) -> int | None:
    """The pid behind a uid while that very process is alive (a zombie is not)."""
    named = pid_and_ticks(uid)
    info = process_info(named[0]) if named is not None else None
    return info.pid if info is not None and named == (info.pid, info.start_ticks) and info.state not in "ZX" else None


def all_processes() -> list[ProcessInfo]:
    """Every process this one can see; costs a millisecond per hundred of them."""
    infos = (process_info(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [info for info in infos if info is not None]


def oom_kills() -> int:
    """How often this machine's kernel has killed for memory since it started, containers' limits included."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of the container we are in: cgroup version 2, then 1."""
_NO_LIMIT = 1 << 60


def memory_limit_bytes(files: tuple[str, ...] = _MEMORY_LIMITS) -> int | None:
    """What the container that this process is in may use; None where there is no limit, or no container."""
    for name in files:
        try:
            with open(name, encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None
    return None


def descendants(pid: int) -> list[int]:
    """Children and children's children, whatever group or session they moved to."""
    children: dict[int, list[int]] = {}
    for info in all_processes():
        children.setdefault(info.ppid, []).append(info.pid)
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def kill_descendants(pid: int) -> int:
    """SIGKILL everything below `pid`, again until nothing new appears (a fork may win a race once). Returns how many.

    `pid` should be a subreaper, or those whose parents died first are not found.
    """
    killed: set[int] = set()
    while new := [child for child in descendants(pid) if child not in killed]:
        for child in new:
            killed.add(child)
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
    return len(killed)
