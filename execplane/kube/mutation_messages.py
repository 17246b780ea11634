"""What the driver and the process of the operators' hooks tell each other, as frames (`contract.process`)."""

from __future__ import annotations

from typing import Any

import msgspec


class HookStart(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told at its start."""

    path: tuple[str, ...]
    """sys.path: hooks are looked for where the driver would."""
    limit_seconds: float
    start_seconds: float
    memory_bytes: int


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """The hooks are imported: their names, and the files that they stand in. None: there is nothing to call."""

    names: tuple[str, ...]
    files: tuple[str, ...]


class NotLoaded(msgspec.Struct, frozen=True, kw_only=True, tag="not_loaded"):
    """A module cannot be imported."""

    sentence: str
    hint: str


class Mutate(msgspec.Struct, frozen=True, kw_only=True):
    """Run the hooks on this pod."""

    pod: dict[str, Any]


class Mutated(msgspec.Struct, frozen=True, kw_only=True, tag="mutated"):
    before: dict[str, Any]
    after: dict[str, Any]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A hook raised, or made something of the pod that is none."""

    sentence: str
    hint: str


class OutOfMemory(msgspec.Struct, frozen=True, kw_only=True, tag="out_of_memory"):
    """The process must be replaced: what took its memory may stay in it."""

    place: str


Reply = Loaded | NotLoaded | Mutated | Refused | OutOfMemory
