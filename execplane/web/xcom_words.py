"""An XCom as people read it: what the codec tags (see `execplane.sdk.xcom`) stands as a time, a class, a number of
bytes. Pure; no class of an author's is imported.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

_TYPE, _VALUE = "__type__", "__value__"
_BYTES_SHOWN = 64
_STEP = "  "


def readable(text: str) -> str:
    """The value in lines; what has no tags as its JSON, what is not JSON as it stands."""
    try:
        return _told(json.loads(text), "")
    except (ValueError, RecursionError):
        return text


def _told(value: Any, lead: str) -> str:
    if isinstance(value, dict):
        if _TYPE in value:
            return _tagged(value, lead)
        return _object(value.items(), lead)
    if isinstance(value, list):
        return _block("[", value, "]", lead)
    return _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(pairs: Iterable[tuple[Any, Any]], lead: str) -> str:
    return _lines("{", [f"{_plain(key)}: {_told(value, lead + _STEP)}" for key, value in pairs], "}", lead)


def _block(before: str, entries: Iterable[Any], after: str, lead: str) -> str:
    return _lines(before, [_told(entry, lead + _STEP) for entry in entries], after, lead)


def _lines(before: str, parts: list[str], after: str, lead: str) -> str:
    if not parts:
        return before + after
    inner = f",\n{lead}{_STEP}".join(parts)
    return f"{before}\n{lead}{_STEP}{inner}\n{lead}{after}"


def _tagged(value: dict[str, Any], lead: str) -> str:
    """A tag that we do not know, or that holds what it should not, stays as it is stored."""
    try:
        return _TELLERS[value[_TYPE]](value[_VALUE], lead)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        return _object(value.items(), lead)


def _moment(inner: dict[str, Any], lead: str) -> str:
    zone = inner.get("zone")
    at: str = inner["at"].replace("T", " ", 1)
    return f"{at} {zone}" if zone else at


def _bytes(inner: str, lead: str) -> str:
    data = base64.b64decode(inner, validate=True)
    shown = data[:_BYTES_SHOWN]
    try:
        text = shown.decode("ascii")
        said = _plain(text) if text.isprintable() else shown.hex(" ")
    except UnicodeDecodeError:
        said = shown.hex(" ")
    more = " …" if len(data) > len(shown) else ""
    return f"{len(data)} byte{'' if len(data) == 1 else 's'}" + (f": {said}{more}" if data else "")


def _text(inner: str, lead: str) -> str:
    # What JSON cannot carry bare (NUL, lone surrogates) is escaped, as in a program.
    return json.dumps(base64.b64decode(inner, validate=True).decode("utf-8", "surrogatepass"))


def _class(name: str) -> str:
    return name.rpartition(":")[2]


def _dataclass(inner: dict[str, Any], lead: str) -> str:
    fields = [f"{name} = {_told(value, lead + _STEP)}" for name, value in inner["fields"]]
    return _lines(f"{_class(inner['class'])}(", fields, ")", lead)


def _bare(inner: str, lead: str) -> str:
    if not isinstance(inner, str):
        raise TypeError(inner)
    return inner


_TELLERS: dict[Any, Callable[[Any, str], str]] = {
    "datetime": _moment,
    "pendulum": _moment,
    "date": _bare,
    "time": _bare,
    "timedelta": lambda inner, lead: str(timedelta(days=inner[0], seconds=inner[1], microseconds=inner[2])),
    "int": _bare,
    "float": _bare,
    "decimal": _bare,
    "uuid": _bare,
    "path": _bare,
    "bytes": _bytes,
    "str": _text,
    "dict": lambda inner, lead: _object(((key, value) for key, value in inner), lead),
    "tuple": lambda inner, lead: _block("(", inner, ")", lead),
    "set": lambda inner, lead: _block("{", inner, "}", lead) if inner else "set()",
    "frozenset": lambda inner, lead: _block("frozenset({", inner, "})", lead),
    "dataclass": _dataclass,
    "enum": lambda inner, lead: f"{_class(inner['class'])}.{inner['name']}",
}
