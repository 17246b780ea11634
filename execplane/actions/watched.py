"""Which logs somebody reads right now: their workers send lines within a second, the others in large batches.

Each process knows its own readers. A worker that talks to another process than its reader sends in batches: the log
is later then, never wrong.
"""

from __future__ import annotations

from threading import Lock

from execplane.contract.clock import Clock, SystemClock

READER_SECONDS = 15.0
"""A reader is gone when it has not asked for so long; longer than a page waits between two questions."""


class Watched:
    """Attempts with a reader. Thread-safe."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._read_at: dict[int, float] = {}

    def touch(self, attempt_id: int) -> None:
        """Somebody reads its log."""
        now = self._clock.monotonic()
        with self._lock:
            self._read_at.pop(attempt_id, None)
            self._read_at[attempt_id] = now
            # The oldest stand in front: what is over is dropped as others come.
            for old, at in list(self._read_at.items()):
                if now - at <= READER_SECONDS:
                    break
                del self._read_at[old]

    def now(self, attempt_id: int) -> bool:
        """Whether somebody read it within the last seconds."""
        at = self._read_at.get(attempt_id)
        return at is not None and self._clock.monotonic() - at <= READER_SECONDS
