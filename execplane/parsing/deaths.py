"""What to tell the author of a file whose import ended badly. Pure."""

from __future__ import annotations

import signal

from execplane.contract.dag import ParsedFile
from execplane.parsing.messages import Done
from execplane.parsing.options import Limits

MEMORY_STATUS = 71
"""Exit status of a child that had too little memory left to answer."""
_TAIL_CHARACTERS = 8000


def too_slow(file: str, limits: Limits, line: int = 0) -> str:
    return (
        f"{_place(file, line)} was still being imported after {limits.timeout_seconds:g} s, the limit "
        "(EXECPLANE_PARSING__TIMEOUT_SECONDS). Move slow work from the top level of the file into a task."
    )


def too_large(file: str, limits: Limits, line: int = 0) -> str:
    return (
        f"{_place(file, line)} asked for more memory than the {limits.memory_bytes >> 20} MiB that an import may take "
        "(EXECPLANE_PARSING__MEMORY_BYTES). Move large data from the top level of the file into a task."
    )


def _place(file: str, line: int) -> str:
    return f"{file}, line {line}," if line else file


def exited(file: str, code: object) -> str:
    given = "" if code is None else repr(code)
    return (
        f"{file} called sys.exit({given}) while it was imported. A DAG file must come to "
        "its end; raise AirflowSkipException inside a task to skip it."
    )


def describe_death(file: str, done: Done, limits: Limits) -> ParsedFile:
    """The import error of a file whose process ended without an answer."""
    return ParsedFile(
        file=file,
        error=_sentence(file, done, limits),
        traceback=tail(done.output),
        duration_seconds=done.seconds,
    )


def tail(output: bytes) -> str:
    """The end of what a file printed, fit for a page."""
    return output.decode(errors="replace").replace("\x00", "")[-_TAIL_CHARACTERS:]


def _sentence(file: str, done: Done, limits: Limits) -> str:
    if done.death == "timeout":
        return too_slow(file, limits)
    if done.death == "output":
        return (
            f"{file} printed more than {limits.output_bytes / (1 << 20):g} MiB while it was imported. Remove the "
            "prints from the top level of the file."
        )
    if done.death == "signal":
        name = _signal_name(done.status)
        if done.status == signal.SIGKILL:
            return f"The import of {file} was killed ({name}); most likely the machine ran out of memory."
        return f"{file} crashed the Python that imported it ({name}). Some library with native code failed."
    if done.status == MEMORY_STATUS:
        return too_large(file, limits)
    return (
        f"{file} ended the process that imported it (os._exit, exit status {done.status}). A DAG file must come to "
        "its end."
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
