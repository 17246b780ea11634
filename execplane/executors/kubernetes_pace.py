"""How long the API server asked us to wait: all creates wait with the one that was told so."""

from __future__ import annotations

import threading
from datetime import timedelta

from execplane.contract.clock import Clock

_LONG_SECONDS = 5.0
"""A longer pause is said. Its last seconds are not: the driver claims every few, so it is ready when the pause ends."""


class Pace:
    """One API server's. Used by all threads that create."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pause = 0.0, ""
        """Until when, and in words."""

    def asked(self, seconds: float) -> None:
        """It wants to be left alone for so long."""
        until = self._clock.monotonic() + seconds
        by_the_clock = self._clock.now() + timedelta(seconds=seconds)
        with self._lock:
            if until > self._pause[0]:
                self._pause = until, f"The API server asked to wait until {by_the_clock:%Y-%m-%d %H:%M:%S} UTC."

    def wait(self) -> bool:
        """Whoever the API server asked to wait holds back the others, too: they would be asked the same.

        A full quota holds back nobody: it is one namespace's. False: closed meanwhile, nothing may be created.
        """
        until, _ = self._pause
        return not self._closed.wait(max(until - self._clock.monotonic(), 0.0))

    def check(self) -> str:
        """Why nothing is created now; "": it is, or within seconds. The same words as long as the pause lasts."""
        until, words = self._pause
        return words if until - self._clock.monotonic() > _LONG_SECONDS else ""

    def close(self) -> None:
        """Nobody waits any longer."""
        self._closed.set()
