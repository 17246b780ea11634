from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import DagImportError
from execplane.sdk import BaseSensorOperator, FileSensor, PokeReturnValue, PythonSensor, task
from tests.unit.sdk.building import NOW, DictServices, HandClock, claim, new_dag, result, run_task, spec_of


def sensor(looks: list[Any], **kwargs: Any) -> Any:
    """A DAG with a sensor whose looks give these values, one after the other; an exception is raised."""
    left = list(looks)

    def look() -> Any:
        found = left.pop(0) if left else False
        if isinstance(found, Exception):
            raise found
        return found

    with new_dag() as dag:
        PythonSensor(task_id="wait", python_callable=look, **{"poke_interval": 10, "timeout": 60, **kwargs})
    return dag


def test_poking_sleeps_between_looks_until_it_is_done() -> None:
    clock = HandClock()
    outcome = run_task(sensor([False, False, True]), "wait", clock=clock)
    assert outcome.outcome == "success"
    assert clock.pauses == [10.0, 10.0]
    assert outcome.xcoms == ()  # only a PokeReturnValue gives a value


def test_a_poke_may_give_a_value() -> None:
    outcome = run_task(sensor([PokeReturnValue(False), PokeReturnValue(True, {"rows": 3})]), "wait")
    assert result(outcome) == {"rows": 3}


def test_the_pause_doubles_up_to_its_cap() -> None:
    clock = HandClock()
    dag = sensor([False] * 5 + [True], exponential_backoff=True, max_wait=timedelta(seconds=50), timeout=1000)
    run_task(dag, "wait", clock=clock)
    assert clock.pauses == [10.0, 20.0, 40.0, 50.0, 50.0]


def test_a_timeout_fails_without_retry_whatever_retries_say() -> None:
    outcome = run_task(sensor([], retries=5), "wait", answer=claim(max_tries=5))
    assert outcome.outcome == "fail_without_retry"
    assert "longer than its timeout of 60 s" in outcome.reason


def test_soft_fail_skips_on_a_timeout_and_not_on_an_error() -> None:
    assert run_task(sensor([], soft_fail=True), "wait").outcome == "skipped"
    assert run_task(sensor([ValueError("x")], soft_fail=True), "wait").outcome == "failed"


def test_never_fail_skips_on_both() -> None:
    assert run_task(sensor([], never_fail=True), "wait").outcome == "skipped"
    assert run_task(sensor([ValueError("x")], never_fail=True), "wait").outcome == "skipped"


def test_silent_fail_takes_an_error_as_not_done_yet() -> None:
    assert run_task(sensor([ValueError("x"), True], silent_fail=True), "wait").outcome == "success"


def test_an_error_in_a_look_fails_the_try() -> None:
    outcome = run_task(sensor([ValueError("broken")]), "wait")
    assert outcome.outcome == "failed"
    assert "broken" in outcome.reason


def test_reschedule_ends_the_attempt_until_the_next_look() -> None:
    clock = HandClock()
    outcome = run_task(sensor([False], mode="reschedule"), "wait", clock=clock)
    assert outcome.outcome == "reschedule"
    assert outcome.reschedule_at == NOW + timedelta(seconds=10)
    assert clock.pauses == []


def test_the_timeout_of_reschedule_counts_from_the_first_attempt_of_the_try() -> None:
    started = claim(first_started_at=NOW - timedelta(seconds=61))
    assert run_task(sensor([False], mode="reschedule"), "wait", answer=started).outcome == "fail_without_retry"
    assert run_task(sensor([True], mode="reschedule"), "wait", answer=started).outcome == "success"


def test_backoff_goes_on_over_rescheduled_attempts() -> None:
    at = []
    elapsed = 0.0
    for _ in range(4):
        answer = claim(first_started_at=NOW - timedelta(seconds=elapsed))
        outcome = run_task(
            sensor([False], mode="reschedule", exponential_backoff=True, timeout=1000), "wait", answer=answer
        )
        assert outcome.reschedule_at is not None
        at.append((outcome.reschedule_at - NOW).total_seconds())
        elapsed += at[-1]
    assert at == [10.0, 20.0, 40.0, 80.0]


def test_the_last_pause_ends_with_the_timeout() -> None:
    clock = HandClock()
    run_task(sensor([], poke_interval=50), "wait", clock=clock)
    assert sum(clock.pauses) == pytest.approx(60, abs=0.1)


def test_specs_say_how_a_sensor_waits() -> None:
    assert spec_of(sensor([]), "wait").sensor_mode == "poke"
    assert spec_of(sensor([], mode="reschedule"), "wait").sensor_mode == "reschedule"
    assert spec_of(sensor([]), "wait").kind == "sensor"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "push"}, "'poke' or 'reschedule'"),
        ({"poke_interval": "1m"}, "poke_interval takes"),
        ({"timeout": -1}, "timeout takes"),
        ({"soft_fail": True, "never_fail": True}, "both set"),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DagImportError, match=words):
        sensor([], **given)


def test_file_sensor_finds_files_patterns_and_filled_folders(tmp_path: Path) -> None:
    def outcome(filepath: str, **kwargs: Any) -> str:
        with new_dag() as dag:
            FileSensor(task_id="wait", filepath=filepath, timeout=1, poke_interval=1, soft_fail=True, **kwargs)
        services = DictServices(connections={"base": f'{{"conn_type": "fs", "extra": {{"path": "{tmp_path}"}}}}'})
        return run_task(dag, "wait", services).outcome

    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "a.csv").touch()
    assert outcome(str(tmp_path / "empty")) == "skipped"
    assert outcome(str(tmp_path / "deep")) == "success"
    assert outcome(str(tmp_path / "deep" / "*" / "*.csv")) == "success"
    assert outcome(str(tmp_path / "**" / "a.csv")) == "skipped"
    assert outcome(str(tmp_path / "**" / "a.csv"), recursive=True) == "success"
    assert outcome("deep/deeper/{{ 'a' }}.csv", fs_conn_id="base") == "success"
    assert outcome("x", fs_conn_id="unknown") == "failed"


def test_the_decorator_and_own_sensors_poke_too() -> None:
    class Own(BaseSensorOperator):
        template_fields = ("day",)

        def __init__(self, *, day: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.day = day

        def poke(self, context: Any) -> bool:
            return self.day == "2024-01-02"

    with new_dag() as dag:

        @task.sensor(poke_interval=1, timeout=5, mode="reschedule")
        def ready(ds: str) -> PokeReturnValue:
            return PokeReturnValue(True, ds)

        ready()
        Own(task_id="own", day="{{ ds }}", timeout=1)
    assert result(run_task(dag, "ready")) == "2024-01-02"
    assert run_task(dag, "own").outcome == "success"
    assert spec_of(dag, "ready").sensor_mode == "reschedule"
