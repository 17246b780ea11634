"""What can be said about bundles."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    ignore_syntax: str = "glob"
    """Syntax of .airflowignore: "glob" (Airflow 3's default) or "regexp" (Airflow 2's). A first line
    `# syntax: regexp` (or glob) in the file wins."""
    keep_ignored: bool = False
    """True: what .airflowignore names is kept from parsing, and still goes into the bundle (for helper modules)."""
    max_files: int = 20_000
    max_bytes: int = 512 << 20
    snapshot_tries: int = 5
    """How often a folder that changes while it is read is read again."""
