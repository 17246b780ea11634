"""What an executor is told to build a launch from, and whose fault it is when it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from execplane.contract.errors import ExecplaneError, InvalidInput, Unavailable
from execplane.contract.workload import Intent, Workload
from tests.integration.driver.conftest import Driven, Recorder


@dataclass
class Builder(Recorder):
    """Keeps what it was given, or cannot build."""

    trouble: ExecplaneError | None = None
    given: list[Workload] = field(default_factory=list)

    def build(self, workload: Workload) -> Intent:
        self.given.append(workload)
        if self.trouble is not None:
            raise self.trouble
        return super().build(workload)


def test_the_dags_tags_and_the_tasks_owner_reach_the_executor(driven: Driven) -> None:
    builder = driven.loop.executor = Builder()
    driven.play.decide()
    driven.tick()
    (workload,) = builder.given
    assert (workload.tags, workload.owner) == (("etl", "daily"), "alice")


@pytest.mark.parametrize(
    ("trouble", "infrastructure"),
    [
        (InvalidInput("The task's template is not YAML."), 0),
        (Unavailable("The rule's template is not YAML."), 1),
    ],
)
def test_what_operators_got_wrong_costs_the_author_no_try(
    driven: Driven, trouble: ExecplaneError, infrastructure: int
) -> None:
    driven.loop.executor = Builder(trouble=trouble)
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    assert (attempt.state, attempt.category) == ("failed", "launch_error")
    assert attempt.reason.startswith(trouble.message)
    assert (attempt.ti.infra_failures, attempt.ti.author_failures) == (infrastructure, 1 - infrastructure)
