"""What templates find under `macros`, `var` and `conn`, and the filters for dates."""

from __future__ import annotations

import json as json
import time as time
import uuid as uuid
from datetime import datetime as datetime
from datetime import timedelta as timedelta
from random import random as random
from typing import Any

from execplane.sdk.connections import Connection
from execplane.sdk.exceptions import AirflowException
from execplane.sdk.variables import Variable

_MISSING: Any = object()


def __getattr__(name: str) -> Any:
    if name in ("dateutil", "yaml"):
        import importlib

        return importlib.import_module(name)
    raise AttributeError(f"macros has no {name!r}")


def ds_add(ds: str, days: int) -> str:
    """`ds` moved by days: ds_add('2015-01-06', -5) is '2015-01-01'."""
    return (datetime.fromisoformat(str(ds)) + timedelta(days=days)).strftime("%Y-%m-%d") if days else str(ds)


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """`ds` read by one strptime format and written by another."""
    return datetime.strptime(str(ds), input_format).strftime(output_format)  # noqa: DTZ007  text to text


def ds_format_locale(*_: Any, **__: Any) -> str:
    """Not there: month names in other languages need babel."""
    raise AirflowException(
        "execplane does not have macros.ds_format_locale: it does not bring babel.",
        hint="Use macros.ds_format, or format the date with babel in a @task.",
    )


def datetime_diff_for_humans(dt: Any, since: Any = None) -> str:
    """ "an hour ago", "2 days before"."""
    import pendulum

    return str(pendulum.instance(dt).diff_for_humans(None if since is None else pendulum.instance(since)))


class VariableAccess:
    """`var.value.key`, `var.json.key`, `var.value.get('key', 'default')`."""

    @property
    def value(self) -> _Variables:
        return _Variables(False)

    @property
    def json(self) -> _Variables:
        return _Variables(True)


class _Variables:
    def __init__(self, deserialize_json: bool) -> None:
        self._json = deserialize_json

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return Variable.get(key, deserialize_json=self._json)

    def get(self, key: str, default: Any = _MISSING) -> Any:
        if default is _MISSING:
            return Variable.get(key, deserialize_json=self._json)
        return Variable.get(key, default_var=default, deserialize_json=self._json)


class ConnectionAccess:
    """`conn.my_db.host`, `conn.get('my_db', default)`."""

    def __getattr__(self, conn_id: str) -> Connection:
        if conn_id.startswith("__"):
            raise AttributeError(conn_id)
        return Connection.get(conn_id)

    def get(self, conn_id: str, default: Any = _MISSING) -> Any:
        from execplane.sdk.exceptions import AirflowNotFoundException

        try:
            return Connection.get(conn_id)
        except AirflowNotFoundException:
            if default is _MISSING:
                raise
            return default


FILTERS = {
    "ds": lambda value: value.strftime("%Y-%m-%d"),
    "ds_nodash": lambda value: value.strftime("%Y%m%d"),
    "ts": lambda value: value.isoformat(),
    "ts_nodash": lambda value: value.strftime("%Y%m%dT%H%M%S"),
    "ts_nodash_with_tz": lambda value: value.isoformat().replace("-", "").replace(":", ""),
}
