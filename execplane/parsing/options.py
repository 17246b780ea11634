"""What can be said about parsing."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the parser's process is told at its start."""

    timeout_seconds: float = 30.0
    """One file's import, wall clock."""
    kill_after_seconds: float = 2.0
    """A file that cannot even be interrupted is killed this long after its timeout."""
    memory_bytes: int = 1 << 30
    """One file's import, above what the parser itself takes."""
    output_bytes: int = 8 << 20
    """What one file may print while it is imported."""
    processes: int = 2
    loader: str = "execplane.sdk.loader:parse_file"
    """module:function that takes (path, bundle_root, Variables) and gives a ParsedFile."""
    preload: tuple[str, ...] = ("execplane.sdk.*", "cronsim", "pendulum")
    """Modules to import once instead of in every child (`.*`: all of a package). They see no DAG folder."""


@dataclass(frozen=True, kw_only=True)
class ParsingOptions:
    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 1.0
    """How often folders are looked at."""
    settle_seconds: float = 0.4
    """A folder that just changed is looked at again after this long, and read when it holds still."""
    settle_cap_seconds: float = 5.0
    """A folder that goes on changing is read after this long anyway."""
    retry_seconds: float = 300.0
    """A file that failed is tried again after this long (doubled each time up to an hour) though nothing changed:
    what it missed may lie outside the folder. 0: never."""
    zygote_idle_seconds: float = 20.0
    """The parser's process ends after this long without work; starting one costs about half a second."""
    paused_at_creation: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    """Added to the environment of the parser's process, which is ours without EXECPLANE_ variables: they may hold
    secrets, and DAG files run there."""
