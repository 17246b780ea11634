"""How many threads wait for one API server at a time.

The threads that serve workers are few, and serve those of all clusters: one that does not answer must not have them
all. Who is turned away asks again, as after any failed request; nothing was sent for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from execplane.kube.errors import KubeError, Unreachable

_AT_ONCE = 2
_WAIT_SECONDS = 0.25

T = TypeVar("T")


class Asking:
    """Two at once, others wait a moment. After a failure, or when nobody's turn comes: one, and nobody waits."""

    def __init__(self) -> None:
        self._left = threading.Condition()
        self._busy = 0
        self._troubled = False

    def __call__(self, ask: Callable[[], T]) -> T:
        """What `ask` gives. Raises Unreachable when too many ask already."""
        with self._left:
            if not self._left.wait_for(self._has_room, timeout=0 if self._troubled else _WAIT_SECONDS):
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
                self._left.notify()

    def _has_room(self) -> bool:
        return self._busy < (1 if self._troubled else _AT_ONCE)
