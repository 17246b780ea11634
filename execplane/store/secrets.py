"""Variables and Connections, encrypted with rotatable keys; each access by a task is recorded once."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from execplane.contract.errors import ConfigError, InvalidInput
from execplane.store.database import write
from execplane.store.models import Connection, SecretAccess, Variable

MOST_VALUE_BYTES = 1 << 20


class SecretBox:
    """Encrypts with the newest key and decrypts with any: rotate by putting a new key in front."""

    def __init__(self, keys: list[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise ConfigError(
                "EXECPLANE_FERNET_KEYS holds something that is not a Fernet key.",
                hint="Make one with `execplane config new-fernet-key`.",
            ) from None

    def seal(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes, what: str) -> str:
        """Raises ConfigError when no key fits."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise ConfigError(
                f"{what} was encrypted with a key that EXECPLANE_FERNET_KEYS no longer holds.",
                hint="Add the old key behind the new one, or set the value again.",
            ) from None

    def rotate(self, sealed: bytes) -> bytes:
        return self._fernet.rotate(sealed)


def variable(box: SecretBox, key: str) -> str | None:
    row = Variable.objects.filter(key=key).values_list("value", flat=True).first()
    return None if row is None else box.open(bytes(row), f"The Variable {key}")


def set_variable(box: SecretBox, key: str, value: str, description: str = "") -> None:
    if not key or len(key) > 250:
        raise InvalidInput("A Variable's key has 1 to 250 characters.")
    if len(value.encode()) > MOST_VALUE_BYTES:
        raise InvalidInput(f"The Variable {key} is larger than {MOST_VALUE_BYTES} bytes.")
    defaults: dict[str, Any] = {"value": box.seal(value)}
    if description:
        defaults["description"] = description
    with write():
        Variable.objects.update_or_create(key=key, defaults=defaults)


def delete_variable(key: str) -> bool:
    with write():
        return bool(Variable.objects.filter(key=key).delete()[0])


def connection_json(box: SecretBox, conn_id: str) -> str | None:
    """As Airflow's JSON form of a connection, with conn_id."""
    row = Connection.objects.filter(conn_id=conn_id).first()
    if row is None:
        return None
    secret = json.loads(box.open(bytes(row.secret), f"The Connection {conn_id}"))
    return json.dumps(
        {
            "conn_id": row.conn_id,
            "conn_type": row.conn_type,
            "host": row.host or None,
            "schema": row.schema or None,
            "login": row.login or None,
            "port": row.port,
            "password": secret.get("password"),
            "extra": secret.get("extra"),
            "description": row.description or None,
        }
    )


def set_connection(box: SecretBox, conn_id: str, fields: dict[str, Any]) -> None:
    """fields: conn_type, host, schema, login, port, password, extra, description."""
    secret = {"password": fields.get("password"), "extra": fields.get("extra")}
    with write():
        Connection.objects.update_or_create(
            conn_id=conn_id,
            defaults={
                "conn_type": fields.get("conn_type") or "",
                "host": fields.get("host") or "",
                "schema": fields.get("schema") or "",
                "login": fields.get("login") or "",
                "port": fields.get("port"),
                "description": fields.get("description") or "",
                "secret": box.seal(json.dumps(secret)),
            },
        )


def delete_connection(conn_id: str) -> bool:
    with write():
        return bool(Connection.objects.filter(conn_id=conn_id).delete()[0])


def names(kind: str, *, limit: int = 1000) -> list[tuple[str, str]]:
    """(name, description) of the Variables ("variable") or Connections ("connection"); never a value."""
    if kind == "variable":
        return list(Variable.objects.order_by("key").values_list("key", "description")[:limit])
    return list(Connection.objects.order_by("conn_id").values_list("conn_id", "description")[:limit])


def record_access(attempt_id: int, kind: str, name: str, *, found: bool, now: datetime) -> None:
    """Once per attempt and name."""
    with write():
        SecretAccess.objects.bulk_create(
            [SecretAccess(attempt_id=attempt_id, kind=kind, name=name[:250], found=found, at=now)],
            ignore_conflicts=True,
        )
