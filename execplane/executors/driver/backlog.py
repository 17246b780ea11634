"""How much may wait in an executor before the API server is asked for it.

What waits there is committed, and what comes later with a higher priority must not stand behind
thousands. So more is claimed only when little is left, and what is not claimed is told why when that takes long.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from execplane.contract.executor import Executor
from execplane.executors.driver.deadlines_watch import Queueing


@runtime_checkable
class Paced(Queueing, Protocol):
    """An executor that sends launches at the pace of whom it asks for them."""

    def slowed(self) -> str:
        """Why that takes longer than it could; "": it does not."""


def is_full(executor: Executor, claims_per_tick: int) -> bool:
    """Whether as much waits as is claimed at once: then nothing is claimed, instead of a little many times."""
    return isinstance(executor, Queueing) and len(executor.unsent()) >= claims_per_tick


def why_slow(executor: Executor) -> str:
    return executor.slowed() if isinstance(executor, Paced) else ""
