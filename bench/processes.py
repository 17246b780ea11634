"""What processes cost, from /proc: memory that they share counted once, CPU time of a whole tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process and all below it that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def pss_bytes(pids: Sequence[int]) -> int:
    """Proportional set size: each shared page is split among those who share it."""
    return sum(_pss_bytes(pid) for pid in pids)


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes and of their children that have ended and been waited for."""
    return sum(sum(int(field) for field in fields[11:15]) / _TICKS for pid in pids if (fields := _stat(pid)))


def cpu_seconds_by_program(pids: Sequence[int]) -> dict[str, float]:
    """The same by what they run: of a binary of many programs (the cluster's), the program's name."""
    found: dict[str, float] = {}
    for pid in pids:
        if name := _program(pid):
            found[name] = found.get(name, 0.0) + cpu_seconds([pid])
    return found


def _program(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    name = Path(words[0].partition(":")[0]).name
    if name.startswith(("cluster-", "python")) and len(words) > 1:
        return Path(next((word for word in words[1:] if not word.startswith("-")), name)).name
    return name


def _stat(pid: int) -> list[str] | None:
    """The fields after the name: state, ppid, … utime is [11]."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
