"""Turns what an author gives for a parameter into the one form that the rest works with, or says what it takes.

Each check takes a value and returns the accepted form, or raises ValueError with "takes ..., not ...". All of them
leave an accepted form unchanged, because a task's attributes may be assigned again after its construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from execplane.contract.states import TriggerRule

Check = Callable[[Any], Any]
_ID = re.compile(r"^[\w.\-]+$")
ID_LENGTH = 250


def _wrong(takes: str, value: object) -> ValueError:
    return ValueError(f"takes {takes}, not {value!r}")


def optional(check: Check) -> Check:
    """None passes; anything else must pass `check`."""
    return lambda value: None if value is None else check(value)


def anything(value: Any) -> Any:
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong("a string", value)
    return str(value)


def name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong("a non-empty string", value)
    return str(value)


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("True or False", value)
    return value


def whole(minimum: int) -> Check:
    """An int of at least `minimum` (a bool is none)."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise _wrong(f"a whole number of at least {minimum}", value)
        return int(value)

    return check


def weight(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong("a whole number", value)
    return int(value)


def delay(value: Any) -> timedelta:
    """A timedelta, or a number of seconds; never negative."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise _wrong("a timedelta or a number of seconds", value)
    return timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)


def duration(value: Any) -> timedelta:
    """A positive timedelta; no number, as in Airflow, where a number's unit was a common mistake."""
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise _wrong("a positive timedelta, such as timedelta(minutes=5)", value)
    return timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)


def backoff(value: Any) -> float:
    """False: 0, constant delays; True: 2; a number of at least 1: the base of the exponent."""
    if isinstance(value, bool):
        return 2.0 if value else 0.0
    if not isinstance(value, (int, float)) or (value != 0 and value < 1):
        raise _wrong("True, False or a base of at least 1", value)
    return float(value)


def one_of(*choices: str) -> Check:
    def check(value: Any) -> str:
        given = getattr(value, "value", value)
        if given not in choices:
            raise _wrong("one of " + ", ".join(map(repr, choices)), value)
        return str(given)

    return check


_OLD_RULES = {
    "dummy": TriggerRule.ALWAYS,
    "none_failed_or_skipped": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
}


def trigger_rule(value: Any) -> TriggerRule:
    """A TriggerRule or its name; the names that Airflow has renamed too."""
    if value in _OLD_RULES:
        return _OLD_RULES[value]
    try:
        rule = TriggerRule(value)
    except ValueError:
        raise _wrong("one of " + ", ".join(map(repr, map(str, TriggerRule))), value) from None
    if rule is TriggerRule.ALL_DONE_SETUP_SUCCESS:
        raise ValueError("takes no 'all_done_setup_success', because there are no setup tasks; use 'all_done'")
    return rule


def moment(value: Any) -> datetime:
    """A datetime, a date, or an ISO string; stays naive when given so: the DAG's time zone is added later."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise _wrong("a datetime or an ISO 8601 string", value) from None
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  the DAG adds its zone
    raise _wrong("a datetime", value)


def identifier(value: Any) -> str:
    """An id as Airflow allows it: letters, digits, dashes, dots, underscores; at most 250 characters."""
    if not isinstance(value, str) or not _ID.match(value):
        raise _wrong("letters, digits, dashes, dots and underscores", value)
    if len(value) > ID_LENGTH:
        raise ValueError(f"takes at most {ID_LENGTH} characters, not {len(value)}")
    return str(value)


def callbacks(value: Any) -> tuple[Callable[[Any], Any], ...]:
    """None, one callable, or several."""
    if value is None:
        return ()
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for entry in found:
        if not callable(entry):
            raise _wrong("a callable or a list of them", entry)
    return found


def call(value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise _wrong("a callable", value)
    found: Callable[..., Any] = value
    return found


def mapping(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(not isinstance(key, str) for key in value):
        raise _wrong("a dict with string keys", value)
    return value


def links(value: Any) -> dict[str, str]:
    """Owner -> http(s) or mailto address: pages make links of them."""
    found = mapping(value)
    for owner, link in found.items():
        if not isinstance(link, str) or not link.startswith(("http://", "https://", "mailto:")):
            raise ValueError(f"takes http(s) and mailto addresses, not {link!r} for {owner!r}")
    return found


def names(value: Any) -> tuple[str, ...]:
    """A list (set, tuple) of strings, sorted and without repetition."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _wrong("a list of strings", value)
    found = list(value)
    if any(not isinstance(entry, str) for entry in found):
        raise _wrong("a list of strings", value)
    return tuple(sorted(set(found)))


def paths(value: Any) -> tuple[str, ...]:
    """A folder, or a list of folders, in order."""
    if value is None:
        return ()
    found = [value] if isinstance(value, str) or hasattr(value, "__fspath__") else list(value)
    return tuple(str(entry) for entry in found)


def zone_name(zone: tzinfo | None) -> str:
    """The IANA name of a tzinfo (zoneinfo, pendulum, pytz, whole-hour offsets); raises ValueError for others."""
    if zone is None:
        return "UTC"
    for attribute in ("key", "name", "zone"):
        found = getattr(zone, attribute, None)
        if isinstance(found, str) and found and not found.startswith(("+", "-")):
            return found
    offset = zone.utcoffset(None)
    if offset == timedelta(0):
        return "UTC"
    if offset is not None and offset % timedelta(hours=1) == timedelta(0):
        hours = offset // timedelta(hours=1)
        return f"Etc/GMT{-hours:+d}"  # POSIX signs: Etc/GMT-2 is two hours east
    raise ValueError(f"takes a time zone with an IANA name, such as ZoneInfo('Europe/Paris'), not {zone!r}")
