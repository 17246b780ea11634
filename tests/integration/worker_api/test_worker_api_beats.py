"""Heartbeats on their way from the API's memory to the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from execplane.contract.errors import Unavailable
from execplane.store.models import Attempt
from execplane.store.transitions import observing
from tests.integration.worker_api.conftest import NONCE, Caller

UNWRITABLE = 2**70
"""A log offset that no database holds."""


def three_running(caller: Caller) -> list[Attempt]:
    caller.add_instance("extract", 0)
    return [caller.running(), caller.running("extract", 0), caller.running("load")]


def beaten(caller: Caller) -> set[int]:
    return set(Attempt.objects.filter(heartbeat_at=caller.now).values_list("pk", flat=True))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_beat_that_cannot_be_written_is_dropped_and_holds_back_no_other(
    caller: Caller, bad: int, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = three_running(caller)
    caller.clock.advance(5)
    for number, attempt in enumerate(attempts):
        caller.api.beats.add(attempt.pk, NONCE, UNWRITABLE if number == bad else 7)

    caller.api.beats.flush()

    assert beaten(caller) == {attempt.pk for attempt in attempts if attempt is not attempts[bad]}
    assert f"attempt {attempts[bad].pk} could not be written" in caplog.text
    assert caller.api.beats.take() == []


def test_while_the_database_does_not_answer_the_newest_beat_of_each_attempt_waits(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = three_running(caller)
    beats = caller.api.beats

    def gone(*arguments: Any) -> None:
        beats.add(attempts[0].pk, NONCE, 8)  # comes while the others are being written
        raise Unavailable("The database is gone.")

    for attempt in attempts:
        beats.add(attempt.pk, NONCE, 7)
    caller.clock.advance(5)
    with monkeypatch.context() as fault:
        fault.setattr(observing, "beat", gone)
        for _ in range(3):
            with pytest.raises(Unavailable):
                beats.flush()

    assert beats.flush() == 3
    rows = Attempt.objects.order_by("pk").values_list("log_offset", "heartbeat_at")
    before: datetime = attempts[0].heartbeat_at  # type: ignore[assignment]
    assert list(rows) == [(8, caller.now), (7, before), (7, before)]
