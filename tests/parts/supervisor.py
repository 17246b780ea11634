"""The test process's hold on its servers: start, stop and signal by name; nothing outlives the owner.

`reaper.py` is the other end of the pipe and does the work. Closing it, or dying in any way, ends all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.parts import reaper
from tests.parts.eventually import scaled

LOG_TAIL_LINES = 40


class SupervisedError(RuntimeError):
    """A supervised process could not be started, or a command of ours failed; the message has its output."""


class Supervisor:
    """A folder and the processes that live in it, gone together.

    With `namespaces` (root only) the processes have mount, network and pid namespaces of their own; `pid` is then
    their process 1 as the host sees it.
    """

    def __init__(self, name: str, *, namespaces: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"execplane-{name}-"))
        # Servers that may not run as root must be able to reach their part of the folder.
        self.folder.chmod(0o711)
        (self.folder / "logs").mkdir()
        self._lock = threading.Lock()
        mode = "--namespaces" if namespaces else "--plain"
        self._process = subprocess.Popen(
            [sys.executable, "-I", reaper.__file__, mode, str(self.folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C in the terminal must reach pytest only; it decides when its servers end.
            start_new_session=True,
        )
        self.pid = int(self._read()["pid"]) if namespaces else self._process.pid

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> int:
        """Start a server; its output goes to `log_file(name)`. Returns its pid (within the namespaces)."""
        reply = self._ask(
            "start",
            name=name,
            argv=[str(argument) for argument in argv],
            environment=dict(environment or {}),
            cwd=str(cwd) if cwd else None,
            stop_signal=int(stop_signal),
        )
        return int(reply["pid"])

    def stop(self, name: str, grace_seconds: float = 30) -> int | None:
        """Ask it to stop, wait, kill it when it does not; returns the exit status (negative: the signal)."""
        status = self._ask("stop", name=name, grace=scaled(grace_seconds))["status"]
        return None if status is None else int(status)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process group of that server."""
        self._ask("signal", name=name, signal=int(number))

    def exit_status(self, name: str) -> int | None:
        """None while it runs."""
        status = self._ask("status", name=name)["status"]
        return None if status is None else int(status)

    def call(self, *argv: str | Path, timeout_seconds: float = 60) -> str:
        """Run a short command where the servers run and return its output; it must succeed."""
        arguments = [str(argument) for argument in argv]
        reply = self._ask("call", argv=arguments, timeout=scaled(timeout_seconds))
        if reply["status"] != 0:
            raise SupervisedError(f"{' '.join(arguments)}: exit {reply['status']}: {reply['output']}")
        return str(reply["output"])

    def also_remove(self, *, cgroups: Sequence[str] = (), kernel_settings: Sequence[str] = ()) -> None:
        """At the end remove these cgroup trees, and put these /proc/sys files back to what they say now."""
        settings = {path: Path(path).read_text() for path in kernel_settings}
        listed = {"cgroups": list(cgroups), "kernel_settings": settings}
        (self.folder / reaper.OUTSIDE_FILE).write_text(json.dumps(listed))

    def log_file(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def log_tail(self, name: str) -> str:
        """The last lines that a server said, with its name and exit status."""
        lines = self.log_file(name).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return f"--- {name} (exit status {self.exit_status(name)})\n" + "\n".join(lines)

    def close(self) -> None:
        """End every process and remove the folder; safe to call twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=scaled(120))
        self._process.stdout.close()

    def _ask(self, verb: str, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"verb": verb, **request}).encode() + b"\n")
            self._process.stdin.flush()
            reply = self._read()
        if "error" in reply:
            raise SupervisedError(f"{verb} {request.get('name', '')}: {reply['error']}")
        return reply

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SupervisedError("the supervisor of the test servers has died; its own message is on stderr")
        reply: dict[str, Any] = json.loads(line)
        return reply
