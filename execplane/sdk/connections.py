"""`Connection` and `BaseHook`: where other systems are and how to log in. The environment wins over the store."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from execplane.contract.secret_names import is_sensitive
from execplane.sdk import masking, services
from execplane.sdk.exceptions import AirflowException, AirflowNotFoundException
from execplane.sdk.log import LoggingMixin

_PREFIXES = ("EXECPLANE_CONN_", "AIRFLOW_CONN_")
_FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")


class Connection:
    """One Connection, with Airflow's fields. Give either `uri` or the parts."""

    EXTRA_KEY = "__extra__"

    def __init__(
        self,
        conn_id: str | None = None,
        conn_type: str | None = None,
        description: str | None = None,
        host: str | None = None,
        login: str | None = None,
        password: str | None = None,
        schema: str | None = None,
        port: int | str | None = None,
        extra: str | dict[str, Any] | None = None,
        uri: str | None = None,
    ) -> None:
        self.conn_id = conn_id
        self.conn_type = conn_type
        self.description = description
        self.host = host
        self.login = login
        self.password = password
        self.schema = schema
        self.port = int(port) if port not in (None, "") else None
        self.extra: str | None = json.dumps(extra) if isinstance(extra, dict) else extra
        if uri is not None:
            if any((conn_type, host, login, password, schema, port, extra)):
                raise AirflowException("Connection takes either uri or the parts, not both.")
            self._parse(uri)

    def _parse(self, uri: str) -> None:
        parts = urlsplit(uri)
        scheme = parts.scheme.replace("-", "_")
        self.conn_type = {"postgresql": "postgres"}.get(scheme, scheme)
        netloc, _, rest = uri.partition("://")[2].partition("?")[0].partition("/")
        credentials, at, address = netloc.rpartition("@")
        if at:
            login, colon, password = credentials.partition(":")
            self.login = unquote(login)
            self.password = unquote(password) if colon else None
        host, _, port = address.rpartition(":") if _has_port(address) else (address, "", "")
        self.host = unquote(host.strip("[]")) or None
        self.port = int(port) if port else None
        self.schema = unquote(rest) or None
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if self.EXTRA_KEY in query:
            self.extra = query[self.EXTRA_KEY]
        elif query:
            self.extra = json.dumps(query)

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """`extra` as a dict; {} when there is none."""
        if not self.extra:
            return {}
        found = json.loads(self.extra)
        return found if isinstance(found, dict) else {}

    def get_extra_dejson(self) -> dict[str, Any]:
        return self.extra_dejson

    def get_password(self) -> str | None:
        return self.password

    def get_uri(self) -> str:
        """The Connection as Airflow's URI."""
        text = f"{(self.conn_type or '').replace('_', '-')}://"
        if self.login is not None or self.password is not None:
            text += quote(self.login or "", safe="")
            if self.password is not None:
                text += ":" + quote(self.password, safe="")
            text += "@"
        text += quote(self.host or "", safe="")
        if self.port is not None:
            text += f":{self.port}"
        if self.schema or self.extra:
            text += "/" + quote(self.schema or "", safe="")
        if self.extra:
            extra = self.extra_dejson
            flat = extra and all(isinstance(value, str) for value in extra.values())
            text += "?" + urlencode(extra if flat else {self.EXTRA_KEY: self.extra})
        return text

    def as_json(self) -> str:
        """The JSON that `from_json` reads, and that the worker API answers."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps({name: value for name, value in fields.items() if value is not None})

    @classmethod
    def from_json(cls, text: str, conn_id: str | None = None) -> Connection:
        """Reads Airflow's JSON form; `extra` may be a dict or JSON text."""
        try:
            found = json.loads(text)
            if not isinstance(found, dict):
                raise TypeError("not an object")
            known = {name: found[name] for name in _FIELDS if name in found}
            return cls(conn_id=conn_id, **known)
        except (ValueError, TypeError) as error:
            raise AirflowException(f"Connection {conn_id!r} is not Airflow's JSON form: {error}.") from None

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """The Connection of this id: EXECPLANE_CONN_<ID>, AIRFLOW_CONN_<ID> (URI or JSON), then the store."""
        found = _from_environment(conn_id)
        if found is None:
            answer = services.current().connection_get(conn_id)
            if answer is None:
                raise AirflowNotFoundException(
                    f"The conn_id {conn_id!r} isn't defined.",
                    hint=f"Create the Connection, or set AIRFLOW_CONN_{conn_id.upper()} to its URI or JSON.",
                )
            found = cls.from_json(answer.value, conn_id)
        masking.learn(found.password)
        for key, value in found.extra_dejson.items():
            if isinstance(value, str) and is_sensitive(key):
                masking.learn(value)
        return found

    @classmethod
    def get_connection_from_secrets(cls, conn_id: str) -> Connection:
        return cls.get(conn_id)

    def __repr__(self) -> str:
        return f"Connection({self.conn_id or ''})"


def _has_port(address: str) -> bool:
    tail = address.rpartition(":")[2]
    return ":" in address and (tail.isdigit() or tail == "") and not address.endswith("]")


def _from_environment(conn_id: str) -> Connection | None:
    for prefix in _PREFIXES:
        text = os.environ.get(prefix + conn_id.upper())
        if text is not None:
            if text.lstrip().startswith("{"):
                return Connection.from_json(text, conn_id)
            return Connection(conn_id=conn_id, uri=text)
    return None


class BaseHook(LoggingMixin):
    """The root of authors' own hooks: finds Connections."""

    conn_name_attr = ""
    default_conn_name = ""
    conn_type = ""
    hook_name = ""

    def __init__(self, source: Any = None, logger_name: str | None = None) -> None:
        self._logger_name = logger_name or ""

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        return Connection.get(conn_id)

    @classmethod
    def get_connections(cls, conn_id: str) -> list[Connection]:
        return [Connection.get(conn_id)]

    def get_conn(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define get_conn().")
