"""Prints an attempt's log, as far as it goes or until it ends; what is missing is said where it is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from execplane.cli.output import Output, harmless, remark, say
from execplane.contract.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from execplane.compose import Deployment
    from execplane.contract.logs import LogGap, LogPage, LogRecord
    from execplane.logs.chain import LogReader
    from execplane.logs.pages import Produced
    from execplane.store.queries.attempts import AttemptRow

_PAGE_LINES = 5000
_POLL_SECONDS = 1.0
_MOST_ATTEMPTS = 1000


class Form(Enum):
    """How lines are printed: each in a form that can be followed, and all of them one document of that form."""

    TEXT = "text"
    JSON_LINES = "a JSON object per line"
    JSON = "a JSON array"
    YAML = "a YAML list"


def form(output: Output, *, as_json: bool) -> Form:
    """The form that --output and --json ask for. Raises InvalidInput when they ask for two."""
    if as_json and output is not Output.TABLE:
        raise InvalidInput("--json and --output ask for different forms.", hint="Give one of them.")
    if as_json:
        return Form.JSON_LINES
    return {Output.TABLE: Form.TEXT, Output.JSON: Form.JSON, Output.YAML: Form.YAML}[output]


@dataclass(frozen=True, kw_only=True)
class Asked:
    follow: bool = False
    tail: int | None = None
    level: str = ""
    search: str = ""
    form: Form = Form.TEXT


def find_attempt(
    dag_id: str, run_id: str, task_id: str, map_index: int, *, try_number: int | None, attempt_no: int | None
) -> int:
    """The id of the attempt that is meant: the newest one that fits. Raises NotFound."""
    from execplane.store.queries import attempts, runs, tasks

    runs.get_run(dag_id, run_id)
    found = tasks.get_task(dag_id, run_id, task_id, map_index)
    fitting = [
        attempt
        for attempt in attempts.attempts_of(found.id, limit=_MOST_ATTEMPTS)
        if attempt_no in (None, attempt.attempt_no) and try_number in (None, attempt.try_number)
    ]
    if fitting:
        return fitting[-1].id
    if attempt_no is None and try_number is None:
        raise NotFound(f"{task_id} has not been launched yet: it is {found.state}.", hint=found.reason)
    wanted = f"attempt {attempt_no}" if attempt_no is not None else f"try {try_number}"
    raise NotFound(f"{task_id} has no {wanted}.", hint="`execplane attempts list DAG_ID RUN_ID TASK_ID` shows them.")


def print_log(deployment: Deployment, attempt_id: int, asked: Asked) -> None:
    """Print to standard output; with `follow` until the attempt has ended and its last line is out."""
    from execplane.cli.follow import woken_by
    from execplane.cli.session import waking

    if not asked.follow:
        _print_pages(deployment, attempt_id, asked, None)
        return
    with (
        waking(deployment, listen=True),
        woken_by(deployment, f"log:{attempt_id}", f"attempt:{attempt_id}") as wake,
    ):
        _print_pages(deployment, attempt_id, asked, wake)


def _print_pages(deployment: Deployment, attempt_id: int, asked: Asked, wake: threading.Event | None) -> None:
    from execplane.logs.pages import Filter
    from execplane.store.queries.attempts import get_attempt

    reader: LogReader = deployment.logs
    show = Filter(search=asked.search, level=asked.level)
    offset = -asked.tail if asked.tail else 0
    printer = _Printer(asked.form)
    with closing(printer):  # a Ctrl-C ends what is followed, and leaves a document
        while True:
            if wake is not None:
                wake.clear()
            # Read before the log: lines that come in between are then read once more, never missed.
            row = get_attempt(attempt_id)
            page = reader.read(row.key, offset=offset, limit=_PAGE_LINES, produced=_produced(row), show=show)
            for found in _in_order(page, said_before=not row.is_ended and wake is not None):
                printer.show(found)
            advanced = page.next_offset > max(offset, 0)
            offset = page.next_offset
            if page.complete or (wake is None and not advanced):
                break
            if wake is not None and not advanced:
                wake.wait(_POLL_SECONDS)
    if not printer.printed:
        remark(f"The log has no {'such ' if show else ''}line{'' if row.is_ended else ' yet'}: {row.state}.")


def _produced(row: AttemptRow) -> Produced:
    """What the ledger knows of the log. An attempt's own report is final; any other end leaves its tail unknown."""
    from execplane.logs.pages import Produced
    from execplane.store.queries.attempts import events

    reported = row.is_ended and any(
        event.to_state == row.state and event.from_state != row.state and event.actor.startswith("worker ")
        for event in events(row.id)
    )
    return Produced(lines=row.log_offset, ended=row.is_ended, reported=reported)


def _in_order(page: LogPage, *, said_before: bool) -> Iterator[LogRecord | LogGap]:
    """The page's lines, its gaps between them. A gap while lines still arrive may yet be filled."""
    gaps = {} if said_before else {gap.after_offset: gap for gap in page.gaps}
    first = page.records[0].offset if page.records else None
    for after in sorted(gaps):
        if first is None or after < first:
            yield gaps.pop(after)
    for record in page.records:
        yield record
        for after in [after for after in gaps if after <= record.offset]:
            yield gaps.pop(after)
    for after in sorted(gaps):
        yield gaps[after]


class _Printer:
    """Prints lines as they come."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.printed = False

    def show(self, found: LogRecord | LogGap) -> None:
        if self._form is Form.TEXT:
            say(_text(found))
        elif self._form is Form.YAML:
            import msgspec
            import yaml

            say(yaml.safe_dump([msgspec.to_builtins(_plain(found))], sort_keys=False, allow_unicode=True).rstrip("\n"))
        else:
            import msgspec

            line = msgspec.json.encode(_plain(found)).decode()
            say(line if self._form is Form.JSON_LINES else f"{',' if self.printed else '['}{line}")
        self.printed = True

    def close(self) -> None:
        """Nothing more comes: the document is ended."""
        if self._form is Form.JSON:
            say("]" if self.printed else "[]")
        elif self._form is Form.YAML and not self.printed:
            say("[]")


def _plain(found: LogRecord | LogGap) -> object:
    from execplane.contract.logs import LogGap

    return {"missing_after": found.after_offset, "count": found.count} if isinstance(found, LogGap) else found


def _text(found: LogRecord | LogGap) -> str:
    from execplane.contract.logs import LogGap

    if isinstance(found, LogGap):
        if found.count is None:
            return "--- What came after this line is not known: the worker ended without a report."
        return (
            f"--- {found.count} line{'s' if found.count != 1 else ''} after line {found.after_offset} did not arrive."
        )
    level = "" if found.stream != "log" else f"{found.level} - "
    return f"[{found.at.strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]}Z] {level}{harmless(found.message)}"
