"""A memory limit around processes that run already: a cgroup of version 2 or 1, whichever this machine has."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.parts.eventually import eventually

ROOT = Path("/sys/fs/cgroup")


@contextmanager
def little_memory(pids: Iterable[int], limit_bytes: int) -> Iterator[None]:
    """Until the end, what these processes and the ones that they fork newly take is limited, all of it together."""
    root, limits = ROOT, ("memory.max", "memory.swap.max")
    if not (ROOT / "cgroup.controllers").exists():
        root, limits = ROOT / "memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    group = root / f"execplane-test-{secrets.token_hex(4)}"
    try:
        if root is ROOT and "memory" not in (ROOT / "cgroup.subtree_control").read_text():
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        group.mkdir()
        (group / limits[0]).write_text(str(limit_bytes))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        if os.environ.get("CI"):
            raise
        pytest.skip(f"this machine gives us no memory cgroup: {error}")
    with suppress(OSError):  # only where swap is counted
        (group / limits[1]).write_text("0" if root is ROOT else str(limit_bytes))
    before = {pid: root / _group_of(pid, "" if root is ROOT else "memory").lstrip("/") for pid in pids}
    try:
        for pid in before:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        home = next(iter(before.values()), root)
        for inside in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (before.get(int(inside), home) / "cgroup.procs").write_text(inside)
        eventually(lambda: _removed(group))


def _group_of(pid: int, controller: str) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(path for _, names, path in (line.split(":", 2) for line in lines) if controller in names.split(","))


def _removed(group: Path) -> bool:
    """The kernel frees an emptied group with some delay."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True
