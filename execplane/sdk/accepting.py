"""How constructors take parameters by their tables: each one checked, refused with advice, or named as unknown."""

from __future__ import annotations

from collections.abc import Iterable
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


def take(what: str, given: dict[str, Any], accepted: Iterable[Parameter], refused: Iterable[Refused]) -> dict[str, Any]:
    """Accepted form of every parameter by attribute name, defaults included.

    Raises DagImportError for a value of the wrong kind, a refused parameter, and an unknown one.
    """
    left = dict(given)
    found: dict[str, Any] = {}
    for parameter in accepted:
        usual = parameter.usual
        if usual is not _OF_ITS_OWN and parameter.name not in left and left.keys().isdisjoint(parameter.aliases):
            found[parameter.stored_as] = usual
            continue
        value = parameter.default
        spelled = [name for name in (parameter.name, *parameter.aliases) if name in left]
        if len(spelled) > 1:
            raise complaint(
                f"{what} is given both {spelled[0]} and {spelled[1]}, which mean the same.",
                f"Keep {spelled[0]}.",
            )
        if spelled:
            value = left.pop(spelled[0])
        found[parameter.stored_as] = checked(what, parameter, value)
    for row in refused:
        if row.name in left and _is_harmless(left.pop(row.name), row.harmless):
            continue
        if row.name in given:
            raise complaint(f"{what}: execplane does not support the parameter {row.name!r}.", row.advice)
    if left:
        raise unknown_parameter(what, next(iter(left)), [row.name for row in accepted])
    return found


def _is_harmless(value: Any, harmless: tuple[Any, ...]) -> bool:
    return any(value is entry or (type(value) is type(entry) and value == entry) for entry in harmless)


def checked(what: str, parameter: Parameter, value: Any) -> Any:
    """`value` in its accepted form. A required id is checked by its owner: None passes here."""
    if value is None and parameter.default is None:
        return (
            parameter.check(None)
            if parameter.check in (checks.callbacks, checks.mapping, checks.links, checks.names, checks.paths)
            else None
        )
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
