"""A task ended when it ended: its report may come after an outage, and by a clock that differs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from execplane.contract.states import AttemptState
from tests.integration.store.play import Play


@pytest.mark.parametrize(
    ("ended_after_seconds", "kept_after_seconds"),
    [(20, 20), (60, 60), (90, 60), (-5, 0)],
    ids=["before its report", "as it reports", "by a clock that is ahead", "by a clock that is behind"],
)
def test_an_attempt_and_its_task_ended_between_its_start_and_its_report(
    play: Play, ended_after_seconds: int, kept_after_seconds: int
) -> None:
    play.bring_to(AttemptState.RUNNING)
    started = play.attempt().running_at
    assert started is not None
    play.later((started - play.now).total_seconds() + 60)

    play.report(ended_at=started + timedelta(seconds=ended_after_seconds))

    kept = started + timedelta(seconds=kept_after_seconds)
    assert (play.attempt().ended_at, play.instance().ended_at) == (kept, kept)
