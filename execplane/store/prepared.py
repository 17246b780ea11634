"""Statements that every attempt needs, compiled by Django once and not at each use.

Building and compiling a query takes Django ten times as long as the database takes to answer it; on the way of a
short task that was most of the work. The query stays Django's, with `Parameter("name")` where a value goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import AutoField, Expression, Model, QuerySet
from django.db.models.sql import DeleteQuery, UpdateQuery


class _Slot:
    """Where a value goes in the compiled statement's parameters."""

    def __init__(self, name: str) -> None:
        self.name = name


class Parameter(Expression):
    """A value that is given at each use: in a filter, or as a new value of a column."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        return "%s", [_Slot(self._name)]


def _filled(params: tuple[Any, ...], values: Mapping[str, Any]) -> list[Any]:
    adapt = connection.ops.adapt_datetimefield_value
    filled: list[Any] = []
    for param in params:
        value = values[param.name] if isinstance(param, _Slot) else param
        if isinstance(value, datetime):
            value = adapt(value)
        elif isinstance(value, dict | list):
            value = connection.ops.adapt_json_value(value, None)
        filled.append(value.value if isinstance(value, Enum) else value)
    return filled


class Select:
    """A `values_list` query; call it for its rows.

    Compiled at the first use: a `select_for_update` must be used within a transaction each time.
    """

    def __init__(self, build: Callable[[], QuerySet[Any, Any]]) -> None:
        self._build = build
        self._compiled: tuple[str, tuple[Any, ...], list[tuple[int, list[Any], Any]]] | None = None

    def __call__(self, **values: Any) -> list[tuple[Any, ...]]:
        sql, params, converters = self._compiled or self._compile()
        with connection.cursor() as cursor:
            cursor.execute(sql, _filled(params, values))
            rows = cursor.fetchall()
        return [_converted(row, converters) for row in rows] if converters else rows

    def first(self, **values: Any) -> tuple[Any, ...] | None:
        rows = self(**values)
        return rows[0] if rows else None

    def _compile(self) -> tuple[str, tuple[Any, ...], list[tuple[int, list[Any], Any]]]:
        compiler: Any = self._build().query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        found = compiler.get_converters([column[0] for column in compiler.select[: compiler.col_count]])
        converters = [(position, convs, expression) for position, (convs, expression) in found.items()]
        self._compiled = sql, tuple(params), converters
        return self._compiled


class Named:
    """A `Select` whose columns are found by name, as name="where Django finds it": none is taken for another."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]], **columns: str) -> None:
        self._names = tuple(columns)
        self._select = Select(lambda: build().values_list(*columns.values()))

    def first(self, **values: Any) -> dict[str, Any] | None:
        row = self._select.first(**values)
        return None if row is None else dict(zip(self._names, row, strict=True))


