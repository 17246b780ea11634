"""Which attempts are shown beside one, and how their list is folded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from execplane.store.queries.attempts import AttemptMark
from execplane.web.siblings import MOST_CHIPS, chips, tries


def attempt(number: int, try_number: int = 1, state: str = "rescheduled") -> AttemptMark:
    values: dict[str, Any] = {field.name: None for field in fields(AttemptMark)}
    return AttemptMark(**{**values, "id": number, "attempt_no": number, "try_number": try_number, "state": state})


def numbers(found: Iterable[AttemptMark]) -> list[int]:
    return [one.attempt_no for one in found]


def test_few_attempts_are_all_shown() -> None:
    rows = [attempt(n, try_number=n) for n in range(1, MOST_CHIPS + 1)]

    assert chips(rows, rows[2]) == tuple(rows)


def test_the_end_of_each_earlier_try_stays_beside_the_newest_attempts() -> None:
    rows = [attempt(n, try_number=1 + (n > 50) + (n > 80)) for n in range(1, 101)]

    assert numbers(chips(rows, rows[-1])) == [50, 80, *range(95, 101)]


def test_the_shown_attempt_is_among_them_however_old_it_is() -> None:
    rows = [attempt(n) for n in range(112, 212)]

    assert numbers(chips(rows, attempt(7))) == [7, *range(205, 212)]


def test_attempts_of_one_try_are_one_group_that_counts_its_ends() -> None:
    rows = [attempt(1), attempt(2), attempt(3, state="failed"), attempt(4, 2), attempt(5, 2, "success")]

    found = tries(rows)

    assert [(one.number, one.first_no, one.last_no) for one in found] == [(2, 4, 5), (1, 1, 3)]
    assert dict(found[1].states) == {"rescheduled": 2, "failed": 1}
    assert numbers(found[0].attempts) == [5, 4]
