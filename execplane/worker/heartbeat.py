"""The courier: one thread that sends heartbeats and log lines while the task runs.

It starts with the first thing there is to send, so a short task costs no thread. It decides nothing: what the API
said (stop, fenced, a new token) and how long it has been silent is read by the supervisor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from execplane.contract.clock import Clock
from execplane.contract.errors import ExecplaneError, Unavailable
from execplane.contract.logs import LogRecord
from execplane.contract.messages import Accepted, ClaimAnswer, Heartbeat, HeartbeatAnswer, LogBatch
from execplane.worker.client import Client, Fenced
from execplane.worker.logs import LogBook
from execplane.worker.options import WorkerOptions


@dataclass
class Orders:
    """What the API wants; written by the courier, read by the supervisor."""

    stop: bool = False
    reason: str = ""
    fenced: bool = False


class Courier:
    """Heartbeats every `claim.heartbeat_seconds`, log batches when they are due.

    `client` belongs to this thread from `start` until `finish`. `nudge` tells the supervisor that `orders` changed.
    """

    def __init__(
        self,
        client: Client,
        book: LogBook,
        claim: ClaimAnswer,
        nonce: str,
        *,
        options: WorkerOptions,
        clock: Clock,
        new_token: Callable[[str], None],
        nudge: Callable[[], None],
    ) -> None:
        self._client = client
        self._book = book
        self._claim = claim
        self._nonce = nonce
        self._options = options
        self._clock = clock
        self._new_token = new_token
        self._nudge = nudge
        self._wake = threading.Condition()
        self._urgent = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._beat_at = clock.monotonic() + claim.heartbeat_seconds
        self._flushed_at: float | None = None
        self._rendered: dict[str, Any] | None = None
        self._watched = False
        self.orders = Orders()
        self.bundle_found = ""
        self._sleep_until = float("inf")
        self._complained = False
        self._refused = False

    @property
    def reachable(self) -> bool:
        """Lines get through; else the task must not wait for them."""
        return not (self._client.failing or self._refused)

    @property
    def started(self) -> bool:
        return self._thread is not None

    @property
    def last_contact(self) -> float:
        return self._client.last_contact

    def due_in(self) -> float:
        """Seconds until there is something to send."""
        return max(0.0, min(self._beat_at, self._flush_at()) - self._clock.monotonic())

    def start(self) -> None:
        """From now on this thread sends. The task's process is forked already."""
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()

    def render(self, fields: dict[str, Any]) -> None:
        """To be sent with the next heartbeat."""
        self._rendered = fields

    def look(self) -> None:
        """More log lines are there; wakes the thread when they are due before it wakes by itself."""
        if self._flush_at() < self._sleep_until:
            with self._wake:
                self._wake.notify()

    def hurry(self) -> None:
        """A heartbeat now: the supervisor got SIGTERM and would like to know who asked for it."""
        with self._wake:
            self._urgent = True
            self._wake.notify()

    def finish(self) -> None:
        """End the thread; a request under way is waited for. The client is the caller's again."""
        if self._thread is None:
            return
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def flush(self, *, patience_seconds: float, keep_bytes: int) -> list[LogRecord]:
        """For the supervisor, after `finish`: send until what is left fits into the End, and return that rest."""
        while True:
            records = self._book.take(keep_bytes)
            if self._book.oldest_unsent_at is None:
                return records
            try:
                self._post_logs(records, patience_seconds)
            except BaseException:
                self._book.untake(records)
                raise

    def pause(self, seconds: float) -> bool:
        """The client's waiting between tries: ends early when the thread is to finish."""
        with self._wake:
            if not self._closing:
                self._wake.wait(seconds)
            return self._closing

    def _flush_at(self) -> float:
        oldest = self._book.oldest_unsent_at
        if oldest is None:
            return float("inf")
        if self._book.waiting_bytes >= self._options.log_batch_bytes:
            return 0.0
        first = oldest + self._options.log_first_flush_seconds
        if self._flushed_at is None or self._watched:
            return first
        return max(first, self._flushed_at + self._options.log_flush_seconds)

    def _run(self) -> None:
        while not self._closing or self._urgent:
            self._sleep()
            try:
                self._send_due()
                self._refused = False
            except Fenced as fenced:
                self.orders.fenced = True
                self.orders.reason = fenced.message
                self._nudge()
                return
            except Unavailable:
                continue
            except ExecplaneError as error:
                # A refusal that asking again will not mend (a newer API, a bug): the task is not to blame, so it
                # goes on, and the self-fence ends it if nothing gets through.
                self._refused = True
                self._nudge()
                self._complain(error)
                self.pause(self._claim.heartbeat_seconds)

    def _sleep(self) -> None:
        with self._wake:
            if self._urgent or self._closing:
                return
            seconds = self.due_in()
            self._sleep_until = self._clock.monotonic() + seconds
            # A line may have come between the two looks at the book: `look` saw the old time then.
            if self._flush_at() >= self._sleep_until:
                self._wake.wait(seconds)
            self._sleep_until = 0.0

    def _complain(self, error: ExecplaneError) -> None:
        if not self._complained:
            self._complained = True
            self._book.append(
                f"The worker API refused a heartbeat or log lines: {error}",
                at=self._clock.now(),
                level="WARNING",
                logger="execplane.worker",
            )

    def _send_due(self) -> None:
        now = self._clock.monotonic()
        if self._urgent or now >= self._beat_at:
            self._urgent = False
            self._beat()
        if now >= self._flush_at() and not self._closing:
            records = self._book.take(self._options.log_batch_bytes)
            try:
                self._post_logs(records, self._claim.self_fence_seconds)
            except BaseException:
                self._book.untake(records)
                raise
            self._flushed_at = self._clock.monotonic()

    def _beat(self) -> None:
        rendered = self._rendered
        beat = Heartbeat(
            nonce=self._nonce,
            log_offset=self._book.produced,
            rendered=rendered,
            bundle_found=self.bundle_found,
        )
        answer = self._client.call(
            "POST", "heartbeat", HeartbeatAnswer, beat, patience_seconds=self._claim.self_fence_seconds
        )
        self._beat_at = self._clock.monotonic() + self._claim.heartbeat_seconds
        if rendered is not None and self._rendered is rendered:
            self._rendered = None
        if answer.token:
            self._new_token(answer.token)
        self._watched = answer.watched
        if answer.stop and not self.orders.stop:
            self.orders.reason = answer.reason
            self.orders.stop = True
            self._nudge()

    def _post_logs(self, records: list[LogRecord], patience_seconds: float) -> None:
        batch = LogBatch(nonce=self._nonce, records=tuple(records))
        answer = self._client.call("POST", "logs", Accepted, batch, patience_seconds=patience_seconds)
        self._watched = answer.watched
        # The supervisor may be holding the task back until the book is emptier.
        self._nudge()
