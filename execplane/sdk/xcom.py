"""The XCom codec: JSON, with tags for what JSON has not.

A tagged value is `{"__type__": name, "__value__": ...}`. A dict of the author's that has a "__type__" key is written
as a tagged list of pairs, so nothing an author returns can be mistaken for a tag.

Pickles are refused: they tie a value to one version of
one class, and run code when they are read.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import importlib
import json
import math
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from execplane.sdk.exceptions import XComDecodeError, XComEncodeError
from execplane.sdk.xcom_arg import RETURN_KEY as RETURN_KEY

TYPE = "__type__"
VALUE = "__value__"
_INT_LIMIT = 1 << 63
_PLAIN_KEYS = (int, float, type(None))
_WRITER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)


def encode(value: Any, *, task: str = "") -> bytes:
    """JSON of `value` in UTF-8, without NUL. Raises XComEncodeError naming the type, where it sits, and the task."""
    try:
        return _WRITER.encode(_pack(value)).encode("utf-8")
    except _Refused as refused:
        whose = f"task {task!r} " if task else "the task "
        message = str(refused).format(path="value" + "".join(reversed(refused.path)))
        raise XComEncodeError(f"An XCom of {whose}cannot be kept: {message}.", hint=refused.hint) from None
    except RecursionError:
        whose = f"task {task!r}" if task else "the task"
        raise XComEncodeError(
            f"An XCom of {whose} is nested too deeply, or contains itself.", hint="Return a flat value."
        ) from None


def decode(data: bytes | memoryview | str) -> Any:
    """The value that `encode` was given. Raises XComDecodeError when a class cannot be imported here."""
    if isinstance(data, memoryview):
        data = bytes(data)
    return json.loads(data, object_hook=_unpack)


class _Refused(Exception):
    """`{path}` in the message becomes the place; containers add their part of it on the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
        self.path: list[str] = []
        self.about_key = False


def _tag(name: str, value: Any) -> dict[str, Any]:
    return {TYPE: name, VALUE: value}


def _pack(value: Any) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _pack_text(value)
    if kind is int:
        return value if -_INT_LIMIT <= value < _INT_LIMIT else _tag("int", str(value))
    if kind is float:
        return value if math.isfinite(value) else _tag("float", repr(value))
    if kind is list:
        return _entries(value)
    if kind is dict:
        return _pack_dict(value)
    return _pack_other(value)


