"""What a benchmark gives: figures with their bar, the table for people, and results.json for machines."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of the full size is measured: 1 is what the bars are about, 0.05 shows that nothing has rotted."""

    factor: float = 1.0

    def count(self, full: int, least: int = 2) -> int:
        """So many of `full` things."""
        return max(min(least, full), round(full * self.factor))

    def repeats(self, full: int) -> int:
        return full if self.factor >= 1 else 1

    def seconds(self, full: float, least: float) -> float:
        return max(min(least, full), full * self.factor)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value. `reference` is the other system's value (or the raw rate) in the same unit, `bar` the
    promise: at most, unless `at_least`. Without a bar it is only reported."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    bar: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """value : reference."""
        return self.value / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def row(self) -> dict[str, object]:
        """As in results.json."""
        row = asdict(self) | {"ratio": self.ratio, "met": self.met}
        return {name: row[name] for name in ("name", "value", "unit", "reference", "ratio", "bar", "met")}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def write(figures: Sequence[Figure], path: Path) -> None:
    path.write_text(json.dumps([figure.row() for figure in figures], indent=1) + "\n")


def table(figures: Sequence[Figure]) -> str:
    """Aligned columns: what, how much, beside what, the bar and whether it is met."""
    head = ("what", "value", "unit", "reference", "ratio", "bar", "met")
    rows = [head, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 2, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cells(figure: Figure) -> tuple[str, ...]:
    bar = "" if figure.bar is None else f"{'>=' if figure.at_least else '<='} {figure.bar:g}"
    met = {None: "", True: "yes", False: "NO"}[figure.met]
    return (
        figure.name,
        _number(figure.value),
        figure.unit,
        "" if figure.reference is None else _number(figure.reference),
        "" if figure.ratio is None else f"{figure.ratio:.3f}",
        bar,
        met,
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
