"""The parameters that single operators add: each row of their tables has an effect that is looked at here."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import DagImportError
from execplane.sdk import (
    BashOperator,
    EmptyOperator,
    FileSensor,
    PythonOperator,
    PythonSensor,
    ShortCircuitOperator,
    operator_parameters,
)
from execplane.sdk.execution import Outcome
from tests.unit.sdk.building import DictServices, HandClock, new_dag, result, run_task, spec_of

Probe = Callable[[dict[str, Any]], Any]


def run(operator: Any, given: dict[str, Any], base: dict[str, Any], **kwargs: Any) -> Outcome:
    with new_dag() as dag:
        operator(**{"task_id": "probed", **base, **given})
    return run_task(dag, "probed", **kwargs)


def bash(command: str, see: str = "result") -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        outcome = run(BashOperator, given, {"bash_command": command})
        return result(outcome) if see == "result" and outcome.outcome == "success" else outcome.outcome

    return probe


def python(function: Callable[..., Any], **base: Any) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        outcome = run(PythonOperator, given, {"python_callable": function, **base})
        return result(outcome) if outcome.outcome == "success" else outcome.outcome

    return probe


def polled(function: Callable[..., Any]) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        return run(PythonSensor, given, {"python_callable": function, "timeout": 0}).outcome

    return probe


def pauses(**base: Any) -> Probe:
    """How a sensor that is never done pauses."""

    def probe(given: dict[str, Any]) -> Any:
        clock = HandClock()
        full = {"python_callable": lambda: False, "poke_interval": 10, "timeout": 55, **base}
        run(PythonSensor, given, full, clock=clock)
        return [round(pause) for pause in clock.pauses]

    return probe


def sensor_end(function: Callable[..., Any]) -> Probe:
    def probe(given: dict[str, Any]) -> Any:
        return run(PythonSensor, given, {"python_callable": function, "timeout": 30, "poke_interval": 20}).outcome

    return probe


def broken() -> None:
    raise ValueError("broken")


def sensor_mode(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        PythonSensor(**{"task_id": "probed", "python_callable": print, **given})
    return spec_of(dag, "probed").sensor_mode


def skipped_by_gate(given: dict[str, Any]) -> Any:
    with new_dag() as dag:
        gate = ShortCircuitOperator(task_id="gate", python_callable=lambda: False, **given)
        gate >> EmptyOperator(task_id="near") >> EmptyOperator(task_id="far")
    return run_task(dag, "gate").skip


def logged(given: dict[str, Any]) -> Any:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("execplane.task")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        run(PythonOperator, given, {"python_callable": lambda: "s3cret"})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    return any("s3cret" in line for line in lines)


def imports(given: dict[str, Any]) -> Any:
    try:
        python(lambda: 1)(given)
    except DagImportError:
        return "refused"
    return "accepted"


FOLDER: list[Path] = []


def files(pattern: str) -> Probe:
    """How a FileSensor for this path ends; {folder} in it and in the given value is the folder of the fixture."""

    def probe(given: dict[str, Any]) -> Any:
        here = FOLDER[-1]
        services = DictServices(connections={"here": json.dumps({"conn_type": "fs", "extra": {"path": str(here)}})})
        full = {"filepath": pattern, "timeout": 0, **given}
        return run(
            FileSensor, {}, {**full, "filepath": full["filepath"].format(folder=here)}, services=services
        ).outcome

    return probe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("files")
    (found / "a" / "b").mkdir(parents=True)
    (found / "a" / "b" / "x.csv").touch()
    (found / "part.sql").write_text("SELECT 1")
    FOLDER.append(found)
    return found


SEEN = python(lambda x=None, **context: [x, context.get("templates_dict")])
CALLABLE: dict[str, tuple[Any, Probe, Any]] = {
    "python_callable": (lambda: 7, python(lambda: 1), 7),
    "op_args": (["{{ ds }}"], SEEN, ["2024-01-02", None]),
    "op_kwargs": ({"x": 1}, SEEN, [1, None]),
    "templates_dict": ({"q": "{{ ds }}"}, SEEN, [None, {"q": "2024-01-02"}]),
}
PYTHON: dict[str, tuple[Any, Probe, Any]] = {
    **CALLABLE,
    "templates_exts": ([".missing"], python(lambda x: x, op_args=["file.missing"]), "failed"),
    "show_return_value_in_logs": (False, logged, False),
    "provide_context": (False, imports, "refused"),
}
SENSOR: dict[str, tuple[Any, Probe, Any]] = {
    "poke_interval": (timedelta(seconds=30), pauses(), [30, 25]),
    "timeout": (15, pauses(), [10, 5]),
    "soft_fail": (True, sensor_end(lambda: False), "skipped"),
    "mode": ("reschedule", sensor_mode, "reschedule"),
    "exponential_backoff": (True, pauses(), [10, 20, 25]),
    "max_wait": (15, pauses(exponential_backoff=True, timeout=54), [10, 15, 15, 14]),
    "silent_fail": (True, sensor_end(broken), "fail_without_retry"),
    "never_fail": (True, sensor_end(broken), "skipped"),
}
POLLED: dict[str, tuple[Any, Probe, Any]] = {
    "python_callable": (lambda: True, polled(lambda: False), "success"),
    "op_args": ([True], polled(lambda x=False: x), "success"),
    "op_kwargs": ({"x": True}, polled(lambda x=False: x), "success"),
    "templates_dict": ({"x": "{{ ds }}"}, polled(lambda templates_dict=None: bool(templates_dict)), "success"),
}
EFFECTS: dict[str, dict[str, tuple[Any, Probe, Any]]] = {
    "BashOperator": {
        "bash_command": ("echo {{ ds }}", bash("echo other"), "2024-01-02"),
        "env": ({"A": "{{ ds }}"}, bash("echo ${A:-none}"), "2024-01-02"),
        "append_env": (
            True,
            lambda given: bash("echo ${PARENT:-no}")({"env": {"A": "x"}, **given}),
            "yes",
        ),
        "output_encoding": ("latin-1", bash("printf '\\xe9'"), "é"),
        "skip_on_exit_code": (3, bash("exit 3", "outcome"), "skipped"),
        "cwd": ("/", bash("pwd"), "/"),
        "output_processor": (len, bash("echo four"), 4),
    },
    "PythonOperator": PYTHON,
    "BranchPythonOperator": PYTHON,
    "ShortCircuitOperator": {
        "ignore_downstream_trigger_rules": (False, skipped_by_gate, ("near",)),
        **PYTHON,
    },
    "BaseBranchOperator": {},
    "EmptyOperator": {},
    "LatestOnlyOperator": {},
    "BaseSensorOperator": SENSOR,
    "PythonSensor": {**POLLED, **SENSOR},
    "FileSensor": {
        "filepath": ("{folder}/part.sql", files("{folder}/nothing"), "success"),
        "fs_conn_id": ("here", files("a/b/x.csv"), "success"),
        "recursive": (True, files("{folder}/**/x.csv"), "success"),
        **SENSOR,
    },
}
CASES = [
    (cls, name)
    for cls, rows in EFFECTS.items()
    for name in rows
    if cls == "BaseSensorOperator" or name not in SENSOR  # the sensors share one implementation
]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("cls", "name"), CASES, ids=lambda value: value)
def test_each_parameter_of_an_operator_has_its_effect(cls: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARENT", "yes")
    value, probe, expected = EFFECTS[cls][name]
    assert probe({name: value}) == expected
    assert probe({}) != expected


def test_the_effects_are_those_of_the_tables() -> None:
    tables = {cls: {row.name for row in rows} for cls, rows in operator_parameters.CLASSES.items()}
    assert {cls: set(rows) for cls, rows in EFFECTS.items()} == tables
