"""How the command shows rows: a table that fits the terminal, JSON or YAML with field names that do not change."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ESCAPE = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
_LEAST_COLUMN = 8
_GAP = "  "


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)]


def say(line: str) -> None:
    """A line of the answer, on standard output."""
    typer.echo(line)


def remark(line: str) -> None:
    """A line for the person at the terminal, on standard error: never part of what a script reads."""
    typer.echo(line, err=True)


def show_rows(
    rows: Sequence[Mapping[str, Any]], output: Output, columns: Sequence[str], *, empty: str = "Nothing found."
) -> None:
    """A list. The table has `columns`; JSON and YAML have every field. `empty` is said where there is no row."""
    if output is not Output.TABLE:
        _structured(list(rows), output)
    elif rows:
        say(table([column.replace("_", " ").upper() for column in columns], [[r[c] for c in columns] for r in rows]))
    else:
        remark(empty)


def show_one(row: Mapping[str, Any], output: Output, *, fields: Sequence[str] = (), words: str = "") -> None:
    """One thing: a line per field; `fields` limits and orders what the table shows, `words` say it instead."""
    if output is not Output.TABLE:
        _structured(row, output)
        return
    if words:
        say(words)
        return
    shown = [(name, row[name]) for name in (fields or row) if row[name] not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{name.replace('_', ' '):<{width}}{_GAP}{cell(value)}")


def show_done(rows: Sequence[Mapping[str, Any]], output: Output, words: Sequence[str]) -> None:
    """What a verb did to each of several things: `words`, a line each, or the rows."""
    if output is not Output.TABLE:
        _structured(list(rows), output)
        return
    for line in words:
        say(line)


def _structured(value: Any, output: Output) -> None:
    import msgspec

    if output is Output.JSON:
        say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    import yaml

    say(yaml.safe_dump(msgspec.to_builtins(value), sort_keys=False, allow_unicode=True).rstrip("\n"))


def cell(value: Any) -> str:
    """A value as one line: times in UTC to the second, no control characters of strangers."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(part) for part in value)
    if isinstance(value, Mapping):
        import msgspec

        return msgspec.json.encode(value).decode()
    return _CONTROL.sub(" ", str(value)).strip()


def harmless(line: str) -> str:
    """A log line with its colours, without what else could move or reprogram a terminal."""
    return _ESCAPE.sub("", line)


def duration(seconds: float | None) -> str:
    """`0.42s`, `3m 5s`, `2h 10m`, `4d 3h`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from start to end; None while one of them is missing."""
    return (end - start).total_seconds() if start and end else None


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, width: int | None = None) -> str:
    """Columns side by side. On a terminal (or with `width`) the widest are cut with …; into a pipe nothing is."""
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    lines = [list(heads), *([cell(value) for value in row] for row in rows)]
    widths = [max(_cells(line[i]) for line in lines) for i in range(len(heads))]
    while width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return "\n".join(
        _GAP.join(_fit(text, size) for text, size in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _fit(text: str, size: int) -> str:
    taken = _cells(text)
    if taken <= size:
        return text + " " * (size - taken)
    while _cells(text) > size - 1:
        text = text[:-1]
    return text + "…" + " " * (size - 1 - _cells(text))


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)
