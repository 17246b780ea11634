"""How constructors take parameters by their tables: each one checked, refused with advice, or named as unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import cached_property
from typing import Any

from execplane.sdk import checks
from execplane.sdk.scope import complaint

_SHARED = (type(None), bool, int, float, str, timedelta, Enum)
_OF_ITS_OWN = object()


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One accepted parameter. `aliases` are names that Airflow used before; `effect` says what it does."""

    name: str
    takes: str
    effect: str
    check: checks.Check = checks.anything
    default: Any = None
    aliases: tuple[str, ...] = ()
    attribute: str = ""

    @cached_property
    def stored_as(self) -> str:
        return self.attribute or self.name

    @cached_property
    def makes_of_none(self) -> bool:
        """None has an accepted form of its own, an empty one."""
        return self.check in (checks.callbacks, checks.mapping, checks.links, checks.names, checks.paths)

    @cached_property
    def usual(self) -> Any:
        """The checked default where all tasks may share it; _OF_ITS_OWN where each needs a new one. A DAG file is
        loaded for each of its tasks, and most parameters of most tasks are not given."""
        value = checked("", self, self.default)
        return value if isinstance(value, _SHARED) else _OF_ITS_OWN


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A parameter of Airflow's that is not supported. `harmless` values ask for nothing, and pass."""

    name: str
    advice: str
    harmless: tuple[Any, ...] = (None, False)


class Table:
    """What one constructor accepts and refuses, laid out once: a DAG file makes its tasks anew in each worker."""

    def __init__(self, accepted: Iterable[Parameter], refused: Iterable[Refused]) -> None:
        self._accepted = tuple(accepted)
        self._refused = {row.name: row for row in refused}
        self._spelled = {name: row for row in self._accepted for name in (row.name, *row.aliases)}

    @cached_property
    def _usual(self) -> dict[str, Any]:
        return {row.stored_as: row.usual for row in self._accepted if row.usual is not _OF_ITS_OWN}

    @cached_property
    def _unusual(self) -> tuple[Parameter, ...]:
        return tuple(row for row in self._accepted if row.usual is _OF_ITS_OWN)

    def take(self, what: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Accepted form of every parameter by attribute name, defaults included.

        Raises DagImportError for a value of the wrong kind, a refused parameter, and an unknown one.
        """
        found = dict(self._usual)
        spelled: dict[str, str] = {}
        for name, value in given.items():
            row = self._spelled.get(name)
            if row is None:
                self._refuse(what, name, value)
                continue
            if row.name in spelled:
                first, second = sorted((spelled[row.name], name), key=(row.name, *row.aliases).index)
                raise complaint(f"{what} is given both {first} and {second}, which mean the same.", f"Keep {first}.")
            spelled[row.name] = name
            found[row.stored_as] = checked(what, row, value)
        for row in self._unusual:
            if row.name not in spelled:
                found[row.stored_as] = checked(what, row, row.default)
        return found

    def _refuse(self, what: str, name: str, value: Any) -> None:
        row = self._refused.get(name)
        if row is None:
            raise unknown_parameter(what, name, [row.name for row in self._accepted])
        if not _is_harmless(value, row.harmless):
            raise complaint(f"{what}: execplane does not support the parameter {name!r}.", row.advice)


def _is_harmless(value: Any, harmless: tuple[Any, ...]) -> bool:
    return any(value is entry or (type(value) is type(entry) and value == entry) for entry in harmless)


def checked(what: str, parameter: Parameter, value: Any) -> Any:
    """`value` in its accepted form. A required id is checked by its owner: None passes here."""
    if value is None and parameter.default is None:
        return parameter.check(None) if parameter.makes_of_none else None
    if value is None and parameter.name in (
        "retries",
        "retry_delay",
        "trigger_rule",
        "owner",
        "pool",
        "queue",
    ):
        value = parameter.default  # real files pass None for "as usual"
    try:
        return parameter.check(value)
    except ValueError as error:
        raise complaint(f"{what}: {parameter.name} {error}.", "Correct the value.") from None


def unknown_parameter(what: str, name: str, known: Iterable[str]) -> Exception:
    """The error for a parameter that nobody knows, with the nearest name that somebody does."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Remove it, or see docs/sdk-parameters.md."
    return complaint(f"{what} has no parameter {name!r}.", hint)
