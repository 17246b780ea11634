"""How much may wait in an executor before the API server is asked for it.

What waits there is committed, and what comes later with a higher priority must not stand behind
thousands. So more is claimed only when little is left, and what is not claimed is told why when that takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from execplane.contract.executor import Executor
from execplane.executors.driver.deadlines_watch import Queueing


@runtime_checkable
class Paced(Queueing, Protocol):
    """An executor that sends launches at the pace of whom it asks for them."""

    def slowed(self) -> str:
        """Why that takes longer than it could; "": it does not."""


@runtime_checkable
class Leading(Protocol):
    """An executor that goes on asking by itself for what it was told to launch."""

    def lead(self, may_send: Callable[[], bool]) -> None:
        """`may_send` is to be asked right before each launch: whether another may drive by now."""


def to_send_again(executor: Executor, due: Sequence[int], claims_per_tick: int) -> list[int]:
    """Those of the launches that are due once more that may be ordered now: what waits in the executor is ordered
    already, and half of the room is left to what was never sent."""
    if not isinstance(executor, Queueing):
        return list(due)
    waiting = executor.unsent()
    room = max(claims_per_tick // 2 - len(waiting), 0)
    return [attempt_id for attempt_id in due if attempt_id not in waiting][:room]


def is_full(executor: Executor, claims_per_tick: int) -> bool:
    """Whether as much waits as is claimed at once: then nothing is claimed, instead of a little many times."""
    return isinstance(executor, Queueing) and len(executor.unsent()) >= claims_per_tick


def why_slow(executor: Executor) -> str:
    return executor.slowed() if isinstance(executor, Paced) else ""
