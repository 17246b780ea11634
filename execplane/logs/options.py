"""What can be said about logs in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FileLogOptions:
    folder: Path
    kept_indexes: int = 512
    """Attempts whose line index stays in memory; another one's is built anew from its file."""
    scan_lines: int = 20_000
    """How far one read with a filter looks before it gives what it found and where to go on."""
