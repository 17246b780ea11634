"""Variables and Connections as lists show them: never a value, a password or an extra."""

from __future__ import annotations

from dataclasses import dataclass, fields

from execplane.contract.errors import NotFound
from execplane.store.models import Connection, Variable
from execplane.store.queries.paging import Page, cut


@dataclass(frozen=True, kw_only=True)
class VariableRow:
    key: str
    description: str


@dataclass(frozen=True, kw_only=True)
class ConnectionRow:
    conn_id: str
    conn_type: str
    host: str
    schema: str
    login: str
    port: int | None
    description: str


_VARIABLE = tuple(field.name for field in fields(VariableRow))
_CONNECTION = tuple(field.name for field in fields(ConnectionRow))


def variables(*, after: str = "", limit: int = 50) -> Page[VariableRow]:
    """By key (index: the unique one)."""
    values = Variable.objects.filter(key__gt=after).order_by("key").values_list(*_VARIABLE)[: limit + 1]
    rows, more = cut([VariableRow(**dict(zip(_VARIABLE, row, strict=True))) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].key if more else None)


def variable(key: str) -> VariableRow:
    """Raises NotFound."""
    row = Variable.objects.filter(key=key).values_list(*_VARIABLE).first()
    if row is None:
        raise NotFound(f"There is no Variable {key}.")
    return VariableRow(**dict(zip(_VARIABLE, row, strict=True)))


def connections(*, after: str = "", limit: int = 50) -> Page[ConnectionRow]:
    """By id (index: the unique one)."""
    values = Connection.objects.filter(conn_id__gt=after).order_by("conn_id").values_list(*_CONNECTION)[: limit + 1]
    rows, more = cut([ConnectionRow(**dict(zip(_CONNECTION, row, strict=True))) for row in values], limit)
    return Page(rows=rows, next_key=rows[-1].conn_id if more else None)


def connection(conn_id: str) -> ConnectionRow:
    """Raises NotFound."""
    row = Connection.objects.filter(conn_id=conn_id).values_list(*_CONNECTION).first()
    if row is None:
        raise NotFound(f"There is no Connection {conn_id}.")
    return ConnectionRow(**dict(zip(_CONNECTION, row, strict=True)))
