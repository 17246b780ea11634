"""What a zygote inherits from whoever started the executor."""

from __future__ import annotations

from execplane.contract.process import WORKER_MARK
from execplane.executors.local_zygote import environment


def test_a_zygote_that_is_started_from_within_a_task_is_not_that_workers() -> None:
    found = environment({WORKER_MARK: "boot:1:1", "HOME": "/home"}, ())
    assert WORKER_MARK not in found
    assert found["HOME"] == "/home"
