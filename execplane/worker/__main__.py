"""The entry in a pod: `python -m execplane.worker '<WorkerStart as JSON>'`.

The launch token is read from the file that EXECPLANE_TOKEN_FILE names, at every try: the kubelet renews projected
tokens in place. Nothing secret stands in args or environment.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import msgspec

from execplane.contract.clock import SystemClock
from execplane.contract.process import ExitCode, process_uid
from execplane.contract.workload import WorkerStart
from execplane.worker.options import WorkerOptions
from execplane.worker.run import Identity, run_attempt

TOKEN_FILE = "EXECPLANE_TOKEN_FILE"  # noqa: S105  (the name of a variable)
POD_UID = "EXECPLANE_POD_UID"
WORKER_OPTIONS = "EXECPLANE_WORKER_OPTIONS"
"""WorkerOptions that differ from their defaults, as JSON."""


def main(arguments: list[str]) -> int:
    """Returns the exit status; see contract.process.ExitCode."""
    try:
        start = msgspec.json.decode(arguments[0], type=WorkerStart)
        token_file = Path(os.environ[TOKEN_FILE])
        # In a container nothing else keeps the log of a worker that is killed, so the copy is on by default.
        wanted = {"log_copy": True, **msgspec.json.decode(os.environ.get(WORKER_OPTIONS, "{}"))}
        options = msgspec.convert(wanted, WorkerOptions)
    except (IndexError, KeyError, msgspec.MsgspecError) as error:
        sys.stderr.write(
            f"execplane worker: it was started wrongly ({type(error).__name__}: {error}). It takes a WorkerStart as "
            f"JSON in its first argument, and the launch token's file in {TOKEN_FILE}.\n"
        )
        return ExitCode.USAGE
    pod_uid = os.environ.get(POD_UID, "")
    identity = Identity(uid=pod_uid or process_uid(os.getpid()), hostname=socket.gethostname(), in_pod=bool(pod_uid))
    return run_attempt(
        start,
        launch_token=lambda: token_file.read_text(encoding="utf-8").strip(),
        identity=identity,
        options=options,
        clock=SystemClock(),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
