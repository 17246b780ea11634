"""Leases: one holder at a time, on the database's clock, with a token that only grows.

The holder keeps a monotonic deadline that starts before the database call, so it always thinks it lost the lease
before the database lets another have it. Each write under a lease carries its token.
"""

from __future__ import annotations

from dataclasses import dataclass

from execplane.contract.clock import Clock
from execplane.store import lease_rows

LEASE_SECONDS = 10.0
"""Take-over after a killed holder comes within this plus one poll of the standby."""


@dataclass(kw_only=True)
class LeaseKeeper:
    """Takes, renews and gives back one lease for one holder."""

    name: str
    holder: str
    clock: Clock
    seconds: float = LEASE_SECONDS
    token: int = 0
    _until: float = float("-inf")

    def held(self) -> bool:
        """Checked right before each external call: no database involved."""
        return self.clock.monotonic() < self._until

    def renew_due(self) -> bool:
        return self.clock.monotonic() > self._until - self.seconds * 2 / 3

    def acquire(self) -> bool:
        """Take a free or expired lease, or renew our own; True while we hold it."""
        started = self.clock.monotonic()
        got = lease_rows.take(self.name, self.holder, self.token, self.seconds)
        self.token = got or self.token
        self._until = started + self.seconds if got else float("-inf")
        return bool(got)

    def release(self) -> None:
        """Give it back at once, so that a clean stop costs the standby nothing."""
        self._until = float("-inf")
        lease_rows.give_back(self.name, self.holder, self.token)
