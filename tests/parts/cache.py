"""The part cache: what takes minutes to build is built once per machine, outside the checkout.

A part is keyed by everything that went into it, so a stale one is never used, and it appears under its final
name by a rename, so a half-built one is never seen. A file lock lets two test runs ask for the same part at
once: one builds, the other waits and finds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEEP_UNUSED_SECONDS = 14 * 86400


class PartUnavailableError(RuntimeError):
    """A part cannot be had on this machine; the message is one line that says what to do."""


def cache_folder() -> Path:
    """`$EXECPLANE_TEST_CACHE`, else `~/.cache/execplane-parts`; created when absent."""
    configured = os.environ.get("EXECPLANE_TEST_CACHE")
    folder = Path(configured) if configured else Path.home() / ".cache" / "execplane-parts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(line: str) -> None:
    """Tell the person who waits; on stderr, because stdout belongs to `up`'s export lines."""
    print(line, file=sys.stderr, flush=True)


def digest(inputs: Iterable[str | Path]) -> str:
    """Hash strings by value and paths by the content of the file, each with its length."""
    hasher = hashlib.sha256()
    for item in inputs:
        data = item.read_bytes() if isinstance(item, Path) else item.encode()
        hasher.update(b"%d:" % len(data) + data)
    return hasher.hexdigest()[:16]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of that name against every other process of this machine."""
    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def part(
    name: str,
    inputs: Iterable[str | Path],
    build: Callable[[Path], None],
    *,
    keep_unused_seconds: float = KEEP_UNUSED_SECONDS,
) -> Path:
    """The built part: a file or folder that `build(temporary_path)` wrote, from the cache when it is there."""
    target = cache_folder() / f"{name}-{digest(inputs)}"
    with locked(name):
        if target.exists():
            os.utime(target)
            report(f"part {name}: cached")
            return target
        started = time.monotonic()
        temporary = target.with_name(f"building-{target.name}-{os.getpid()}")
        _remove_unfinished(name)
        try:
            build(temporary)
            temporary.rename(target)
        finally:
            _remove(temporary)
        report(f"part {name}: built in {time.monotonic() - started:.0f} s")
        _remove_unused(name, keep_unused_seconds, spare=target)
    return target


def _remove_unfinished(name: str) -> None:
    """Drop what a killed build left; the caller holds the lock, so nobody is building this part now."""
    for path in cache_folder().glob(f"building-{name}-*"):
        _remove(path)


def _remove_unused(name: str, seconds: float, *, spare: Path) -> None:
    for path in cache_folder().glob(f"{name}-" + "[0-9a-f]" * 16):
        if path != spare and time.time() - path.stat().st_mtime > seconds:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
