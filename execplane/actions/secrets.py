"""Verbs on Variables and Connections. Values never reach the audit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from execplane.actions.actor import Actor, demand
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import NotFound
from execplane.store import secrets
from execplane.store.audit import audit
from execplane.store.database import write
from execplane.store.secrets import SecretBox

_CLOCK = SystemClock()
_ROWS_A_TRANSACTION = 50
"""Values have up to a megabyte, and others want to write, too."""


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """What a rotation did. `lost`: Variables and Connections that no key opens, as `variable:KEY`, `connection:ID`."""

    variables: int
    connections: int
    already: int
    lost: tuple[str, ...]


def set_variable(
    actor: Actor,
    box: SecretBox,
    key: str,
    value: str | None,
    description: str | None = None,
    *,
    new: bool = False,
    clock: Clock = _CLOCK,
) -> None:
    """Make the Variable or change it; None keeps what is stored. Raises Conflict for a `new` one whose key is taken."""
    demand(actor, "set Variables")
    with write():
        secrets.set_variable(box, key, value, description, new=new)
        audit(actor.name, "set", f"variable:{key}", now=clock.now())


def delete_variable(actor: Actor, key: str, *, clock: Clock = _CLOCK) -> None:
    """Raises NotFound."""
    demand(actor, "delete Variables")
    with write():
        if not secrets.delete_variable(key):
            raise NotFound(f"There is no Variable {key}.")
        audit(actor.name, "delete", f"variable:{key}", now=clock.now())


def set_connection(
    actor: Actor,
    box: SecretBox,
    conn_id: str,
    fields: dict[str, Any],
    *,
    keep: Collection[str] = (),
    new: bool = False,
    clock: Clock = _CLOCK,
) -> None:
    """fields: conn_type, host, schema, login, port, password, extra, description; `keep` names those of password and
    extra that stay. Raises Conflict for a `new` one whose id is taken."""
    demand(actor, "set Connections")
    with write():
        secrets.set_connection(box, conn_id, fields, keep=keep, new=new)
        audit(actor.name, "set", f"connection:{conn_id}", now=clock.now())


def delete_connection(actor: Actor, conn_id: str, *, clock: Clock = _CLOCK) -> None:
    """Raises NotFound."""
    demand(actor, "delete Connections")
    with write():
        if not secrets.delete_connection(conn_id):
            raise NotFound(f"There is no Connection {conn_id}.")
        audit(actor.name, "delete", f"connection:{conn_id}", now=clock.now())


def rotate_fernet_key(
    actor: Actor,
    box: SecretBox,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    rows_a_transaction: int = _ROWS_A_TRANSACTION,
    clock: Clock = _CLOCK,
) -> Rotated:
    """Encrypt every Variable and Connection with the newest key, so that the older ones can be dropped.

    In small transactions: ended half-way, what is done stays done, and repeating it does the rest. `progress` is told
    (done, total) after each.
    """
    demand(actor, "rotate the key of Variables and Connections")
    changed, already, done, total = {"variable": 0, "connection": 0}, 0, 0, secrets.count_sealed()
    lost: list[str] = []
    for kind in changed:
        after = 0
        while True:
            with write():
                found = secrets.reseal(box, kind, after=after, limit=rows_a_transaction)
                if found is None:
                    break
                if found.changed:
                    audit(actor.name, "rotate", "fernet_keys", now=clock.now(), after={f"{kind}s": found.changed})
            after = found.last
            changed[kind] += found.changed
            already += found.kept
            lost += [f"{kind}:{name}" for name in found.lost]
            done += found.changed + found.kept + len(found.lost)
            progress(done, total)
    return Rotated(variables=changed["variable"], connections=changed["connection"], already=already, lost=tuple(lost))
