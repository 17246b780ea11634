"""The stored Variables that DAG files read at their top level: each gets what it asks for, and no more.

What a file asks for is known once it has been imported. So one that asked for what it did not get is imported again,
and one whose Variables change later, too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from execplane.contract.errors import ConfigError, Unavailable
from execplane.parsing.plan import FileRef

log = logging.getLogger(__name__)

_MOST_ROUNDS = 20
"""Imports of a file that asks for more Variables each time."""


class StoredVariables(Protocol):
    """Where they are kept."""

    def stamps(self, names: Collection[str]) -> Mapping[str, str]:
        """What tells each one's value from another; what is not stored is left out."""

    def values(self, names: Collection[str], file: str) -> Mapping[str, str]:
        """For this DAG file. Raises ConfigError when one cannot be opened."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a file got, and the stamps of it."""

    values: dict[str, str] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)


class FileVariables:
    """What each file asked for the last time, and what it gets the next time."""

    def __init__(self, stored: StoredVariables) -> None:
        self._stored = stored
        self._given: dict[FileRef, Given] = {}
        self._asked: dict[FileRef, Mapping[str, str]] = {}
        """With their stamps when they were looked up; "" for what was not stored."""

    def given(self, file: FileRef) -> Given:
        """What to give to the file's next import."""
        return self._given.get(file, Given())

    def after_import(self, file: FileRef, asked: Collection[str], got: Given, rounds: int) -> tuple[bool, str]:
        """Whether a file that asked for these in its import number `rounds`, and got those, is to be imported again; or
        else why it counts as broken ("": it does not). Raises Unavailable."""
        try:
            lacked = self._lacked(file, asked, got)
        except Unavailable:
            raise
        except ConfigError as error:
            return False, f"{file} reads a Variable. {error}"
        except Exception as error:  # one file's odd name must not keep the others from being imported
            log.exception("the Variables of %s cannot be looked up", file)
            return False, f"{file} reads Variables that cannot be looked up: {type(error).__name__}."
        if not lacked or rounds < _MOST_ROUNDS:
            return lacked, ""
        return False, (
            f"{file} asked for other stored Variables each time it was imported, {rounds} times. "
            "Read them in tasks, or keep them in one Variable as JSON."
        )

    def _lacked(self, file: FileRef, asked: Collection[str], got: Given) -> bool:
        """Whether an import that asked for these and got those would show something else now; then `given` has what
        it needs. Raises ConfigError when a value cannot be opened."""
        stored = self._stored.stamps(asked) if asked else {}
        self._asked[file] = {name: stored.get(name, "") for name in asked}
        if self._asked[file] == {name: got.stamps.get(name, "") for name in asked}:
            return False
        values = {name: got.values[name] for name, stamp in stored.items() if got.stamps.get(name) == stamp}
        if new := stored.keys() - values.keys():
            values.update(self._stored.values(new, f"{file.bundle}/{file.file}"))
        self._given[file] = Given(values=values, stamps=stored)
        return True

    def outdated(self) -> set[FileRef]:
        """Files that asked for a Variable which is another one, or there or gone, since."""
        names = {name for stamps in self._asked.values() for name in stamps}
        now = self._stored.stamps(names) if names else {}
        return {
            file
            for file, stamps in self._asked.items()
            if any(now.get(name, "") != stamp for name, stamp in stamps.items())
        }

    def forget(self, file: FileRef) -> None:
        self._given.pop(file, None)
        self._asked.pop(file, None)
