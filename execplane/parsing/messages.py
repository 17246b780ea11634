"""What the parser's process and its owner tell each other. Both come from one installation: no version in it.

Frames as `contract.process.frame` makes them, over a socket pair. The first one to the parser is its Limits.
"""

from __future__ import annotations

import msgspec

from execplane.contract.dag import ParsedFile


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Import one file of a materialised bundle."""

    number: int
    root: str
    file: str
    variables: dict[str, str] = {}
    """The stored Variables that it is known to read."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a child found, as it writes it to its pipe (JSON, so that a spec is what it will be when stored)."""

    parsed: ParsedFile
    inputs: tuple[str, ...] = ()
    """Files below the root that were opened or imported meanwhile, also ones that were not there."""
    listed: tuple[str, ...] = ()
    """Folders below the root ("" is the root) whose entries were listed by the file's own code."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended. `answer` is empty when the child died before it could say anything."""

    number: int
    answer: bytes = b""
    death: str = ""
    """"" | "timeout" | "output" | "exit" | "signal"."""
    status: int = 0
    """Exit status, or the signal's number."""
    output: bytes = b""
    """The end of what it printed, and where Python was when it crashed."""
    seconds: float = 0.0
