"""What the pages need from other rooms and cannot build themselves; `compose` sets it once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from execplane.bundles.places import BundlePlaces
from execplane.contract.blobs import BlobStore
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Unavailable
from execplane.logs.chain import LogReader
from execplane.store.secrets import SecretBox


@dataclass(frozen=True, kw_only=True)
class Parts:
    """logs None: the log tab says that no log store is configured. blobs and secrets None: what they hold can be
    neither read nor set."""

    logs: LogReader | None = None
    blobs: BlobStore | None = None
    secrets: SecretBox | None = None
    bundles: BundlePlaces | None = None
    """None: the code page shows the texts that were kept with the versions."""
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


def blobs() -> BlobStore:
    """Raises Unavailable when there is no blob store."""
    if _parts.blobs is None:
        raise Unavailable("No blob store is configured.", hint="Start execplane with `execplane standalone` or `web`.")
    return _parts.blobs


def secrets() -> SecretBox:
    """Raises Unavailable when there are no keys to encrypt with."""
    if _parts.secrets is None:
        raise Unavailable("No keys are configured.", hint="Start execplane with `execplane standalone` or `web`.")
    return _parts.secrets
