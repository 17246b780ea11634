"""The pace of creates, one per API server: the threads of all executors that create there keep to it together.

`executors.pace` decides; here are the lock, the waiting and the words. What is learned of a server outlives an
executor, because its driver makes a new one when it takes over again.
"""

from __future__ import annotations

import math
import re
import threading
from datetime import timedelta

from execplane import metrics
from execplane.contract.clock import Clock
from execplane.executors import pace
from execplane.executors.pace import Answer, Why
from execplane.kube.errors import AnswerLost, KubeError, ServerTrouble, Throttled, Unreachable, is_quota

_LONG_SECONDS = 5.0
"""A longer pause is said. Its last seconds are not: the driver claims every few, so it is ready when the pause ends."""
_WORDS_SECONDS = 10.0
"""What is written on all that waits must not change with every answer."""
_OF_A_WEBHOOK = re.compile(r'admission webhook "|failed calling webhook "')

_WHY = {
    Why.SLOW: "The API server is slow",
    Why.TOO_MANY: "The API server asks for fewer requests (429)",
    Why.FAULT: "The API server answers creates with errors (5xx)",
    Why.SILENCE: "The API server leaves creates without an answer",
}


class Pace:
    """One API server's. Used by all threads that create."""

    def __init__(self, clock: Clock, most: int, server: str = "") -> None:
        self.server = server
        self._clock = clock
        self._changed = threading.Condition()
        self._state = pace.begin(most)
        self._under_way = 0
        self._asked = 0.0, ""
        """Until when the server asked to be left alone, and in words."""
        self._said = 0.0, ""

    @property
    def at_once(self) -> int:
        return self._state.at_once

    def widen(self, most: int) -> None:
        """Somebody who shares it may send so many at once."""
        with self._changed:
            if most > self._state.most:
                self._state = pace.resized(self._state, most)
                self._changed.notify_all()

    def enter(self, closed: threading.Event) -> bool:
        """Wait until one create more may be sent; whoever enters leaves. False: closed meanwhile, send nothing."""
        with self._changed:
            while not closed.is_set():
                seconds = pace.wait_seconds(self._state, self._under_way, self._clock.monotonic())
                if seconds <= 0:
                    self._under_way += 1
                    return True
                self._changed.wait(None if math.isinf(seconds) else seconds)
            return False

    def leave(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify(max(self._state.at_once - self._under_way, 1))

    def wake(self) -> None:
        """Somebody who waits may have been closed."""
        with self._changed:
            self._changed.notify_all()

    def heard(self, error: KubeError | None, sent: float) -> None:
        """The answer to a create that was sent at `sent` (monotonic); None: the pod was made."""
        answer = answer_of(error)
        asked = error.retry_after_seconds if error is not None and _is_the_servers(error) else 0.0
        with self._changed:
            before = self._state.at_once
            now = self._clock.monotonic()
            self._state = pace.answered(self._state, answer, sent=sent, now=now, asked_seconds=asked)
            if asked and now + asked > self._asked[0]:
                until = self._clock.now() + timedelta(seconds=asked)
                self._asked = now + asked, f"The API server asked to wait until {until:%Y-%m-%d %H:%M:%S} UTC."
            after = self._state.at_once
        if after != before:
            self.publish()

    def check(self) -> str:
        """Why nothing is created now; "": it is, or within seconds. The same words as long as the pause lasts."""
        until, words = self._asked
        return words if until - self._clock.monotonic() > _LONG_SECONDS else ""

    def slowed(self) -> str:
        """Why fewer creates are sent at once than could be; "": they are not fewer."""
        state, now = self._state, self._clock.monotonic()
        if state.why is None or state.at_once == state.most:
            return ""
        until, words = self._said
        if now >= until or not words:
            words = f"{_WHY[state.why]}{_how_slow(state)}: {state.at_once} creates at once instead of {state.most}."
            self._said = now + _WORDS_SECONDS, words
        return words

    def publish(self) -> None:
        metrics.current().set("execplane_kubernetes_creates_at_once", float(self.at_once), server=self.server)


class Paces:
    """The paces of one process, by API server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Pace] = {}

    def of(self, server: str, most: int) -> Pace:
        """The server's, for one who may send so many creates at once."""
        with self._lock:
            known = self._known.get(server)
            if known is None:
                known = self._known[server] = Pace(self._clock, most, server)
        known.widen(most)
        known.publish()
        return known


def answer_of(error: KubeError | None) -> Answer:
    """What an answer tells of the API server itself."""
    if error is None:
        return Answer.GOOD
    if not _is_the_servers(error):
        return Answer.NOTHING
    match error:
        case Throttled():
            return Answer.TOO_MANY
        case ServerTrouble():
            return Answer.FAULT
        case AnswerLost() | Unreachable():
            return Answer.SILENCE
    return Answer.NOTHING


def _is_the_servers(error: KubeError) -> bool:
    """Whether it concerns more than this pod and its namespace: a webhook is asked for some pods only."""
    return not is_quota(error) and not _OF_A_WEBHOOK.search(error.message)


def _how_slow(state: pace.State) -> str:
    """The figures, where creates are only slow."""
    if state.why is not Why.SLOW or state.usual_seconds is None:
        return ""
    return f" (a create takes {state.slow_seconds:.1f} s, usually {state.usual_seconds:.1f} s)"
