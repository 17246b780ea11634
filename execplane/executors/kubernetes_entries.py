"""What the kubernetes executor remembers: an attempt it was asked about, and a pod it has seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from execplane.contract.keys import AttemptKey
from execplane.pods.identity import PodIdentity
from execplane.pods.status import Pod


class Phase(Enum):
    LAUNCHING = "launching"
    """A create is queued or under way."""
    ADOPTING = "adopting"
    """Left by an earlier process; nothing seen of it yet."""
    ALIVE = "alive"
    GONE = "gone"


class Cleaning(Enum):
    """What the deletion policy wants of an ended attempt's pod."""

    NOT_YET = "not yet"
    DELETE = "delete"
    KEEP = "keep"


@dataclass(kw_only=True, slots=True)
class Entry:
    """One attempt that the driver asked us about."""

    attempt_id: int
    key: AttemptKey
    namespace: str
    name: str
    uid: str
    phase: Phase
    since: float
    """Monotonic; a list that began earlier knows nothing of it."""
    stopping: bool = False
    cleaning: Cleaning = Cleaning.NOT_YET
    said: tuple[Any, ...] = ()
    """The last Progress, so that a repetition is not reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LastSight:
    """A pod as it was seen last, when its attempt's end was seen."""

    attempt_id: int
    namespace: str
    name: str
    uid: str
    pod: Pod | None
    """None: nobody saw it."""
    whole: bytes = b""
    """All of it, as the API server sent it; empty where it was not at hand."""


@dataclass(kw_only=True, slots=True)
class Seen:
    """One pod of ours, as last seen."""

    pod: Pod
    identity: PodIdentity
    touched: float
