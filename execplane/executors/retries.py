"""How long to wait before another attempt: the author's retry delay, and the back-off after infrastructure failures.

Both are deterministic: the jitter comes from a hash of the task instance's key and the failure's number (as in
Airflow), so the same failure always gets the same delay and a herd of failed tasks still spreads out.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

LONGEST_DELAY_SECONDS = 86400.0
"""Airflow's cap on an exponential delay, where the author names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfraBackoff:
    """After the n-th infrastructure failure: between half and the whole of first * 2^(n-1), at most `cap`."""

    first_seconds: float = 10.0
    cap_seconds: float = 300.0


def retry_delay_seconds(
    failures: int,
    *,
    key: str,
    delay_seconds: float,
    exponential_backoff: float = 0.0,
    cap_seconds: float | None = None,
) -> float:
    """The delay after the author's `failures`-th failure (1 is the first).

    Without back-off it is `delay_seconds`. With base b it lies between delay * b^(failures-1) and twice that, then
    capped by `cap_seconds`, and by a day in any case.
    """
    if exponential_backoff <= 0:
        return max(0.0, delay_seconds)
    exponent = max(0, failures - 1)
    try:
        least = math.ceil(delay_seconds * exponential_backoff**exponent)
    except OverflowError:
        least = int(LONGEST_DELAY_SECONDS)
    least = min(max(least, 1), int(LONGEST_DELAY_SECONDS))
    delay = min(float(least + _hash(key, failures) % least), LONGEST_DELAY_SECONDS)
    return delay if cap_seconds is None else min(delay, max(0.0, cap_seconds))


def infra_delay_seconds(failures: int, *, key: str, backoff: InfraBackoff | None = None) -> float:
    """The delay after the `failures`-th infrastructure failure (1 is the first)."""
    backoff = backoff or InfraBackoff()
    whole = min(backoff.cap_seconds, backoff.first_seconds * 2.0 ** min(max(0, failures - 1), 60))
    return whole / 2 + whole / 2 * (_hash(key, failures) % 1000) / 999


def _hash(key: str, failures: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{key}#{failures}".encode()).digest()[:8], "big")
