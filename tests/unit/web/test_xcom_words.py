"""What the codec writes, as a person reads it; what it never wrote stays as it is."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from execplane.sdk import xcom
from execplane.web.xcom_words import readable


class Size(enum.Enum):
    SMALL = 1


@dataclass
class Line:
    size: Size
    price: Decimal


@dataclass
class Order:
    number: int
    lines: list[Line]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02 03:04:05+00:00"),
        (datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), "2024-07-01 00:00:00+02:00 Europe/Berlin"),
        (date(2024, 1, 2), "2024-01-02"),
        (timedelta(days=1, hours=2), "1 day, 2:00:00"),
        (Decimal("12.30"), "12.30"),
        (1 << 70, str(1 << 70)),
        (float("nan"), "nan"),
        (UUID(int=5), str(UUID(int=5))),
        (Path("/srv/a"), "/srv/a"),
        (b"hello", '5 bytes: "hello"'),
        (b"\xff", "1 byte: ff"),
        (b"", "0 bytes"),
        (bytes(100), "100 bytes: " + "00 " * 64 + "…"),
        ("a\x00b", r'"a\u0000b"'),
        (Size.SMALL, "Size.SMALL"),
        (set(), "set()"),
        ((1, "a"), '(\n  1,\n  "a"\n)'),
        ({"__type__": "mine"}, '{\n  "__type__": "mine"\n}'),
        (
            Order(7, [Line(Size.SMALL, Decimal("1.5"))]),
            "Order(\n  number = 7,\n  lines = [\n    Line(\n      size = Size.SMALL,\n      price = 1.5\n    )\n  ]\n)",
        ),
    ],
)
def test_a_value_is_told_by_what_it_is(value: Any, told: str) -> None:
    assert readable(xcom.encode(value).decode()) == told


@pytest.mark.parametrize("value", [{}, [], None, "größe", {"a": [1, {"b": []}], "c": {"d": 1.5}}])
def test_what_has_no_tags_is_its_json(value: Any) -> None:
    assert readable(json.dumps(value)) == json.dumps(value, indent=2, ensure_ascii=False)


@pytest.mark.parametrize(
    "stored",
    [
        {"__type__": "of tomorrow", "__value__": 1},
        {"__type__": ["odd"], "__value__": 1},
        {"__type__": "datetime", "__value__": {}},
        {"__type__": "bytes", "__value__": "no base64!"},
        {"__type__": "decimal", "__value__": 3},
        {"__type__": "dataclass"},
    ],
)
def test_a_tag_that_makes_no_sense_stays_as_it_is_stored(stored: Any) -> None:
    assert readable(json.dumps(stored)) == json.dumps(stored, indent=2)


def test_what_is_no_json_or_too_deep_stays_as_it_is() -> None:
    assert readable("<html>") == "<html>"
    assert readable("[" * 30_000) == "[" * 30_000
