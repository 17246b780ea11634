"""Facts that executors report. They never decide: the driver turns facts into transitions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from execplane.contract.keys import AttemptKey


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt stands where it stands. `category` is stable and documented; the sentence is for people."""

    category: str
    sentence: str
    hint: str = ""
    exit_code: int | None = None
    infrastructure: bool = False
    """True where the author is not to blame: the retry comes from the infrastructure budget."""
    data: dict[str, Any] = {}


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True, tag="acknowledged"):
    """The create was answered (or an identical earlier one was found): the launch exists."""

    attempt_id: int
    uid: str
    at: datetime
    adopted: bool = False
    node: str = ""


class LaunchRefused(msgspec.Struct, frozen=True, kw_only=True, tag="launch_refused"):
    """The launch did not happen and nothing of it exists. `retry` asks for another try of the same intent."""

    attempt_id: int
    diagnosis: Diagnosis
    retry: bool
    at: datetime
    retry_after_seconds: float = 0.0
    new_attempt: bool = False
    """The name is taken by something that is going away or is not ours: use a new attempt_no."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """Times and places that became known: scheduled, pulled, started, node, image digest."""

    attempt_id: int
    uid: str
    at: datetime
    phase: str = ""
    node: str = ""
    image_digest: str = ""
    scheduled_at: datetime | None = None
    initialized_at: datetime | None = None
    """Its init containers are done."""
    started_at: datetime | None = None
    waiting: Diagnosis | None = None
    """Why it does not run yet, when it does not."""
    status: dict[str, Any] | None = None
    """The pod's status as the API server gave it, for the page."""


class Gone(msgspec.Struct, frozen=True, kw_only=True, tag="gone"):
    """The launch is confirmed dead: the process was reaped, the pod is finished or deleted."""

    attempt_id: int
    uid: str
    at: datetime
    diagnosis: Diagnosis
    verdict: bytes = b""
    """The worker's last words: the termination message, "" when there is none."""
    status: dict[str, Any] | None = None
    finished: bool = True
    """False: it vanished, and nobody saw it finish."""


class Cleaned(msgspec.Struct, frozen=True, kw_only=True, tag="cleaned"):
    """What was left of the launch has been deleted, or is kept on purpose: nothing remains to be done."""

    attempt_id: int
    at: datetime
    kept: bool = False
    """The deletion policy keeps it. When somebody deletes it later, a second Cleaned says so."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True, tag="recorded"):
    """What is kept of the launch after it is gone: a `contract.flight.Flight`, packed. Comes once its end is known,
    and may never come: nothing waits for it."""

    attempt_id: int
    at: datetime
    body: bytes
    node: str = ""
    image_digest: str = ""
    scheduled_at: datetime | None = None
    initialized_at: datetime | None = None
    pulled_at: datetime | None = None
    """Only the pod's events tell it."""
    started_at: datetime | None = None


class Mended(msgspec.Struct, frozen=True, kw_only=True, tag="mended"):
    """A repair of a drift finding was tried. Whether it helped, the next look tells."""

    attempt_id: int
    finding_id: int
    at: datetime
    done: bool
    sentence: str


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag="missed"):
    """A list did not show a launch, and nothing had told that it went: its Gone was reported then."""

    attempt_id: int
    key: AttemptKey
    namespace: str
    name: str
    uid: str
    at: datetime


Fact = Acknowledged | LaunchRefused | Progress | Gone | Cleaned | Recorded | Mended | Missed
