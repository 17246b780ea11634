"""How many threads wait for one API server at a time.

The threads that serve workers are few, and serve those of all clusters: one that does not answer must not have them
all. Who is turned away asks again, as after any failed request; nothing was sent for it. Making the client is asking,
too: it may run a plugin that takes a minute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from execplane.contract.clock import Clock
from execplane.contract.errors import ConfigError
from execplane.kube.errors import KubeError, Unreachable

_AT_ONCE = 2
_WAIT_SECONDS = 0.25
_AFTER_FAILURE_SECONDS = 5.0
"""Before something that could not be made is made again: each try may run a plugin that is slow or billed."""

T = TypeVar("T")


class Asking:
    """Two at once, others wait a moment. After a failure, or when nobody's turn comes: one, and nobody waits."""

    def __init__(self) -> None:
        self._left = threading.Condition()
        self._busy = 0
        self._troubled = False

    def __call__(self, ask: Callable[[], T], *, alone: bool = False) -> T:
        """What `ask` gives, `alone`: while nobody else asks. Raises Unreachable when too many ask already."""
        with self._left:
            seconds = 0 if self._troubled else _WAIT_SECONDS
            if not self._left.wait_for(lambda: self._has_room(alone), timeout=seconds):
                self._troubled = True
                raise Unreachable("The API server has not answered others yet.", hint="It is asked again shortly.")
            self._busy += 1
        troubled = True
        try:
            found = ask()
            troubled = False
            return found
        except KubeError as error:
            # A refusal is an answer.
            troubled = error.status == 0
            raise
        finally:
            with self._left:
                self._busy -= 1
                self._troubled = troubled
                self._left.notify_all()

    def _has_room(self, alone: bool) -> bool:
        return self._busy < (1 if self._troubled or alone else _AT_ONCE)


class MadeOnce(Generic[T]):
    """What is made when first needed, by asking and by one thread at a time; a failure is remembered for a while."""

    def __init__(self, make: Callable[[], T], asking: Asking, clock: Clock) -> None:
        self._make = make
        self._asking = asking
        self._clock = clock
        self._made: list[T] = []
        self._failed: ConfigError | KubeError | None = None
        self._again_at = float("-inf")

    def __call__(self) -> T:
        """Raises Unreachable when it cannot be made now, or somebody else is at it."""
        if not self._made:
            self._demand_due()
            self._asking(self._try, alone=True)
        return self._made[0]

    def _demand_due(self) -> None:
        failed = self._failed
        if failed is not None and self._clock.monotonic() < self._again_at:
            raise Unreachable(failed.message, hint=failed.hint)

    def _try(self) -> None:
        # Whoever waited for this turn waited for another who made it, or could not.
        if self._made:
            return
        self._demand_due()
        try:
            self._made.append(self._make())
        except (ConfigError, KubeError) as error:
            self._again_at = self._clock.monotonic() + _AFTER_FAILURE_SECONDS
            self._failed = error
            raise Unreachable(error.message, hint=error.hint) from error
