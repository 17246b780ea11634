"""Intents that wait to be created: by priority, in threads, at the pace of their API server.

A thread first waits until it may send, and only then takes what is first by now: so an intent of higher priority that
comes late goes before all that still waits. What was taken is sent; what was not can be withdrawn. A namespace whose
webhook does not answer has a part of the threads only: each of its creates keeps one for as long as the webhook may
take.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from execplane.contract.clock import Clock
from execplane.contract.observations import LaunchRefused
from execplane.contract.workload import Intent
from execplane.executors.kubernetes_launch import LaunchAnswer, launch_one, unknown
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_pace import Pace
from execplane.kube.client import Client

logger = logging.getLogger(__name__)

_LAST_CREATES_SECONDS = 3.0
_LEASE_LOOK_SECONDS = 0.5
"""How often what may not be sent now, because another may drive, is looked at again."""
_TROUBLED_SHARE = 4
"""A namespace whose webhook is silent has a quarter of the threads."""


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
        self._sent: dict[int, str] = {}
        """What was sent and is not answered, with its namespace."""
        self._troubled: set[str] = set()
        """Namespaces whose last create a webhook left without an answer."""
        self._turns_kept = 0
        """Turns of threads that found only what must wait for its namespace."""
        self.may_send: Callable[[], bool] = lambda: True
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

    def withdraw(self, attempt_id: int) -> Intent | None:
        """What still waited, and now never will be sent."""
        with self._changed:
            return self._waiting.pop(attempt_id, None)

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
        while not self._closed.is_set():
            if not self.may_send():
                self._closed.wait(_LEASE_LOOK_SECONDS)
                continue
            if not self._pace.enter(self._closed):
                return
            try:
                # The pace may have kept us for longer than a lease lives.
                if not self.may_send():
                    continue
                intent = self._take()
                if intent is None:
                    return
                fact = self._create(intent)
            finally:
                self._pace.leave()
            self._answered(fact)
            return

    def _take(self) -> Intent | None:
        """What is first in order; None when as many were withdrawn, or must wait, as there are threads for."""
        kept: list[tuple[int, int, int]] = []
        found: Intent | None = None
        with self._changed:
            while self._order and found is None:
                place = heapq.heappop(self._order)
                intent = self._waiting.get(place[-1])
                if intent is not None and self._is_crowded(intent.namespace):
                    kept.append(place)
                elif intent is not None:
                    found = self._waiting.pop(place[-1])
                    self._sent[intent.attempt_id] = intent.namespace
            for place in kept:
                heapq.heappush(self._order, place)
            self._turns_kept += found is None and bool(kept)
        return found

    def _is_crowded(self, namespace: str) -> bool:
        if namespace not in self._troubled:
            return False
        most = max(1, self._options.creation_concurrency // _TROUBLED_SHARE)
        return sum(one == namespace for one in self._sent.values()) >= most

    def _create(self, intent: Intent) -> LaunchAnswer:
        fact: LaunchAnswer | None = None
        try:
            fact = launch_one(self._client, intent, self._options, self._clock, self._pace.heard)
        except Exception as error:
            # A fault of ours must not leave the attempt without an answer.
            logger.exception("create of %s/%s", intent.namespace, intent.name)
            said = f"the API server's answer could not be read ({type(error).__name__})."
            fact = unknown(intent, said, self._clock, wait_seconds=self._options.quota_retry_seconds)
        finally:
            with self._changed:
                self._sent.pop(intent.attempt_id, None)
                silent = isinstance(fact, LaunchRefused) and fact.retry and "webhook" in fact.diagnosis.data
                (self._troubled.add if silent else self._troubled.discard)(intent.namespace)
                if self._turns_kept and not self._closed.is_set():
                    self._turns_kept -= 1
                    self._threads.submit(self._create_first)
                self._changed.notify_all()
        return fact
