"""A driver's loop over a small ledger, with an executor that launches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from execplane.contract.executor import Report
from execplane.contract.observations import Fact
from execplane.contract.states import AttemptState, Cause
from execplane.contract.workload import Handle, Intent, Workload
from execplane.executors.driver.loop import DriverLoop, DriverOptions
from execplane.executors.driver.workloads import Deployed
from execplane.store.database import write
from execplane.store.models import Attempt, TaskInstance
from execplane.store.transitions import launching
from tests.integration.store.conftest import (
    Ledger,
    ledger,  # noqa: F401 - a fixture
)
from tests.integration.store.play import Play


@dataclass
class Recorder:
    """An executor that launches nothing and remembers what it was asked."""

    name: str = "local"
    limit: int | None = None
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    refuse: str = ""
    broken_build: set[int] = field(default_factory=set)
    report: Report | None = None

    def start(self, report: Report) -> None:
        self.report = report
        self.asked.append(("start", ()))

    def slots(self) -> int | None:
        return self.limit

    def build(self, workload: Workload) -> Intent:
        if workload.attempt_id in self.broken_build:
            raise KeyError("a fault of ours")
        return Intent(attempt_id=workload.attempt_id, key=workload.key, name=f"x-{workload.attempt_id}", body=b"bytes")

    def launch(self, intents: Sequence[Intent]) -> None:
        self.asked.append(("launch", tuple(intent.attempt_id for intent in intents)))

    def stop(self, handles: Sequence[Handle], *, grace_seconds: float) -> None:
        self.asked.append(("stop", tuple(handle.attempt_id for handle in handles)))

    def adopt(self, handles: Sequence[Handle]) -> None:
        self.asked.append(("adopt", tuple(handle.attempt_id for handle in handles)))

    def clean(self, handles: Sequence[Handle], *, outcome: AttemptState) -> None:
        self.asked.append(("clean", tuple(handle.attempt_id for handle in handles)))

    def check(self) -> str:
        return self.refuse

    def close(self) -> None:
        self.asked.append(("close", ()))

    def said(self, *facts: Fact) -> None:
        assert self.report is not None
        self.report(facts)

    def launched(self) -> list[int]:
        return [pk for verb, ids in self.asked if verb == "launch" for pk in ids]


@pytest.fixture
def play(ledger: Ledger) -> Play:  # noqa: F811
    return Play(run_pk=ledger.run_pk, clock=ledger.clock)


@dataclass
class Driven:
    loop: DriverLoop
    recorder: Recorder
    play: Play

    def tick(self) -> Any:
        return self.loop.tick(self.play.now)


@pytest.fixture
def driven(play: Play) -> Driven:
    recorder = Recorder()
    deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
    loop = DriverLoop(lambda: recorder, deployed, DriverOptions(), play.clock, owner="d1", wake=lambda: None)
    return Driven(loop=loop, recorder=recorder, play=play)


def many(play: Play, count: int, *, pool: str = "default_pool", first: int = 0, **more: Any) -> list[int]:
    """That many queued attempts of one mapped task."""
    launches = []
    for index in range(first, first + count):
        row = TaskInstance.objects.create(dagrun_id=play.run_pk, task_id="extract", map_index=index)
        launches.append(
            launching.NewAttempt(
                ti_id=row.pk,
                task_id="extract",
                map_index=index,
                cause=Cause.FIRST,
                executor="local",
                queue="default",
                pool=pool,
                **{"slots": 1, "priority": 1, **more},
            )
        )
    with write():
        launching.queue_attempts(play.run_pk, launches, actor="scheduler", now=play.now)
    return list(Attempt.objects.order_by("-pk").values_list("pk", flat=True)[:count])[::-1]
