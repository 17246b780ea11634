"""What parts without a database tell the metrics: the API server's client, the watch, the loops' supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from execplane import metrics
from execplane.contract.loops import IDLE, Next
from execplane.kube.client import pods_path
from execplane.kube.errors import AnswerLost, ServerTrouble
from execplane.kube.watch import Interrupted, Watch
from execplane.loops.supervisor import Runner, Supervisor
from execplane.loops.wake import WakeBus
from execplane.metrics import Metrics
from execplane.metrics.prometheus import Prometheus
from tests.conftest import TestClock
from tests.parts.eventually import eventually
from tests.unit.kube.test_client import (
    Served,
    connected,
    server,  # noqa: F401 - a fixture
)


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    one = Prometheus(process_metrics=False)
    before = metrics.use(Metrics([one]))
    yield one
    metrics.use(before)


def test_requests_to_the_api_server_are_counted_by_verb_and_status(
    prometheus: Prometheus,
    server: Served,  # noqa: F811
    tmp_path: Path,
) -> None:
    client = connected(server.url, tmp_path)
    client.create_pod("ns", b"{}")
    client.get_pod("ns", "pod")
    client.delete_pod("ns", "pod", uid="u")
    client.request("GET", pods_path("ns"))
    client.request("GET", "/version")
    server.status = 503
    with pytest.raises(ServerTrouble):
        client.create_pod("ns", b"{}")
    server.drop = True
    with pytest.raises(AnswerLost):
        client.create_pod("ns", b"{}")

    def requests(verb: str, resource: str, status: str) -> float | None:
        labels = {"verb": verb, "resource": resource, "status": status}
        return prometheus.registry.get_sample_value("execplane_kubernetes_requests_total", labels)

    assert [requests("create", "pods", status) for status in ("200", "503", "lost")] == [1, 1, 1]
    assert [requests(verb, "pods", "200") for verb in ("get", "delete", "list")] == [1, 1, 1]
    assert requests("get", "other", "200") == 1
    labels = {"verb": "create", "resource": "pods"}
    assert prometheus.registry.get_sample_value("execplane_kubernetes_request_seconds_count", labels) == 3
    client.close()


def test_a_watch_that_breaks_is_counted_with_its_error(
    prometheus: Prometheus,
    server: Served,  # noqa: F811
    tmp_path: Path,
) -> None:
    client = connected(server.url, tmp_path)
    server.status = 503
    watch = Watch(client, pods_path("ns"))
    events = watch.events()
    assert isinstance(next(events), Interrupted)
    watch.close()
    assert list(events) == []
    labels = {"reason": "ServerTrouble"}
    assert prometheus.registry.get_sample_value("execplane_kubernetes_watch_restarts_total", labels) == 1
    client.close()


class Faulty:
    name = "faulty"
    topics: frozenset[str] = frozenset()
    leased = False
    poll_seconds = 60.0

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    def tick(self, now: datetime) -> Next:
        if self.errors:
            raise self.errors.pop(0)
        return IDLE

    def close(self) -> None:
        """Nothing is held."""


def test_ticks_errors_and_restarts_of_a_loop_are_counted(
    prometheus: Prometheus, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execplane.loops.supervisor._FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("execplane.loops.supervisor.close_connection", lambda: None)
    monkeypatch.setattr("execplane.loops.supervisor.mend_connection", lambda: None)
    supervisor = Supervisor([Runner(loop=Faulty(ValueError("no"), SystemExit()), clock=clock, bus=WakeBus())])
    supervisor.start()

    def told() -> list[float | None]:
        names = ("loop_tick_seconds_count", "loop_errors_total", "loop_restarts_total")
        value = prometheus.registry.get_sample_value
        return [value(f"execplane_{name}", {"loop": "faulty"}) for name in names]

    eventually(lambda: told() == [1, 1, 1], on_failure=lambda: str(told()))
    supervisor.stop()
