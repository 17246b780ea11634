"""What the API server asks us to wait is said when it is long, and whose creates wait for it is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import pytest

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.workload import Handle, Intent
from execplane.executors.driver.deadlines_watch import Queueing
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_pace import Pace
from execplane.kube.client import Client
from execplane.kube.errors import from_answer
from tests.conftest import TestClock
from tests.parts.eventually import eventually


def test_a_long_pause_is_said_in_the_same_words_until_its_last_seconds(clock: TestClock) -> None:
    pace = Pace(clock)
    pace.asked(120)
    said = "The API server asked to wait until 2026-03-01 12:02:00 UTC."
    assert pace.check() == said
    clock.advance(60.4)
    pace.asked(10)
    assert pace.check() == said
    clock.advance(54.6)
    assert pace.check() == ""


def test_a_short_pause_is_nobodys_business(clock: TestClock) -> None:
    pace = Pace(clock)
    pace.asked(5)
    assert pace.check() == ""


class Throttling:
    """An API server that holds each create for as long as the test wants, and then asks to wait."""

    def __init__(self) -> None:
        self.answers = threading.Semaphore(0)
        self.asked = 0

    def create_pod(self, namespace: str, body: bytes) -> bytes:
        self.asked += 1
        self.answers.acquire()
        raise from_answer(429, {"Retry-After": "900"}, b"{}", "POST pods", datetime(2026, 3, 1, tzinfo=UTC))

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def server() -> Throttling:
    return Throttling()


@pytest.fixture
def executor(server: Throttling, clock: TestClock) -> Iterator[KubernetesExecutor]:
    options = KubernetesOptions(deployment_id="d", creation_concurrency=2)
    one = KubernetesExecutor(options, client=cast(Client, server), clock=clock)
    one.tracker.connect(lambda facts: None, lambda entry: None)
    yield one
    server.answers.release(100)
    one.close()
    # Whoever waited for the pause waits no longer.
    eventually(lambda: not any(thread.is_alive() for thread in one._creates._threads))


def key_of(number: int) -> AttemptKey:
    return AttemptKey(task=TaskKey(dag_id="d", run_id="r", task_id="t", map_index=number), attempt_no=1)


def test_a_create_that_waits_for_a_thread_or_for_a_pause_to_pass_is_not_sent_yet(
    executor: KubernetesExecutor, server: Throttling
) -> None:
    intents = [Intent(attempt_id=n, key=key_of(n), namespace="jobs", name=f"p{n}", body=b"{}") for n in range(10)]
    executor.launch(intents)
    assert isinstance(executor, Queueing)
    eventually(lambda: executor.unsent() == set(range(2, 10)))
    assert executor.check() == ""

    server.answers.release(2)

    eventually(lambda: executor.check() == "The API server asked to wait until 2026-03-01 12:15:00 UTC.")
    assert len(executor.unsent()) in (7, 8)  # one more may have been on its way before the pause began
    executor.stop([Handle(attempt_id=9, key=key_of(9), namespace="jobs", name="p9")], grace_seconds=1)
    assert 9 not in executor.unsent()
