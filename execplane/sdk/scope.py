"""What surrounds the line of a DAG file that is being executed: the open `with DAG` and `with TaskGroup` blocks, the
file being loaded, and where in it the author is. Also how a complaint about that line is worded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from execplane.contract.errors import DagImportError

if TYPE_CHECKING:
    from execplane.sdk.dags import DAG
    from execplane.sdk.groups import TaskGroup

SDK_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MACHINERY = ("<frozen ", os.path.dirname(os.__file__) + os.sep + "contextlib.py")

open_dags: list[DAG] = []
"""The `with DAG(...)` blocks that are open, innermost last."""
open_groups: list[TaskGroup] = []
"""The `with TaskGroup(...)` blocks that are open, innermost last."""
registered: list[DAG] = []
"""DAGs that ask to be found although no module-level name holds them (`with DAG`, `@dag`)."""
warnings: list[str] = []
"""What the author of the file being loaded should know, though nothing is broken."""
_positions: list[tuple[str, int]] = []
current_file: str = ""
"""Absolute path of the DAG file being loaded, "" outside of a load."""


def current_dag() -> DAG | None:
    """The DAG of the innermost open block."""
    return open_dags[-1] if open_dags else None


def current_group(dag: DAG | None) -> TaskGroup | None:
    """The innermost open group that belongs to `dag`."""
    for group in reversed(open_groups):
        if dag is None or group.dag is dag:
            return group
    return None


@contextmanager
def position(file: str, line: int) -> Iterator[None]:
    """Complaints inside are about this line: what is checked after the import has no frame of the author's."""
    _positions.append((file, line))
    try:
        yield
    finally:
        _positions.pop()


def author_position() -> tuple[str, int]:
    """(file, line) of the innermost frame of the DAG file being loaded, else of the innermost frame that is not
    ours; ("", 0) when there is none."""
    if _positions:
        return _positions[-1]
    frame: Any = sys._getframe(1)
    fallback = ("", 0)
    while frame is not None:
        name = frame.f_code.co_filename
        if name == current_file:
            return name, frame.f_lineno
        if not fallback[0] and not name.startswith(SDK_FOLDER) and not name.startswith(_MACHINERY):
            fallback = (name, frame.f_lineno)
        frame = frame.f_back
    return fallback


def place(file: str, line: int) -> str:
    """How messages say where: "example.py, line 12"."""
    return f"{os.path.basename(file)}, line {line}" if file else "the DAG file"


def complaint(message: str, hint: str, kind: type[DagImportError] = DagImportError) -> DagImportError:
    """The error for what the author wrote at the present line: names file and line, and what to write instead."""
    return kind(f"{place(*author_position())}: {message}", hint=hint)


def warn(message: str) -> None:
    """Tell the author about the present line without refusing it."""
    warnings.append(f"{place(*author_position())}: {message}")
