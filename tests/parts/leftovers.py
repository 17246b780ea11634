"""Workers outlive their executor by design; they must not outlive the test run. A guard kills what bears its mark.

As a program (`leftovers.py MARK PID`, standard library only) it waits until the test process is dead, however it died,
and then kills every process whose environment has the mark: environments are inherited by all that a part starts.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

VARIABLE = "_TESTS_STARTED_BY"
_KILL_SECONDS = 10.0


@cache
def marked_environment() -> dict[str, str]:
    """To be added to the environment of what may leave processes behind; starts the guard."""
    mark = f"{os.getpid()}-{os.urandom(8).hex()}"
    subprocess.Popen(
        [sys.executable, "-I", __file__, mark, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ).returncode = 0  # it lives longer than we do, and the object must not complain
    return {VARIABLE: mark}


def bearers(mark: str) -> list[int]:
    """The living processes with this mark."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def main(mark: str, owner: int) -> None:
    with suppress(ProcessLookupError):
        select.select([os.pidfd_open(owner)], [], [])
    deadline = time.monotonic() + _KILL_SECONDS
    while (left := bearers(mark)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        select.select([], [], [], 0.05)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
