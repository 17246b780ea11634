"""Tracebacks without our own frames: an author's error shows the author's lines."""

from __future__ import annotations

import os
import traceback

from execplane.contract.messages import ErrorInfo
from execplane.sdk import masking

_SDK = os.path.dirname(os.path.abspath(__file__)) + os.sep
_HIDDEN = ("<frozen importlib", "<frozen runpy")
_LONGEST = 20_000


def _mine(filename: str) -> bool:
    return filename.startswith(_SDK) or filename.startswith(_HIDDEN)


def trimmed(error: BaseException) -> str:
    """The traceback, chained causes included, without frames of the sdk and of the import machinery. Where only such
    frames are left, all of them are shown: then the fault may be ours."""
    found = traceback.TracebackException.from_exception(error, limit=-50)
    _trim(found, set())
    text = masking.mask("".join(found.format()))
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\n[...]\n" + text[-_LONGEST // 2 :]


def _trim(found: traceback.TracebackException, seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    kept = [frame for frame in found.stack if not _mine(frame.filename)]
    if kept:
        found.stack = traceback.StackSummary.from_list(kept)
    for other in (found.__cause__, found.__context__):
        if other is not None:
            _trim(other, seen)


def author_line(error: BaseException, file: str = "") -> int:
    """The innermost line of `file` (else of anything that is not ours) that the error passed through; 0: none."""
    line = fallback = 0
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if file and name == file:
            line = number
        elif not _mine(name):
            fallback = number
    return line or fallback


def info(error: BaseException, file: str = "") -> ErrorInfo:
    """The error as the worker reports it."""
    return ErrorInfo(
        type=type(error).__name__,
        message=masking.mask(str(error))[:4000],
        traceback=trimmed(error),
        line=author_line(error, file),
    )
