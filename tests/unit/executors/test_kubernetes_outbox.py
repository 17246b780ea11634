"""Facts reach the driver at once when they come alone, together when they follow each other, and all of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

from execplane.contract.observations import Cleaned, Fact
from execplane.executors.kubernetes_outbox import Outbox
from tests.parts.eventually import eventually


def fact(number: int) -> Cleaned:
    return Cleaned(attempt_id=number, at=datetime(2026, 3, 1, tzinfo=UTC))


def test_a_first_fact_is_handed_over_at_once_and_those_that_follow_together() -> None:
    taken: list[list[int]] = []

    def take(facts: Sequence[Fact]) -> None:
        taken.append([one.attempt_id for one in facts])

    outbox = Outbox(together_seconds=600)
    outbox.start(take)
    outbox.put([fact(1)])
    eventually(lambda: taken == [[1]])
    for number in (2, 3, 4):
        outbox.put([fact(number)])
        threading.Event().wait(0.02)  # time enough for one that hands over each
    assert taken == [[1]]
    outbox.close()
    assert taken == [[1], [2, 3, 4]]


def test_a_taker_that_fails_misses_nothing_that_comes_later() -> None:
    taken: list[int] = []

    def take(facts: Sequence[Fact]) -> None:
        if not taken:
            taken.append(0)
            raise OSError("the first one is lost")
        taken.extend(one.attempt_id for one in facts)

    outbox = Outbox(together_seconds=0.001)
    outbox.start(take)
    outbox.put([fact(1)])
    eventually(lambda: taken == [0])
    outbox.put([fact(2)])
    eventually(lambda: taken == [0, 2])
    outbox.close()
