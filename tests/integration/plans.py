"""What the database does with a query: its plan, with the parameters bound as in real life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import UniqueConstraint


def plans(run: Callable[[], Any]) -> str:
    """The plans of all SELECTs that `run` sends, one text."""
    sent: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            sent.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        run()
    assert sent, "nothing was asked of the database"
    lines: list[str] = []
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A small table is scanned whatever its indexes: the question is whether one fits.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("ANALYZE")
        prefix = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        for sql, params in sent:
            cursor.execute(f"{prefix} {sql}", params)
            lines += [str(row[-1]) for row in cursor.fetchall()]
    return "\n".join(lines)


def name_of(index: str) -> str:
    """The index's name in this database: SQLite names those of unique constraints by itself."""
    if connection.vendor != "sqlite":
        return index
    for model in apps.get_app_config("execplane").get_models():
        for constraint in model._meta.constraints:
            if isinstance(constraint, UniqueConstraint) and constraint.name == index:
                columns = [str(getattr(model._meta.get_field(name), "column")) for name in constraint.fields]  # noqa: B009 - relations have none
                return _automatic(model._meta.db_table, columns)
    return index


def _automatic(table: str, columns: list[str]) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA index_list({table})")
        for _, name, unique, *_ in cursor.fetchall():
            cursor.execute(f"PRAGMA index_info({name})")
            if unique and [row[2] for row in cursor.fetchall()] == columns:
                return str(name)
    raise AssertionError(f"no index of {table} over {columns}")
