"""Forks workers for the local executor: a process that has the sdk loaded, and nothing else.

It is exec'ed, has no threads and no connections, so forking it is safe and cheap. It talks over one inherited
socket: Spawn in, Spawned, SpawnFailed and Exited out. When the executor's process dies it stops forking and leaves;
its children go on, and talk to the API themselves.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from execplane import sdk
from execplane.contract.clock import SystemClock
from execplane.contract.process import (
    WORKER_MARK,
    ExitCode,
    Exited,
    Frames,
    Spawn,
    Spawned,
    SpawnFailed,
    all_processes,
    frame,
    process_uid,
)
from execplane.sdk import airflow
from execplane.worker.child import adopt_orphans
from execplane.worker.options import WorkerOptions
from execplane.worker.rehearsal import rehearse
from execplane.worker.run import Identity, run_attempt

PRELOADED = (
    "ctypes",
    "encodings.idna",
    "http.client",
    "jinja2",
    "pendulum",
    "stringprep",
    "execplane.bundles.manifest",
    "execplane.worker.usercode",
)
"""What every worker needs, beside the sdk: loaded once here, shared by all forks."""
DEFAULTS = {
    # Where execplane itself runs in a pod, the termination message is its own.
    "termination_log": "",
    # The API is next door, so lines may come as soon as a reader would like them.
    "log_flush_seconds": 1.0,
}
"""How options of local workers differ from those in pods."""
_READ_BYTES = 1 << 20


class Zygote:
    def __init__(self, control: socket.socket, options: WorkerOptions) -> None:
        self._control = control
        self._options = options
        self._frames = Frames()
        self._children: dict[int, int] = {}
        self._hostname = socket.gethostname()
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)

    def serve(self) -> None:
        """Until the executor's end of the socket is closed."""
        signal.signal(signal.SIGCHLD, lambda number, stack: None)
        # Ctrl-C in a terminal reaches the whole foreground group; only the executor decides when we leave.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            with contextlib.suppress(BlockingIOError):
                while self._wake_read.recv(4096):
                    pass
            if self._control.fileno() in ready:
                data = self._control.recv(_READ_BYTES)
                if not data:
                    return
                for body in self._frames.feed(data):
                    self._spawn(msgspec.msgpack.decode(body, type=Spawn))
            self._reap()

    def _spawn(self, spawn: Spawn) -> None:
        attempt_id = spawn.start.attempt_id
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(SpawnFailed(attempt_id=attempt_id, error=f"fork: {error.strerror}"))
            return
        if pid == 0:
            self._be_worker(spawn)
        self._children[pid] = attempt_id
        self._tell(Spawned(attempt_id=attempt_id, pid=pid, uid=process_uid(pid)))

    def _be_worker(self, spawn: Spawn) -> NoReturn:
        code: int = ExitCode.USAGE
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for end in (self._control, self._wake_read, self._wake_write):
                end.close()
            os.setsid()
            uid = process_uid(os.getpid())
            os.environ.update(spawn.env)
            os.environ[WORKER_MARK] = uid
            gc.enable()
            code = run_attempt(
                spawn.start,
                launch_token=lambda: spawn.token,
                identity=Identity(uid=uid, hostname=self._hostname),
                options=self._options,
                clock=SystemClock(),
            )
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if self._children.pop(pid, None) is None:
                    # A dead worker's task has died: only now are its own children ours to see.
                    self._kill_orphans()
                    continue
                if status:
                    self._kill_orphans()
                self._tell(Exited(pid=pid, status=status, peak_memory_bytes=usage.ru_maxrss * 1024))

    def _kill_orphans(self) -> None:
        """A worker that was killed leaves processes of its task, and they have become our children: as a live worker
        adopts its own orphans, any child that we did not fork is one of a dead worker's."""
        me = os.getpid()
        for info in all_processes():
            if info.ppid == me and info.pid not in self._children and info.state not in "ZX":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(info.pid, signal.SIGKILL)

    def _tell(self, report: Spawned | SpawnFailed | Exited) -> None:
        # The executor is gone when this fails; the next read says so.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(frame(report))


def preload() -> None:
    """Import what workers would import one by one."""
    for name in PRELOADED:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(sdk.__path__, sdk.__name__ + "."):
        # The shim is a finder that makes its modules when a DAG file asks for them.
        if not module.name.startswith("execplane.sdk.airflow."):
            importlib.import_module(module.name)
    # Looking for an installed Airflow costs milliseconds; what is found here holds for all children.
    airflow.install()


def main(arguments: list[str]) -> None:
    """`python -m execplane.worker.zygote <descriptor of the socket> <WorkerOptions as JSON>`."""
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    options = msgspec.convert({**DEFAULTS, **msgspec.json.decode(arguments[1])}, WorkerOptions)
    preload()
    rehearse()
    adopt_orphans()
    # What is loaded now is never collected, so that a collection in a child does not copy the shared pages.
    gc.collect()
    gc.freeze()
    Zygote(control, options).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