class SelectIn:
    """A `Select` over keys, as many as there are: compiled for a power of two, the last key filling the rest up.

    `build` gets what stands for the keys, to be used as `pk__in=keys`. The rows come in no order.
    """

    def __init__(self, build: Callable[[list[Any]], QuerySet[Any, Any]]) -> None:
        self._build = build
        self._selects: dict[int, Select] = {}

    def __call__(self, keys: Iterable[Any], **values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for size, named in _padded(keys):
            select = self._selects.get(size)
            if select is None:
                select = self._selects[size] = Select(partial(self._build, _placeholders(size)))
            found += select(**values, **named)
        return found


_MOST_KEYS = 256


def _placeholders(size: int) -> list[Parameter]:
    return [Parameter(f"key_{place}") for place in range(size)]


def _padded(keys: Iterable[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    wanted = list(keys)
    for start in range(0, len(wanted), _MOST_KEYS):
        some = wanted[start : start + _MOST_KEYS]
        size = 1 << (len(some) - 1).bit_length()
        some += some[-1:] * (size - len(some))
        yield size, {f"key_{place}": key for place, key in enumerate(some)}


def _converted(row: tuple[Any, ...], converters: list[tuple[int, list[Any], Any]]) -> tuple[Any, ...]:
    values = list(row)
    for position, functions, expression in converters:
        for function in functions:
            values[position] = function(values[position], expression, connection)
    return tuple(values)


class _Change:
    """What changes rows of one table; call it, inside the caller's `write()`, for the number of rows that matched."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]]) -> None:
        self._build = build
        self._compiled: tuple[str, tuple[Any, ...]] | None = None

    def __call__(self, **values: Any) -> int:
        sql, params = self._compiled or self._compile()
        with connection.cursor() as cursor:
            cursor.execute(sql, _filled(params, values))
            return int(cursor.rowcount)

    def _compile(self) -> tuple[str, tuple[Any, ...]]:
        sql, params = self._query().get_compiler(connection=connection).as_sql()
        self._compiled = sql, tuple(params)
        return self._compiled

    def _query(self) -> Any:
        raise NotImplementedError


class Delete(_Change):
    """A DELETE from a table that nothing refers to."""

    def _query(self) -> Any:
        return self._build().query.chain(DeleteQuery)


class Update(_Change):
    """An UPDATE; `many` runs it once for each set of values, in one round trip."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]], **changes: Any) -> None:
        super().__init__(build)
        self._changes = changes

    def many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        sql, params = self._compiled or self._compile()
        filled = [_filled(params, values) for values in rows]
        if filled:
            with connection.cursor() as cursor:
                cursor.executemany(sql, filled)

    def _query(self) -> Any:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        return query


class UpdateIn:
    """An `Update` of the rows of many keys to the same values, as `SelectIn` takes them."""

    def __init__(self, build: Callable[[list[Any]], QuerySet[Any, Any]], **changes: Any) -> None:
        self._build = build
        self._changes = changes
        self._updates: dict[int, Update] = {}

    def __call__(self, keys: Iterable[Any], **values: Any) -> int:
        changed = 0
        for size, named in _padded(keys):
            update = self._updates.get(size)
            if update is None:
                update = self._updates[size] = Update(partial(self._build, _placeholders(size)), **self._changes)
            changed += update(**values, **named)
        return changed


class Insert:
    """An INSERT of rows whose keys nobody needs back; `many` takes values by column name, else the field's default.

    What becomes of a row that is there already: `or_ignore` leaves it as it is, `or_update` sets these columns of it.
    """

    def __init__(self, model: type[Model], *, or_ignore: bool = False, or_update: Sequence[str] = ()) -> None:
        fields = [field for field in model._meta.concrete_fields if not isinstance(field, AutoField)]
        self._table = model._meta.db_table
        self._key = str(model._meta.pk.column)
        self._columns = [str(field.column) for field in fields]
        self._slots = tuple(_Slot(field.attname) for field in fields)
        self._defaults = {field.attname: field.get_default() for field in fields}
        self._or_ignore = or_ignore
        self._or_update = tuple(or_update)

    def many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        filled = [_filled(self._slots, self._whole(row)) for row in rows]
        quote = connection.ops.quote_name
        into = f"{quote(self._table)} ({', '.join(map(quote, self._columns))})"
        plain = not (self._or_ignore or self._or_update)
        with connection.cursor() as cursor:
            if plain and len(filled) >= _WORTH_COPYING and connection.vendor == "postgresql":
                # A row costs a tenth of what it costs as a statement, here and there.
                with connection.wrap_database_errors, cursor.copy(f"COPY {into} FROM STDIN") as copy:
                    for values in filled:
                        copy.write_row(values)
            elif filled:
                slots = ", ".join(["%s"] * len(self._columns))
                sql = f"INSERT INTO {into} VALUES ({slots}){self._on_conflict()}"  # noqa: S608
                cursor.executemany(sql, filled)

    def _whole(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := row.keys() - self._defaults.keys():
            raise TypeError(f"{self._table} has no columns {', '.join(sorted(unknown))}")
        return {**self._defaults, **row}

    def _on_conflict(self) -> str:
        if self._or_ignore:
            return " ON CONFLICT DO NOTHING"
        if not self._or_update:
            return ""
        quote = connection.ops.quote_name
        changes = ", ".join(f"{quote(name)} = EXCLUDED.{quote(name)}" for name in self._or_update)
        return f" ON CONFLICT ({quote(self._key)}) DO UPDATE SET {changes}"


_WORTH_COPYING = 8
