"""`airflow.utils.timezone`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from execplane.contract.clock import SystemClock

utc = dt.UTC


def utcnow() -> dt.datetime:
    return SystemClock().now()


def datetime(*args: Any, **kwargs: Any) -> dt.datetime:
    """A datetime in UTC, where no tzinfo is given."""
    kwargs.setdefault("tzinfo", utc)
    return dt.datetime(*args, **kwargs)  # noqa: DTZ001  the line above gives it


def is_localized(value: dt.datetime) -> bool:
    return value.utcoffset() is not None


def is_naive(value: dt.datetime) -> bool:
    return value.utcoffset() is None


def make_aware(value: dt.datetime, timezone: dt.tzinfo = utc) -> dt.datetime:
    if is_localized(value):
        raise ValueError(f"make_aware expects a naive datetime, got {value}")
    localize = getattr(timezone, "localize", None)
    found: dt.datetime = localize(value) if localize is not None else value.replace(tzinfo=timezone)
    return found


def make_naive(value: dt.datetime, timezone: dt.tzinfo = utc) -> dt.datetime:
    if is_naive(value):
        raise ValueError("make_naive() cannot be applied to a naive datetime")
    return value.astimezone(timezone).replace(tzinfo=None)


def convert_to_utc(value: dt.datetime | None) -> dt.datetime | None:
    if value is None:
        return None
    return make_aware(value) if is_naive(value) else value.astimezone(utc)


def coerce_datetime(value: dt.datetime | None) -> Any:
    """A pendulum DateTime, in UTC where the value has no zone."""
    if value is None:
        return None
    import pendulum

    return pendulum.instance(value if is_localized(value) else value.replace(tzinfo=utc))


def parse(text: str, timezone: dt.tzinfo = utc) -> Any:
    import pendulum

    return pendulum.instance(pendulum.parse(text, tz=timezone, strict=False))  # type: ignore[arg-type]
