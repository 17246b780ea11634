"""The worker's last words: a verdict of at most 4 KiB where the kubelet looks for a termination message."""

from __future__ import annotations

import os

import msgspec

from execplane.contract.messages import ErrorInfo, Verdict

LIMIT_BYTES = 4096
"""More than this the kubelet cuts off, and a cut JSON is none."""


def fit(verdict: Verdict) -> bytes:
    """The verdict as JSON within the limit: the traceback goes first (its end is kept), then long texts are cut."""
    data = msgspec.json.encode(verdict)
    for keep in (2000, 1000, 300, 50, 0):
        if len(data) <= LIMIT_BYTES:
            return data
        error = verdict.error
        if error is not None:
            error = ErrorInfo(
                type=error.type[:200],
                message=error.message[: keep + 200],
                traceback=error.traceback[-keep:] if keep else "",
                line=error.line,
            )
        shorter = msgspec.structs.replace(verdict, reason=verdict.reason[: keep + 200], error=error)
        data = msgspec.json.encode(shorter)
    return data


def leave(path: str, verdict: Verdict) -> None:
    """Write it, where the file exists already: the kubelet makes it, elsewhere nobody would read it."""
    if not path or not os.path.isfile(path):
        return
    try:
        with open(path, "r+b") as file:
            file.truncate()
            file.write(fit(verdict))
    except OSError:
        # The API has (or will have) the same; a read-only root must not fail the task.
        return