def _pack_text(value: str) -> Any:
    # PostgreSQL keeps no NUL, and UTF-8 no lone surrogate: such strings travel as bytes.
    if "\x00" not in value and (value.isascii() or _is_utf8(value)):
        return value
    return _tag("str", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii"))


def _is_utf8(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _pack_dict(value: dict[Any, Any]) -> Any:
    packed: dict[str, Any] = {}
    name: Any = ""
    try:
        for key, entry in value.items():
            name = key if type(key) is str and key.isascii() and "\x00" not in key else _pack_key(key)
            packed[name] = _pack(entry)
    except _Refused as refused:
        if not refused.about_key:
            refused.path.append(f"[{name!r}]")
        refused.about_key = False
        raise
    return _tag("dict", list(packed.items())) if TYPE in packed else packed


def _pack_key(key: Any) -> str:
    if isinstance(key, str):
        name = str.__str__(key)
        if _pack_text(name) is not name:
            raise _key_refused("a key of {path} holds a NUL or a lone surrogate")
        return str(name)
    if isinstance(key, _PLAIN_KEYS):
        return json.dumps(key)  # 1 becomes "1", as in Airflow and in JSON itself
    raise _key_refused("{path} has a key of type " + _type_name(key))


def _key_refused(message: str) -> _Refused:
    refused = _Refused(message, "Use plain text or numbers as keys.")
    refused.about_key = True
    return refused


def _zone_key(value: datetime) -> str | None:
    zone = value.tzinfo
    for attribute in ("key", "name", "zone"):
        found = getattr(zone, attribute, None)
        if isinstance(found, str) and "/" in found:
            return found
    return None


def _pack_moment(value: datetime) -> Any:
    packed: dict[str, Any] = {"at": datetime.isoformat(value)}
    if (key := _zone_key(value)) is not None:
        packed["zone"] = key
    if value.fold:
        packed["fold"] = 1
    is_pendulum = type(value).__module__.startswith("pendulum")
    return _tag("pendulum" if is_pendulum else "datetime", packed)


def _pack_dataclass(value: Any) -> Any:
    cls = type(value)
    name = _import_name(cls)
    fields = []
    for field in dataclasses.fields(cls):
        try:
            fields.append([field.name, _pack(getattr(value, field.name))])
        except _Refused as refused:
            refused.path.append(f".{field.name}")
            raise
    return _tag("dataclass", {"class": name, "fields": fields})


def _import_name(cls: type) -> str:
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise _Refused(
            "{path} is of class " + f"{cls.__qualname__}, which no other process can import",
            "Define the class at the top level of a module.",
        )
    return f"{cls.__module__}:{cls.__qualname__}"


def _pack_other(value: Any) -> Any:
    for kind, pack in _PACKERS:
        if isinstance(value, kind):
            return pack(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _pack_dataclass(value)
    module = type(value).__module__.partition(".")[0]
    advice = {
        "pandas": "Write the frame to a file or a table, and return its path or name.",
        "numpy": "Return value.tolist() or value.item().",
        "polars": "Write the frame to a file or a table, and return its path or name.",
    }
    raise _Refused(
        "{path} is of type " + f"{_type_name(value)}, and XComs are JSON, never pickles, because a pickle runs "
        "code when it is read and breaks with the next version of its class",
        advice.get(module, "Return plain values (text, numbers, lists, dicts, dates, bytes) or a dataclass."),
    )


def _pack_enum(value: enum.Enum) -> Any:
    return _tag("enum", {"class": _import_name(type(value)), "name": value.name})


def _type_name(value: Any) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _entries(value: Any) -> list[Any]:
    packed: list[Any] = []
    try:
        for entry in value:
            packed.append(_pack(entry))
    except _Refused as refused:
        refused.path.append(f"[{len(packed)}]")
        raise
    return packed


def _members(value: Any) -> list[Any]:
    """Entries of a set in an order that does not depend on the process's hash seed."""
    return sorted(_entries(value), key=lambda packed: json.dumps(packed, sort_keys=True))


# The order matters: datetime is a date, bool an int, an enum may be a str.
_PACKERS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (enum.Enum, _pack_enum),
    (datetime, lambda value: _pack_moment(value)),
    (date, lambda value: _tag("date", date.isoformat(value))),
    (time, lambda value: _tag("time", time.isoformat(value))),
    (timedelta, lambda value: _tag("timedelta", [value.days, value.seconds, value.microseconds])),
    (Decimal, lambda value: _tag("decimal", str(value))),
    ((bytes), lambda value: _tag("bytes", base64.b64encode(value).decode("ascii"))),
    ((bytearray), lambda value: _tag("bytes", base64.b64encode(value).decode("ascii"))),
    (tuple, lambda value: _tag("tuple", _entries(value))),
    (frozenset, lambda value: _tag("frozenset", _members(value))),
    (set, lambda value: _tag("set", _members(value))),
    (UUID, lambda value: _tag("uuid", str(value))),
    (PurePath, lambda value: _tag("path", str(value))),
    (str, lambda value: _pack(str.__str__(value))),
    (int, lambda value: _pack(int(value))),
    (float, lambda value: _pack(float(value))),
    (dict, lambda value: _pack_dict(value)),
    (list, lambda value: _entries(value)),
)


def _unpack(value: dict[str, Any]) -> Any:
    """A JSON object, its own members unpacked already."""
    name = value.get(TYPE)
    if name is None:
        return value
    unpack = _UNPACKERS.get(name)
    if unpack is None:
        raise XComDecodeError(
            f"An XCom has the unknown type {name!r}.", hint="It was written by a newer execplane: update the worker."
        )
    return unpack(value.get(VALUE))


def _unpack_moment(inner: dict[str, Any]) -> datetime:
    found = datetime.fromisoformat(inner["at"])
    if (key := inner.get("zone")) is not None:
        from zoneinfo import ZoneInfo

        zone = ZoneInfo(key)
        wall = found.replace(tzinfo=zone, fold=inner.get("fold", 0))
        # The same wall clock, unless this machine's zone data tells another instant.
        return wall if wall.utcoffset() == found.utcoffset() else found.astimezone(zone)
    return found


def _unpack_pendulum(inner: dict[str, Any]) -> datetime:
    import pendulum

    return pendulum.instance(_unpack_moment(inner))


def _find_class(name: str) -> Any:
    module_name, _, qualname = name.partition(":")
    try:
        found: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise XComDecodeError(
            f"An XCom is of class {name}, which cannot be imported here ({error}).",
            hint="Define the class in a module that both tasks can import.",
        ) from None
    return found


def _unpack_dataclass(inner: dict[str, Any]) -> Any:
    cls = _find_class(inner["class"])
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise XComDecodeError(f"An XCom is of class {inner['class']}, which is not a dataclass any more.")
    fields: dict[str, Any] = dict(inner["fields"])
    known = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(fields) - set(known)):
        raise XComDecodeError(
            f"An XCom of class {inner['class']} has the field {unknown[0]!r}, which the class has not any more."
        )
    made = cls(**{key: entry for key, entry in fields.items() if known[key].init})
    for key, entry in fields.items():
        if not known[key].init:
            object.__setattr__(made, key, entry)
    return made


def _unpack_enum(inner: dict[str, Any]) -> Any:
    cls = _find_class(inner["class"])
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
        raise XComDecodeError(f"An XCom is of class {inner['class']}, which is not an enum any more.")
    try:
        return cls[inner["name"]]
    except KeyError:
        raise XComDecodeError(f"An XCom is {inner['class']}.{inner['name']}, which does not exist any more.") from None


_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "str": lambda inner: base64.b64decode(inner).decode("utf-8", "surrogatepass"),
    "int": int,
    "float": float,
    "datetime": _unpack_moment,
    "pendulum": _unpack_pendulum,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda inner: timedelta(days=inner[0], seconds=inner[1], microseconds=inner[2]),
    "decimal": Decimal,
    "bytes": base64.b64decode,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "uuid": UUID,
    "path": lambda inner: __import__("pathlib").Path(inner),
    "dataclass": _unpack_dataclass,
    "enum": _unpack_enum,
}


def map_length(value: Any) -> int | None:
    """How many instances a task that maps over `value` gets; None where one cannot map over it."""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return len(value)
    return None
