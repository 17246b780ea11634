"""Whether workers could get through: the worker API is asked at the address that they were given.

Asked by a thread of its own, because the driver must not wait for it. A lost answer is a bad one, and it is asked
again at the next look.
"""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request

from execplane.contract.clock import Clock

log = logging.getLogger(__name__)

_FRESH_SECONDS = 60.0


class ApiProbe:
    """Call it for the last answer, and it asks anew for the next call."""

    def __init__(self, url: str, clock: Clock, *, timeout_seconds: float = 5.0) -> None:
        self._url = f"{url.rstrip('/')}/worker/v1/"
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._asking = False
        self._answer = ""
        self._answered_at = float("-inf")

    def __call__(self) -> str | None:
        """ "": it answers; one sentence: it does not; None: not known just now."""
        with self._lock:
            fresh = self._clock.monotonic() - self._answered_at < _FRESH_SECONDS
            if not self._asking:
                self._begin()
            return self._answer if fresh else None

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._ask, name="worker-api-probe", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had just now; the next call tries again
            log.warning("The worker API is not asked whether it answers: %s", error)
        else:
            self._asking = True

    def _ask(self) -> None:
        answer = self._said()
        with self._lock:
            self._answer, self._answered_at, self._asking = answer, self._clock.monotonic(), False

    def _said(self) -> str:
        # The configured address, which only the operator sets.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._url, timeout=self._timeout_seconds):
                return ""
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:  # it refuses what has neither token nor route, and so it lives
                return ""
            return f"The worker API at {self._url} answers with status {error.code}."
        except Exception as error:
            reason = getattr(error, "reason", error)
            return f"The worker API at {self._url} does not answer: {getattr(reason, 'strerror', None) or reason}."
