"""Prints an attempt's log, as far as it goes or until it ends; what is missing is said where it is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from execplane.cli.output import harmless, remark, say
from execplane.contract.errors import NotFound

if TYPE_CHECKING:
    from execplane.compose import Deployment
    from execplane.contract.logs import LogGap, LogPage
    from execplane.logs.chain import LogReader
    from execplane.logs.pages import Produced
    from execplane.store.queries.attempts import AttemptRow

_PAGE_LINES = 5000
_POLL_SECONDS = 1.0
_MOST_ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True)
class Asked:
    follow: bool = False
    tail: int | None = None
    level: str = ""
    search: str = ""
    as_json: bool = False


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
    printed = False
    while True:
        if wake is not None:
            wake.clear()
        # Read before the log: lines that come in between are then read once more, never missed.
        row = get_attempt(attempt_id)
        page = reader.read(row.key, offset=offset, limit=_PAGE_LINES, produced=_produced(row), show=show)
        for line in _lines(page, as_json=asked.as_json, said_before=not row.is_ended and wake is not None):
            say(line)
            printed = True
        advanced = page.next_offset > max(offset, 0)
        offset = page.next_offset
        if page.complete or (wake is None and not advanced):
            break
        if wake is not None and not advanced:
            wake.wait(_POLL_SECONDS)
    if not printed:
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


def _lines(page: LogPage, *, as_json: bool, said_before: bool) -> Iterator[str]:
    """The page's lines in order, its gaps between them. A gap while lines still arrive may yet be filled."""
    gaps = {} if said_before else {gap.after_offset: gap for gap in page.gaps}
    first = page.records[0].offset if page.records else None
    for after in sorted(gaps):
        if first is None or after < first:
            yield _gap(gaps.pop(after), as_json)
    for record in page.records:
        if as_json:
            import msgspec

            yield msgspec.json.encode(record).decode()
        else:
            level = "" if record.stream != "log" else f"{record.level} - "
            yield f"[{record.at.strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]}Z] {level}{harmless(record.message)}"
        for after in [after for after in gaps if after <= record.offset]:
            yield _gap(gaps.pop(after), as_json)
    for after in sorted(gaps):
        yield _gap(gaps[after], as_json)


def _gap(gap: LogGap, as_json: bool) -> str:
    if as_json:
        import msgspec

        return msgspec.json.encode({"missing_after": gap.after_offset, "count": gap.count}).decode()
    if gap.count is None:
        return "--- What came after this line is not known: the worker ended without a report."
    return f"--- {gap.count} line{'s' if gap.count != 1 else ''} after line {gap.after_offset} did not arrive."
