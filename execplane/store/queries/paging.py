"""Pages by key and counts with a cap: no list costs more because its table is old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import QuerySet

Row = TypeVar("Row")
COUNT_CAP = 1000


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """One page of a list. `next_key` continues it (`before=` or `after=`); None: this was the last page."""

    rows: tuple[Row, ...]
    next_key: Any = None


@dataclass(frozen=True, kw_only=True)
class Count:
    """A count that stops at a cap; "1000+" says more than a slow exact number."""

    n: int
    capped: bool = False

    def __str__(self) -> str:
        return f"{self.n}+" if self.capped else str(self.n)

    def __bool__(self) -> bool:
        return self.n > 0


def count(query: QuerySet[Any, Any], cap: int = COUNT_CAP) -> Count:
    """Count at most `cap` rows of a query."""
    n = query.order_by().values("pk")[: cap + 1].count()
    return Count(n=min(n, cap), capped=n > cap)


def cut(rows: Sequence[Row], limit: int) -> tuple[tuple[Row, ...], bool]:
    """Rows were fetched with limit + 1: the page, and whether there is more."""
    return tuple(rows[:limit]), len(rows) > limit
