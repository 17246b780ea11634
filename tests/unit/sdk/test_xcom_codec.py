from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.sdk import xcom
from execplane.sdk.exceptions import XComDecodeError, XComEncodeError


@dataclass
class Point:
    x: int
    at: datetime
    tags: tuple[str, ...] = ()
    length: int = field(init=False, default=0)


@dataclass(frozen=True)
class Frozen:
    inner: Point
    computed: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "computed", self.inner.x * 2)


class Colour(enum.Enum):
    RED = "red"


class Named(enum.StrEnum):
    ONE = "one"


zones: Any = st.sampled_from([UTC, ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Kolkata"), None])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9000, 1, 1), timezones=zones)
    | st.sampled_from([Colour.RED, Named.ONE])
)
hashable = st.text(st.characters(exclude_categories=())) | st.integers() | st.dates() | st.binary()
no_surrogates: Any = ("Cs",)
keys = st.text(st.characters(exclude_categories=no_surrogates, exclude_characters="\x00")) | st.sampled_from(
    ["__type__", "__value__"]
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(keys, inner)
        | st.tuples(inner, inner)
        | st.sets(hashable)
        | st.frozensets(hashable)
    ),
    max_leaves=20,
)


@given(values)
def test_a_value_comes_back_as_it_was_pushed(value: Any) -> None:
    data = xcom.encode(value)
    found = xcom.decode(data)
    assert found == value
    assert type(found) is type(value)


@given(values)
def test_what_is_stored_is_utf8_json_without_nul(value: Any) -> None:
    data = xcom.encode(value)
    data.decode("utf-8")
    assert b"\x00" not in data
    assert b"\\u0000" not in data
    json.loads(data)


@given(st.dictionaries(keys, values))
def test_a_dict_that_looks_like_a_tag_stays_a_dict(value: dict[str, Any]) -> None:
    look_alike = {**value, "__type__": "bytes", "__value__": "AAAA"}
    assert xcom.decode(xcom.encode(look_alike)) == look_alike


def test_dataclasses_come_back_as_their_class() -> None:
    point = Point(x=1, at=datetime(2024, 1, 1, tzinfo=UTC), tags=("a", "b"))
    point.length = 7
    found = xcom.decode(xcom.encode([Frozen(inner=point)]))
    assert found == [Frozen(inner=point)]
    assert isinstance(found[0].inner, Point)
    assert found[0].inner.length == 7
    assert found[0].computed == 2


def test_ambiguous_hours_keep_their_fold() -> None:
    paris = ZoneInfo("Europe/Paris")
    first = datetime(2024, 10, 27, 2, 30, tzinfo=paris, fold=0)
    second = datetime(2024, 10, 27, 2, 30, tzinfo=paris, fold=1)
    found = xcom.decode(xcom.encode([first, second]))
    assert [value.utcoffset() for value in found] == [timedelta(hours=2), timedelta(hours=1)]


def test_pendulum_moments_stay_pendulum() -> None:
    import pendulum

    moment = pendulum.datetime(2024, 3, 31, 4, tz="Europe/Paris")
    found = xcom.decode(xcom.encode(moment))
    assert isinstance(found, pendulum.DateTime)
    assert found == moment
    assert found.add(days=1).day == 1


def test_number_keys_become_text_as_in_airflow() -> None:
    assert xcom.decode(xcom.encode({7: "a", 2.5: "b", None: "c", True: "d"})) == {
        "7": "a",
        "2.5": "b",
        "null": "c",
        "true": "d",
    }


def test_equal_sets_give_equal_bytes() -> None:
    names = [f"name-{number}" for number in range(50)]
    assert xcom.encode(set(names)) == xcom.encode(set(names))


def test_infinity_and_nan_survive_as_valid_json() -> None:
    data = xcom.encode([float("inf"), float("nan")])
    found = xcom.decode(data)
    assert found[0] == float("inf")
    assert found[1] != found[1]
    json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    "value",
    [date(2024, 1, 1), time(1, 2, 3), Decimal("1.10"), UUID(int=7), Path("/tmp/x"), 1 << 80, (1, (2, 3)), {1, 2}],
    ids=str,
)
def test_types_that_json_has_not_keep_their_type(value: Any) -> None:
    found = xcom.decode(xcom.encode(value))
    assert found == value
    assert isinstance(found, type(value))


class Opaque:
    pass


def test_an_unknown_object_is_refused_with_type_place_task_and_reason() -> None:
    with pytest.raises(XComEncodeError) as caught:
        xcom.encode({"rows": [1, Opaque()]}, task="extract")
    message = str(caught.value)
    assert "test_xcom_codec.Opaque" in message
    assert "value['rows'][1]" in message
    assert "'extract'" in message
    assert "never pickles" in message
    assert "dataclass" in caught.value.hint


def test_a_key_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(XComEncodeError, match=r"value\['rows'\]\[0\] has a key of type tuple"):
        xcom.encode({"rows": [{(1, 2): "x"}]})
    with pytest.raises(XComEncodeError, match="a key of value holds a NUL"):
        xcom.encode({"a\x00": 1})


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(XComEncodeError, match="contains itself"):
        xcom.encode(endless)


def test_a_local_dataclass_is_refused_because_nobody_can_import_it() -> None:
    @dataclass
    class Local:
        x: int

    with pytest.raises(XComEncodeError, match="no other process can import"):
        xcom.encode(Local(1))


def test_a_class_that_is_gone_is_named_when_reading() -> None:
    gone = b'{"__type__":"dataclass","__value__":{"class":"no.such.module:Thing","fields":[]}}'
    with pytest.raises(XComDecodeError, match=r"no\.such\.module:Thing"):
        xcom.decode(gone)


def test_reading_never_makes_anything_but_dataclasses_and_enums() -> None:
    for kind in ("dataclass", "enum"):
        data = json.dumps({"__type__": kind, "__value__": {"class": "os:system", "fields": [], "name": "x"}})
        with pytest.raises(XComDecodeError, match="os:system"):
            xcom.decode(data)


def test_a_tag_of_a_newer_version_is_named() -> None:
    with pytest.raises(XComDecodeError, match="'matrix'"):
        xcom.decode(b'{"__type__":"matrix","__value__":[]}')


def test_hours_that_a_clock_change_skips_stay_as_they_were_written() -> None:
    missing = datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Paris"))
    assert xcom.decode(xcom.encode(missing)).isoformat() == missing.isoformat()
