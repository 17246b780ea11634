"""Statements that every attempt needs, compiled by Django once and not at each use.

Building and compiling a query takes Django ten times as long as the database takes to answer it; on the way of a
short task that was most of the work. The query stays Django's, with `Parameter("name")` where a value goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from django.db import connection
from django.db.models import Expression, Model, QuerySet
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
    """A `values_list` query without annotations; call it for its rows.

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


def _converted(row: tuple[Any, ...], converters: list[tuple[int, list[Any], Any]]) -> tuple[Any, ...]:
    values = list(row)
    for position, functions, expression in converters:
        for function in functions:
            values[position] = function(values[position], expression, connection)
    return tuple(values)


class Update:
    """An UPDATE of one table; call it, inside the caller's `write()`, for the number of rows that matched.

    `many` runs it once for each set of values, in one round trip.
    """

    def __init__(self, build: Callable[[], QuerySet[Any, Any]], **changes: Any) -> None:
        self._build = build
        self._changes = changes
        self._compiled: tuple[str, tuple[Any, ...]] | None = None

    def __call__(self, **values: Any) -> int:
        sql, params = self._compiled or self._compile()
        with connection.cursor() as cursor:
            cursor.execute(sql, _filled(params, values))
            return int(cursor.rowcount)

    def many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        sql, params = self._compiled or self._compile()
        filled = [_filled(params, values) for values in rows]
        if filled:
            with connection.cursor() as cursor:
                cursor.executemany(sql, filled)

    def _compile(self) -> tuple[str, tuple[Any, ...]]:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        sql, params = query.get_compiler(connection=connection).as_sql()
        self._compiled = sql, tuple(params)
        return self._compiled


class Insert:
    """An INSERT of rows whose keys nobody needs back; `many` takes them as values by column name."""

    def __init__(self, model: type[Model], columns: Sequence[str]) -> None:
        self._model = model
        self._columns = tuple(columns)

    def many(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        quote = connection.ops.quote_name
        known = {field.attname: str(field.column) for field in self._model._meta.concrete_fields}
        names = [quote(known[column]) for column in self._columns]
        slots = ", ".join(["%s"] * len(names))
        sql = f"INSERT INTO {quote(self._model._meta.db_table)} ({', '.join(names)}) VALUES ({slots})"  # noqa: S608
        wanted = tuple(_Slot(column) for column in self._columns)
        with connection.cursor() as cursor:
            cursor.executemany(sql, [_filled(wanted, row) for row in rows])


class Delete:
    """A DELETE from one table that nothing refers to; used as `Update`."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]]) -> None:
        self._build = build
        self._compiled: tuple[str, tuple[Any, ...]] | None = None

    def __call__(self, **values: Any) -> int:
        sql, params = self._compiled or self._compile()
        with connection.cursor() as cursor:
            cursor.execute(sql, _filled(params, values))
            return int(cursor.rowcount)

    def _compile(self) -> tuple[str, tuple[Any, ...]]:
        query: Any = self._build().query.chain(DeleteQuery)
        sql, params = query.get_compiler(connection=connection).as_sql()
        self._compiled = sql, tuple(params)
        return self._compiled
