"""The driver's loop when there is more than one page of what it has to do."""

from __future__ import annotations

from typing import Any

import pytest

from execplane.contract.observations import Cleaned
from execplane.executors.driver import loop as loop_module
from execplane.store.models import Attempt
from tests.integration.driver.conftest import (
    Driven,
    driven,  # noqa: F401 - a fixture
    many,
    play,  # noqa: F401 - a fixture
)
from tests.integration.store.conftest import (
    ledger,  # noqa: F401 - a fixture
)

MORE_THAN_A_PAGE = 1_050
"""Two pages of 500, and some."""


@pytest.fixture
def attempts(driven: Driven) -> list[int]:  # noqa: F811
    return many(driven.play, MORE_THAN_A_PAGE)


def become(attempts: list[int], state: str, **columns: Any) -> None:
    Attempt.objects.update(state=state, **columns)
    assert Attempt.objects.filter(state=state).count() == len(attempts)


def asked(driven: Driven, verb: str) -> list[int]:  # noqa: F811
    """Whom the executor was asked to `verb` since the last look, in their order."""
    found = sorted(pk for asked, pks in driven.recorder.asked if asked == verb for pk in pks)
    driven.recorder.asked.clear()
    return found


def test_stops_beyond_one_page_are_all_passed_on_and_each_once(driven: Driven, attempts: list[int]) -> None:  # noqa: F811
    become(attempts, "stopping", launched_at=driven.play.now)

    driven.tick()

    assert asked(driven, "stop") == attempts
    driven.tick()
    assert asked(driven, "stop") == []


def test_clean_ups_that_are_not_answered_keep_no_later_page_from_its_turn(
    driven: Driven,  # noqa: F811
    attempts: list[int],
) -> None:
    become(attempts, "success", launched_at=driven.play.now)
    Attempt.objects.filter(pk__in=attempts[::2]).update(state="failed")

    driven.tick()

    assert asked(driven, "clean") == attempts
    driven.tick()
    assert asked(driven, "clean") == []


def test_clean_ups_under_way_are_bounded_and_the_next_follow_the_answers(
    driven: Driven,  # noqa: F811
    attempts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become(attempts, "success", launched_at=driven.play.now)
    monkeypatch.setattr(loop_module, "_MOST_CLEANING", 700)

    driven.tick()

    assert asked(driven, "clean") == attempts[:700]
    driven.tick()
    assert asked(driven, "clean") == []
    driven.recorder.said(*(Cleaned(attempt_id=pk, at=driven.play.now) for pk in attempts[:50]))
    driven.tick()
    assert asked(driven, "clean") == attempts[700:750]
