"""Creates that are not sent yet are taken back for a launch hold, and may be ordered again."""

from __future__ import annotations

from execplane.executors.driver.launch_gate import Withdrawing
from tests.parts.eventually import eventually
from tests.unit.executors.test_kubernetes_pace import (
    Server,
    Start,
    intent,
    server,  # noqa: F401 - a fixture
    start,  # noqa: F401 - a fixture
)


def test_what_waits_is_taken_back_and_what_was_sent_is_not(start: Start, server: Server) -> None:  # noqa: F811
    executor = start(1)
    executor.launch([intent(n) for n in range(4)])
    eventually(lambda: server.asked == ["p0"])
    assert isinstance(executor, Withdrawing)

    assert executor.withdraw([0, 2, 3]) == [2, 3]
    assert executor.unsent() == {1}

    executor.launch([intent(0), intent(3)])
    server.answers.release(10)
    eventually(lambda: server.asked == ["p0", "p1", "p3"])
