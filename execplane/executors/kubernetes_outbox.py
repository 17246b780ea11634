"""Facts on their way to the driver.

They are put here under the tracker's lock and handed over by a thread of its own: whoever takes them may be slow, or
may at this moment be waiting for the tracker's lock itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from execplane.contract.executor import Report
from execplane.contract.observations import Fact

logger = logging.getLogger(__name__)

_LAST_FACTS_SECONDS = 1.0
TOGETHER_SECONDS = 0.1
"""Between two handovers: each costs the driver a whole turn, and a storm of facts would be hundreds of them."""


class Outbox:
    """An ordered, unbounded queue with one deliverer. A fact that comes alone is handed over at once, those that follow
    it closely together."""

    def __init__(self, together_seconds: float = TOGETHER_SECONDS) -> None:
        self._together_seconds = together_seconds
        self._condition = threading.Condition()
        self._facts: list[Fact] = []
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, report: Report) -> None:
        self._thread = threading.Thread(target=self._deliver, args=(report,), name="kube-report", daemon=True)
        self._thread.start()

    def put(self, facts: Sequence[Fact]) -> None:
        """Never blocks."""
        with self._condition:
            self._facts += facts
            self._condition.notify()

    def close(self) -> None:
        """Hand over what is left; a taker that does not take is not waited for."""
        with self._condition:
            self._closed.set()
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(_LAST_FACTS_SECONDS)

    def _deliver(self, report: Report) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._facts or self._closed.is_set())
                facts, self._facts = self._facts, []
                if not facts:
                    return
            try:
                report(facts)
            except Exception:
                logger.exception("reporting %d facts", len(facts))
            self._closed.wait(self._together_seconds)
