"""Variables and Connections, encrypted with rotatable keys; each access by a task or a DAG file is recorded once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from execplane.contract.errors import ConfigError, Conflict, InvalidInput
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.models import Connection, SecretAccess, Variable

MOST_VALUE_BYTES = 1 << 20
_LONGEST_KEY = 250
_ASKED_AT_ONCE = 900
_NAMES = {"key": "key", "conn_id": "id"}


class SecretBox:
    """Encrypts with the newest key and decrypts with any: rotate by putting a new key in front."""

    def __init__(self, keys: list[str]) -> None:
        if not keys:
            raise ConfigError(
                "EXECPLANE_FERNET_KEYS is empty.", hint="Make a key with `execplane config new-fernet-key`."
            )
        try:
            fernets = [Fernet(key) for key in keys]
        except ValueError:
            raise ConfigError(
                "EXECPLANE_FERNET_KEYS holds something that is not a Fernet key.",
                hint="Make one with `execplane config new-fernet-key`.",
            ) from None
        self._newest, self._fernet = fernets[0], MultiFernet(fernets)

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

    def has_newest_key(self, sealed: bytes) -> bool:
        try:
            self._newest.decrypt(sealed)
        except InvalidToken:
            return False
        return True


def _check(model: type[Variable | Connection], texts: Mapping[str, str]) -> None:
    """PostgreSQL refuses what is longer than its column; SQLite would keep it."""
    for name, text in texts.items():
        most = getattr(model._meta.get_field(name), "max_length", None) or len(text)
        if name in _NAMES and not 0 < len(text) <= most:
            raise InvalidInput(f"A {model.__name__}'s {_NAMES[name]} has 1 to {most} characters.")
        if len(text) > most:
            raise InvalidInput(f"A {model.__name__}'s {name} has at most {most} characters.")


def variable(box: SecretBox, key: str) -> str | None:
    row = Variable.objects.filter(key=key).values_list("value", flat=True).first()
    return None if row is None else box.open(bytes(row), f"The Variable {key}")


def variable_stamps(keys: Collection[str]) -> dict[str, str]:
    """What tells the value of each of these Variables, as far as they are stored, from another one (index: that of the
    key). The same value sealed with another key keeps its stamp."""
    found: dict[str, str] = {}
    for some in _portions(keys):
        found.update(Variable.objects.filter(key__in=some).values_list("key", "stamp"))
    return found


def variables_for_file(box: SecretBox, keys: Collection[str], file: str, *, now: datetime) -> dict[str, str]:
    """The values of these Variables, as far as they are stored, for a DAG file that reads them at its top level; that
    it does is recorded. Raises ConfigError when one cannot be opened."""
    values: dict[str, str] = {}
    with write():
        for some in _portions(keys):
            found = Variable.objects.filter(key__in=some).order_by("key").values_list("key", "value")
            values.update((key, box.open(bytes(value), f"The Variable {key}")) for key, value in found)
        for key in values:
            audit("parsing", "read", f"variable:{key}", now=now, after={"file": file})
    return values


def _portions(keys: Collection[str]) -> Iterator[list[str]]:
    """What may be a key at all, as many at once as every SQLite takes."""
    possible = sorted(key for key in keys if 0 < len(key) <= _LONGEST_KEY and "\0" not in key)
    for start in range(0, len(possible), _ASKED_AT_ONCE):
        yield possible[start : start + _ASKED_AT_ONCE]


def set_variable(
    box: SecretBox, key: str, value: str | None, description: str | None = None, *, new: bool = False
) -> None:
    """None keeps what is stored. Raises Conflict when it is to be a new one and the key is taken."""
    _check(Variable, {"key": key})
    if value is not None and len(value.encode()) > MOST_VALUE_BYTES:
        raise InvalidInput(f"The Variable {key} is larger than {MOST_VALUE_BYTES} bytes.")
    # A value that is kept is not opened, so this works with a lost key, too.
    changes: dict[str, Any] = {} if value is None else {"value": box.seal(value), "stamp": secrets.token_hex(8)}
    if description is not None:
        changes["description"] = description
    whole = {"value": box.seal(value or ""), "stamp": secrets.token_hex(8), **changes}
    with write():
        if not new:
            Variable.objects.update_or_create(key=key, defaults=changes, create_defaults=whole)
        elif not Variable.objects.get_or_create(key=key, defaults=whole)[1]:
            raise Conflict(f"There is already a Variable {key}.", hint="Change it, or choose another key.")


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


def set_connection(
    box: SecretBox, conn_id: str, fields: dict[str, Any], *, keep: Collection[str] = (), new: bool = False
) -> None:
    """fields: conn_type, host, schema, login, port, password, extra, description; `keep` names those of password and
    extra that stay as they are stored. Raises Conflict when it is to be a new one and the id is taken."""
    texts = {name: fields.get(name) or "" for name in ("conn_type", "host", "schema", "login", "description")}
    _check(Connection, {"conn_id": conn_id, **texts})
    with write():
        # Opened only when something of it stays: a secret of a lost key can be set again.
        before = json.loads(connection_json(box, conn_id) or "{}") if keep else {}
        secret = {name: (before if name in keep else fields).get(name) for name in ("password", "extra")}
        whole = {**texts, "port": fields.get("port"), "secret": box.seal(json.dumps(secret))}
        if not new:
            Connection.objects.update_or_create(conn_id=conn_id, defaults=whole)
        elif not Connection.objects.get_or_create(conn_id=conn_id, defaults=whole)[1]:
            raise Conflict(f"There is already a Connection {conn_id}.", hint="Change it, or choose another id.")


def delete_connection(conn_id: str) -> bool:
    with write():
        return bool(Connection.objects.filter(conn_id=conn_id).delete()[0])


def names(kind: str, *, limit: int = 1000) -> list[tuple[str, str]]:
    """(name, description) of the Variables ("variable") or Connections ("connection"); never a value."""
    if kind == "variable":
        return list(Variable.objects.order_by("key").values_list("key", "description")[:limit])
    return list(Connection.objects.order_by("conn_id").values_list("conn_id", "description")[:limit])


@dataclass(frozen=True, kw_only=True)
class Resealed:
    """Some rows, looked at in the order of their ids. `last`: the id to go on after."""

    last: int
    changed: int = 0
    kept: int = 0
    lost: tuple[str, ...] = ()
    """Names of those that no key opens."""


def reseal(box: SecretBox, kind: str, *, after: int, limit: int) -> Resealed | None:
    """Seal the next Variables ("variable") or Connections ("connection") with the newest key, where they are not;
    inside the caller's `write()`. None: there are no more."""
    rows = Variable.objects if kind == "variable" else Connection.objects
    name, column = ("key", "value") if kind == "variable" else ("conn_id", "secret")
    # Locked, so that a value which is being set meanwhile is not overwritten with the one before.
    found = rows.select_for_update().filter(pk__gt=after).order_by("pk").values_list("pk", name, column)[:limit]
    last, changed, kept, lost = 0, 0, 0, []
    for last, label, value in found:
        sealed = bytes(value)
        if box.has_newest_key(sealed):
            kept += 1
            continue
        try:
            text = box.open(sealed, label)
        except ConfigError:
            lost.append(label)
            continue
        rows.filter(pk=last).update(**{column: box.seal(text)})
        changed += 1
    return Resealed(last=last, changed=changed, kept=kept, lost=tuple(lost)) if last else None


def count_sealed() -> int:
    """How many rows `reseal` goes through."""
    return Variable.objects.count() + Connection.objects.count()


def record_access(attempt_id: int, kind: str, name: str, *, found: bool, now: datetime) -> None:
    """Once per attempt and name."""
    with write():
        SecretAccess.objects.bulk_create(
            [SecretAccess(attempt_id=attempt_id, kind=kind, name=name[:250], found=found, at=now)],
            ignore_conflicts=True,
        )
