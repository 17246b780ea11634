"""Intents that wait to be created: by priority, in threads, at the pace of their API server.

A thread first waits until it may send, and only then takes what is first by now: so an intent of higher priority that
comes late goes before all that still waits. What was taken is sent; what was not can be withdrawn.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from execplane.contract.clock import Clock
from execplane.contract.workload import Intent
from execplane.executors.kubernetes_launch import LaunchAnswer, launch_one
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_pace import Pace
from execplane.kube.client import Client

logger = logging.getLogger(__name__)

_LAST_CREATES_SECONDS = 3.0


class Creates:
    """One executor's creates. Thread-safe."""

    def __init__(
        self,
        client: Client,
        options: KubernetesOptions,
        clock: Clock,
        pace: Pace,
        answered: Callable[[LaunchAnswer], None],
    ) -> None:
        """`answered` is told each outcome, by the thread that made the create."""
        self._client = client
        self._options = options
        self._clock = clock
        self._pace = pace
        self._answered = answered
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._waiting: dict[int, Intent] = {}
        self._order: list[tuple[int, int, int]] = []
        """A heap of (-priority, number, attempt id); what was withdrawn is still in it."""
        self._number = 0
        self._sent: set[int] = set()
        self._threads = ThreadPoolExecutor(options.creation_concurrency, thread_name_prefix="kube-create")

    def order(self, intent: Intent) -> None:
        """Queue it behind what has its priority or a higher one."""
        with self._changed:
            if self._closed.is_set():
                return
            self._number += 1
            self._waiting[intent.attempt_id] = intent
            heapq.heappush(self._order, (-intent.priority, self._number, intent.attempt_id))
            self._threads.submit(self._create_first)

    def withdraw(self, attempt_id: int) -> bool:
        """Whether it still waited, and now never will be sent."""
        with self._changed:
            return self._waiting.pop(attempt_id, None) is not None

    def unsent(self) -> frozenset[int]:
        """What waits for a thread, or for the pace."""
        with self._changed:
            return frozenset(self._waiting)

    def under_way(self, attempt_id: int) -> bool:
        """Whether it was ordered and is not answered."""
        with self._changed:
            return attempt_id in self._waiting or attempt_id in self._sent

    def close(self) -> None:
        """Send no more. What is under way gets a moment to be answered; one that hangs is not waited for, its intent
        is kept."""
        self._closed.set()
        self._pace.wake()
        with self._changed:
            self._waiting.clear()
            settled = self._changed.wait_for(lambda: not self._sent, _LAST_CREATES_SECONDS)
        self._threads.shutdown(wait=settled, cancel_futures=True)

    def _create_first(self) -> None:
        if not self._pace.enter(self._closed):
            return
        try:
            intent = self._take()
            if intent is None:
                return
            fact = self._create(intent)
        finally:
            self._pace.leave()
        self._answered(fact)

    def _take(self) -> Intent | None:
        """What is first in order; None when as many were withdrawn as there are threads for."""
        with self._changed:
            while self._order:
                attempt_id = heapq.heappop(self._order)[-1]
                intent = self._waiting.pop(attempt_id, None)
                if intent is not None:
                    self._sent.add(attempt_id)
                    return intent
            return None

    def _create(self, intent: Intent) -> LaunchAnswer:
        try:
            return launch_one(self._client, intent, self._options, self._clock, self._pace.heard)
        except Exception:
            logger.exception("create of %s/%s", intent.namespace, intent.name)
            raise
        finally:
            with self._changed:
                self._sent.discard(intent.attempt_id)
                self._changed.notify_all()
