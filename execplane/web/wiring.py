"""What the pages need from other rooms and cannot build themselves; `compose` sets it once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Unavailable
from execplane.logs.chain import LogReader


@dataclass(frozen=True, kw_only=True)
class Parts:
    """logs None: the log tab says that no log store is configured."""

    logs: LogReader | None = None
    clock: Clock = field(default_factory=SystemClock)
    executors: tuple[str, ...] = ("local", "kubernetes", "sequential")
    dags_folders: tuple[str, ...] = ()
    """Shown where there are no DAGs yet."""
    log_page_lines: int = 5000
    watch: Callable[[int], None] = lambda attempt_id: None
    """Told the attempt whose log somebody reads, so that its worker sends lines at once."""


_parts = Parts()


def wire(parts: Parts) -> None:
    """Called once, before the first request."""
    global _parts
    _parts = parts


def parts() -> Parts:
    return _parts


def clock() -> Clock:
    return _parts.clock


def logs() -> LogReader:
    """Raises Unavailable when there is no log store."""
    if _parts.logs is None:
        raise Unavailable("No log store is configured.", hint="Start execplane with `execplane standalone` or `web`.")
    return _parts.logs
