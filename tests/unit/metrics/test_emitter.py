"""The emitter: cheap, never raising, and its two sinks."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import timeit
from collections.abc import Iterator
from typing import Any

import pytest
import statsd

from execplane import metrics
from execplane.contract.clock import SystemClock
from execplane.metrics import Metrics
from execplane.metrics.catalogue import CATALOGUE
from execplane.metrics.options import MetricsOptions
from execplane.metrics.prometheus import MOST_SERIES, Prometheus
from execplane.metrics.start import start
from execplane.metrics.statsd import Line, Statsd, lines
from tests.conftest import TestClock
from tests.parts.eventually import eventually, scaled

ENDED = {"dag_id": "d", "executor": "local", "state": "failed", "category": "oom_killed"}


@pytest.fixture
def prometheus() -> Prometheus:
    return Prometheus(process_metrics=False)


def test_without_sinks_a_call_costs_less_than_five_microseconds() -> None:
    nothing = Metrics()
    best = min(timeit.repeat(lambda: nothing.count("execplane_loop_errors_total", loop="x"), number=2000, repeat=5))
    assert best / 2000 < scaled(5e-6)


def test_the_default_emitter_loads_neither_library() -> None:
    code = (
        "import sys; from execplane import metrics; metrics.current().count('execplane_loop_errors_total', loop='x');"
        "sys.exit(bool({'prometheus_client', 'statsd', 'django'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "send",
    [
        lambda m: m.count("execplane_no_such_total"),
        lambda m: m.count("execplane_loop_tick_seconds", loop="x"),
        lambda m: m.count("execplane_loop_errors_total"),
        lambda m: m.count("execplane_loop_errors_total", loop="x", pod="y"),
        lambda m: m.observe("execplane_loop_errors_total", 1.0, loop="x"),
        lambda m: m.set("execplane_loop_errors_total", 1.0, loop="x"),
        lambda m: m.replace("execplane_dagruns", [(1.0, {"run_id": "x"})]),
    ],
)
def test_what_does_not_fit_the_catalogue_is_dropped_and_logged_once(
    send: Any, prometheus: Prometheus, caplog: pytest.LogCaptureFixture
) -> None:
    before = prometheus.text()
    one = Metrics([prometheus])
    for _ in range(3):
        send(one)
    assert len(caplog.records) == 1
    assert "dropped" in caplog.text
    assert prometheus.text() == before


def test_a_sink_that_fails_neither_raises_nor_stops_the_others(
    prometheus: Prometheus, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Prometheus):
        def count(self, *_: Any) -> None:
            raise RuntimeError("broken")

    one = Metrics([Broken(process_metrics=False), prometheus])
    one.count("execplane_loop_errors_total", loop="x")
    one.count("execplane_loop_errors_total", loop="x")
    assert prometheus.registry.get_sample_value("execplane_loop_errors_total", {"loop": "x"}) == 2
    assert len(caplog.records) == 1


def test_counts_from_many_threads_are_all_counted(prometheus: Prometheus) -> None:
    one = Metrics([prometheus])

    def work() -> None:
        for number in range(500):
            one.count("execplane_loop_errors_total", loop=f"l{number % 7}")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = [
        prometheus.registry.get_sample_value("execplane_loop_errors_total", {"loop": f"l{number}"})
        for number in range(7)
    ]
    assert sum(value or 0 for value in values) == 4000


def test_prometheus_sees_labels_and_not_details(prometheus: Prometheus) -> None:
    Metrics([prometheus]).count("execplane_attempts_ended_total", task_id="t", **ENDED)
    text = prometheus.text()[0].decode()
    line = next(line for line in text.splitlines() if line.startswith("execplane_attempts_ended_total{"))
    labels = 'category="oom_killed",dag_id="d",executor="local",state="failed"'
    assert line == f"execplane_attempts_ended_total{{{labels}}} 1.0"
    assert "_created" not in text


def test_every_metric_of_the_catalogue_can_be_sent_to_both_sinks(prometheus: Prometheus) -> None:
    one = Metrics([prometheus])
    for metric in CATALOGUE.values():
        labels = dict.fromkeys(metric.takes, "v")
        verb = {"counter": one.count, "histogram": one.observe, "gauge": one.set}[metric.kind]
        verb(metric.name, 1.5, **labels)
        suffix = "_sum" if metric.kind == "histogram" else ""
        shown = dict.fromkeys(metric.labels, "v")
        assert prometheus.registry.get_sample_value(metric.name + suffix, shown) == 1.5
        assert all("{" not in line.name for line in lines(metric, 1.5, labels))


def test_gauges_are_replaced_as_a_whole_and_forgotten(prometheus: Prometheus) -> None:
    one = Metrics([prometheus])
    value = prometheus.registry.get_sample_value
    one.replace("execplane_dagruns", [(2, {"state": "running"}), (1, {"state": "queued"})])
    one.replace("execplane_dagruns", [(3, {"state": "running"})])
    one.set("execplane_dags", 4)
    assert value("execplane_dagruns", {"state": "running"}) == 3
    assert value("execplane_dagruns", {"state": "queued"}) is None
    one.forget("execplane_dagruns")
    one.forget("execplane_dags")
    assert value("execplane_dagruns", {"state": "running"}) is None
    assert value("execplane_dags") is None


def test_a_flood_of_label_values_is_cut(prometheus: Prometheus, caplog: pytest.LogCaptureFixture) -> None:
    one = Metrics([prometheus])
    for number in range(MOST_SERIES + 10):
        one.count("execplane_loop_errors_total", loop=str(number))
    text = prometheus.text()[0].decode()
    assert text.count("\nexecplane_loop_errors_total{") == MOST_SERIES
    assert len(caplog.records) == 1
    one.count("execplane_loop_errors_total", loop="0")
    assert prometheus.registry.get_sample_value("execplane_loop_errors_total", {"loop": "0"}) == 2


def test_airflow_names_are_sent_where_airflow_has_one_and_ours_elsewhere() -> None:
    ended = CATALOGUE["execplane_attempts_ended_total"]
    labels = {**ENDED, "dag_id": "böse:dag", "task_id": "group.t"}
    assert [line.name for line in lines(ended, 1, labels)] == ["ti.finish.b_se_dag.group.t.failed", "ti_failures"]
    tick = CATALOGUE["execplane_loop_tick_seconds"]
    assert list(lines(tick, 0.25, {"loop": "scheduler"})) == [
        Line(kind="counter", name="scheduler_heartbeat", value=1.0),
        Line(kind="timer", name="scheduler.scheduler_loop_duration", value=0.25),
    ]
    assert list(lines(tick, 0.25, {"loop": "parsing"})) == []
    errors = CATALOGUE["execplane_loop_errors_total"]
    assert [line.name for line in lines(errors, 1, {"loop": "driver:local"})] == ["execplane.loop_errors.driver_local"]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(scaled(10))
        yield one


def received(server: socket.socket, until: str) -> list[str]:
    found: list[str] = []
    while until not in found:
        found += server.recv(65536).decode().splitlines()
    return found


def test_statsd_gets_milliseconds_gauges_and_zeroes_for_what_is_gone(server: socket.socket) -> None:
    one = Metrics([Statsd("127.0.0.1", server.getsockname()[1])])
    queued = {"executor": "local", "dag_id": "d", "task_id": "t"}
    one.observe("execplane_attempt_queued_seconds", 1.5, **queued)
    one.replace("execplane_pool_slots", [(float("inf"), {"pool": "p", "state": "open"})])
    one.replace("execplane_pool_slots", [(3, {"pool": "q", "state": "open"})])
    one.count("execplane_loop_errors_total", loop="last")

    found = received(server, "airflow.execplane.loop_errors.last:1|c")

    assert found == [
        "airflow.task.queued_duration:1500.000000|ms",
        "airflow.dag.d.t.queued_duration:1500.000000|ms",
        "airflow.ti.start.d.t:1|c",
        "airflow.pool.open_slots.q:3|g",
        "airflow.pool.open_slots.p:0.0|g",
        "airflow.execplane.loop_errors.last:1|c",
    ]
    one.close()


def test_a_statsd_server_that_is_not_found_stops_nothing_and_is_looked_up_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, clock: TestClock, server: socket.socket
) -> None:
    real, down = statsd.StatsClient, threading.Event()

    def client(*args: Any) -> Any:
        if down.is_set():
            raise socket.gaierror(-2, "Name or service not known")
        return real(*args)

    monkeypatch.setattr("execplane.metrics.statsd.statsd.StatsClient", client)
    down.set()
    options = MetricsOptions(prometheus=False, statsd_host="127.0.0.1", statsd_port=server.getsockname()[1])
    started = start(options, version="1", clock=clock)
    assert started.page is None
    eventually(lambda: "is not found" in caplog.text)
    down.clear()
    clock.advance(11)

    started.metrics.count("execplane_loop_errors_total", loop="x")

    assert received(server, "airflow.execplane.loop_errors.x:1|c")
    started.metrics.close()


def test_use_exchanges_the_current_emitter() -> None:
    mine = Metrics()
    before = metrics.use(mine)
    try:
        assert metrics.current() is mine
    finally:
        metrics.use(before)
    assert metrics.current() is before


@pytest.mark.parametrize(
    ("method", "accept", "status", "starts"),
    [
        ("GET", b"", 200, b"text/plain"),
        ("GET", b"application/openmetrics-text;version=1.0.0", 200, b"application/openmetrics-text"),
        ("HEAD", b"", 200, b"text/plain"),
        ("POST", b"", 405, b"text/plain"),
    ],
)
def test_the_page_answers_a_scrape_only(method: str, accept: bytes, status: int, starts: bytes) -> None:
    started = start(MetricsOptions(), version="1.2.3", clock=SystemClock())
    assert started.page is not None
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a scrape has no body")

    asyncio.run(started.page({"method": method, "headers": [(b"accept", accept)]}, receive, send))

    assert sent[0]["status"] == status
    assert dict(sent[0]["headers"])[b"content-type"].startswith(starts)
    body = sent[1]["body"]
    assert (b'execplane_build_info{version="1.2.3"} 1.0' in body) == (method == "GET")
    assert (b"process_resident_memory_bytes" in body) == (method == "GET")
