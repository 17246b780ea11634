"""Waiting in tests: the one place that sleeps, and the one place that knows how slow this machine may be.

Tests never sleep for a fixed time: they wait for a condition and, when it does not come, show why.
`EXECPLANE_TEST_TIMEOUT_SCALE` stretches every timeout on slow machines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NeverHappenedError(AssertionError):
    """A condition did not become true in time; the message carries the evidence."""


def scaled(seconds: float) -> float:
    """The timeout for this machine: `seconds` times `EXECPLANE_TEST_TIMEOUT_SCALE` (default 1)."""
    return seconds * float(os.environ.get("EXECPLANE_TEST_TIMEOUT_SCALE", "1"))


def eventually(
    condition: Callable[[], T | None],
    timeout_seconds: float = 30,
    *,
    on_failure: Callable[[], str] | str = "",
    interval_seconds: float = 0.05,
    ignore: tuple[type[Exception], ...] = (),
) -> T:
    """Return the first true value of `condition()`, or raise with what `on_failure` tells.

    Exceptions listed in `ignore` count as "not yet"; the last one becomes the cause of the failure.
    """
    deadline = time.monotonic() + scaled(timeout_seconds)
    last_error: Exception | None = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last_error = None
        except ignore as error:
            last_error = error
        if time.monotonic() >= deadline:
            break
        time.sleep(interval_seconds)
    evidence = on_failure() if callable(on_failure) else on_failure
    name = getattr(condition, "__qualname__", repr(condition))
    raise NeverHappenedError(f"{name}: not true within {scaled(timeout_seconds):g} s. {evidence}") from last_error
