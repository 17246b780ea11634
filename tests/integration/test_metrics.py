"""Metrics where they are made: the ledger's gauges, what transitions tell, and a whole deployment's `/metrics`."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from execplane import metrics
from execplane.contract.observations import Diagnosis, LaunchRefused
from execplane.contract.states import AttemptState
from execplane.loops.gauges import GaugeLoop
from execplane.metrics import Metrics
from execplane.metrics.prometheus import Prometheus
from execplane.store import gauge_rows
from execplane.store.models import Pool
from tests.integration.driver.conftest import (
    Driven,
    driven,  # noqa: F401 - a fixture
)
from tests.integration.plans import plans
from tests.integration.store.conftest import (
    Ledger,
    ledger,  # noqa: F401 - a fixture
)
from tests.integration.store.play import Play
from tests.parts.eventually import eventually, scaled
from tests.parts.standalone import Standalone

DAGS = Path(__file__).parent.parent / "spine" / "dags"


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    one = Prometheus(process_metrics=False)
    before = metrics.use(Metrics([one]))
    yield one
    metrics.use(before)


@pytest.fixture
def play(ledger: Ledger) -> Play:  # noqa: F811
    return Play(run_pk=ledger.run_pk, clock=ledger.clock)


def test_the_gauges_read_only_what_is_active_by_its_indexes(play: Play) -> None:
    play.decide()

    found = plans(gauge_rows._active_attempts)
    assert "attempt_active" in found
    assert "SCAN execplane_attempt\n" not in f"{found}\n"
    found = plans(gauge_rows._active_runs)
    assert "dagrun_by_state" in found or "dagrun_active" in found


def test_the_ledgers_gauges_follow_the_ledger(
    play: Play, prometheus: Prometheus, caplog: pytest.LogCaptureFixture
) -> None:
    Pool.objects.update_or_create(name="default_pool", defaults={"slots": 16})
    Pool.objects.create(name="endless", slots=-1)
    value = prometheus.registry.get_sample_value
    queued = {"executor": "local", "state": "queued"}
    running = {"executor": "local", "state": "running"}
    loop = GaugeLoop(["local"])
    play.decide()
    play.later(20)

    following = loop.tick(play.now)

    assert following.at == play.now + timedelta(seconds=15)
    assert value("execplane_attempts", queued) == 1
    assert value("execplane_attempts", running) == 0
    assert value("execplane_oldest_queued_seconds", {"executor": "local"}) == 20
    assert value("execplane_dagruns", {"state": "running"}) == 1
    assert value("execplane_pool_slots", {"pool": "default_pool", "state": "queued"}) == 1
    assert value("execplane_pool_slots", {"pool": "endless", "state": "open"}) == float("inf")
    assert value("execplane_dags") == 1
    assert value("execplane_import_errors") == 0

    play.bring_to(AttemptState.RUNNING)
    loop.tick(play.now)
    assert value("execplane_attempts", queued) == 1, "it is not read again before its time"
    play.later(15)
    loop.tick(play.now)
    assert value("execplane_attempts", queued) == 0
    assert value("execplane_attempts", running) == 1
    assert value("execplane_oldest_queued_seconds", {"executor": "local"}) == 0
    assert value("execplane_pool_slots", {"pool": "default_pool", "state": "running"}) == 1
    assert value("execplane_pool_slots", {"pool": "default_pool", "state": "open"}) == 15

    loop.close()
    assert value("execplane_attempts", running) is None
    assert value("execplane_dags") is None
    assert "metric" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_failed_attempt_is_counted_once_with_its_times(play: Play, prometheus: Prometheus) -> None:
    value = prometheus.registry.get_sample_value
    play.decide()
    play.later(3)
    attempt = play.bring_to(AttemptState.RUNNING)
    play.later(7)
    play.report("failed")
    play.report("failed", attempt=attempt)

    ended = {"dag_id": attempt.dag_id, "executor": "local", "state": "failed"}
    (category,) = {
        sample.labels["category"]
        for family in prometheus.registry.collect()
        if family.name == "execplane_attempts_ended"
        for sample in family.samples
    }
    assert value("execplane_attempts_ended_total", {**ended, "category": category}) == 1
    assert value("execplane_attempt_queued_seconds_sum", {"executor": "local"}) == 3
    assert value("execplane_attempt_duration_seconds_sum", {"executor": "local", "state": "failed"}) == 7


def test_claims_launches_and_refusals_are_counted(driven: Driven, prometheus: Prometheus) -> None:  # noqa: F811
    driven.play.decide()
    driven.tick()
    attempt = driven.play.attempt()
    quota = Diagnosis(category="quota", sentence="The quota is used up.", infrastructure=True)
    for retry in (True, False):
        driven.recorder.said(LaunchRefused(attempt_id=attempt.pk, diagnosis=quota, retry=retry, at=driven.play.now))
        driven.tick()

    def value(name: str, **labels: str) -> float | None:
        return prometheus.registry.get_sample_value(f"execplane_{name}_total", {"executor": "local", **labels})

    assert value("attempts_claimed") == 1
    assert value("launches", again="false") == 1
    assert value("launches", again="true") == 1
    assert value("launches_refused", category="quota", retried="true") == 1
    assert value("launches_refused", category="quota", retried="false") == 1


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    one = Standalone(tmp_path / "home", DAGS)
    one.start()
    yield one
    one.stop()


def samples(standalone: Standalone) -> dict[str, float]:
    """Each series, its labels in order, as a scrape without a login sees it."""
    with urllib.request.urlopen(f"{standalone.url}/metrics", timeout=scaled(10)) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f" {label}={text}" for label, text in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_deployment_that_ran_a_dag_shows_it_to_prometheus(standalone: Standalone) -> None:
    eventually(
        lambda: "two_bash_tasks" in standalone.run("dags", "list"), timeout_seconds=30, on_failure=standalone.tail
    )
    standalone.run("dags", "trigger", "two_bash_tasks", "--run-id", "one", "--wait", "--timeout", "120")

    found = samples(standalone)

    local = "executor=local"
    assert found[f"execplane_attempts_ended_total category= dag_id=two_bash_tasks {local} state=success"] == 2
    assert found[f"execplane_attempts_claimed_total {local}"] == 2
    assert found[f"execplane_launches_total again=false {local}"] == 2
    assert found[f"execplane_attempt_queued_seconds_count {local}"] == 2
    assert found[f"execplane_attempt_duration_seconds_count {local} state=success"] == 2
    assert found["execplane_worker_api_requests_total route=claim status=200"] == 2
    assert found["execplane_worker_api_request_seconds_count route=end"] == 2
    assert found["execplane_parse_seconds_count outcome=ok"] >= 1
    assert found["execplane_scheduler_decide_seconds_count"] >= 3
    for loop in ("scheduler", "parsing", "driver:local", "heartbeats", "gauges", "status"):
        assert found[f"execplane_loop_tick_seconds_count loop={loop}"] >= 1
    assert found[f"execplane_attempts {local} state=running"] >= 0
    assert found["execplane_pool_slots pool=default_pool state=open"] > 0
    assert found["process_resident_memory_bytes"] > 0
    assert not any(name.startswith("execplane_loop_errors_total ") for name in found)
    assert "dropped" not in standalone.tail(1000)


def test_metrics_can_be_turned_off(tmp_path: Path) -> None:
    one = Standalone(tmp_path / "home", DAGS, metrics__prometheus="false")
    one.start()
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{one.url}/metrics", timeout=scaled(10))
        assert refused.value.code == 404
        refused.value.close()
        assert "gauges" not in one.run("status")
    finally:
        one.stop()
