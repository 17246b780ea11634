"""Which state stands for many: on a mapped task's cell, on a group, in `execplane runs show`."""

from __future__ import annotations

from itertools import permutations

import pytest

from execplane.contract.states import TaskState
from execplane.store.queries.tasks import PRECEDENCE, summary_state


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (("success", "skipped"), "success"),
        (("success", "removed"), "success"),
        (("success", "skipped", "removed"), "success"),
        (("skipped", "removed"), "skipped"),
        (("removed",), "removed"),
        (("success", "none", "skipped"), "none"),
        (("success", "running", "failed"), "failed"),
        ((), "none"),
    ],
)
def test_successes_stand_before_skips_and_removals_and_after_what_needs_a_look(
    states: tuple[str, ...], shown: str
) -> None:
    assert {summary_state(order) for order in permutations(states)} == {shown}


def test_every_state_of_a_task_has_its_place() -> None:
    assert set(PRECEDENCE) == {str(state) for state in TaskState}
