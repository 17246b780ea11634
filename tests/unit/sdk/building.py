"""What the sdk's tests are built from: a DAG from text or from Python, a claim, services that are dicts, a clock that
is moved by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from execplane.contract.dag import ParsedFile, TaskSpec
from execplane.contract.keys import NOT_MAPPED, TaskKey
from execplane.contract.messages import (
    ClaimAnswer,
    RunContext,
    SecretValue,
    TaskContext,
    XComPull,
    XComValue,
    XComValues,
)
from execplane.sdk import DAG, xcom
from execplane.sdk.execution import Outcome, execute
from execplane.sdk.loader import LoadedFile, load_file, parse_file
from execplane.sdk.options import Defaults
from execplane.sdk.serialise import serialise

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 1, 3, 12, tzinfo=UTC)


class HandClock:
    """A clock that a test moves; `pause` is what a sensor sleeps with."""

    def __init__(self, now: datetime = NOW) -> None:
        self.at = now
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += timedelta(seconds=seconds)


@dataclass
class DictServices:
    """Services that keep everything in dicts."""

    xcoms: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    mapped: set[str] = field(default_factory=set)
    variables: dict[str, SecretValue] = field(default_factory=dict)
    connections: dict[str, str] = field(default_factory=dict)
    pulls: list[XComPull] = field(default_factory=list)

    def put(self, task_id: str, value: Any, key: str = "return_value", map_index: int = NOT_MAPPED) -> None:
        self.xcoms[task_id, key, map_index] = xcom.encode(value)

    def keep(self, outcome: Outcome) -> None:
        self.xcom_push(outcome.xcoms)

    def get(self, task_id: str, key: str = "return_value", map_index: int = NOT_MAPPED) -> Any:
        return xcom.decode(self.xcoms[task_id, key, map_index])

    def xcom_pull(self, request: XComPull) -> XComValues:
        self.pulls.append(request)
        found = []
        for task_id in request.task_ids:
            for (owner, key, index), data in sorted(self.xcoms.items()):
                if owner == task_id and key == request.key and request.map_index in (None, index):
                    found.append(XComValue(task_id=owner, key=key, map_index=index, value=msgspec.Raw(data)))
        return XComValues(values=tuple(found), mapped_task_ids=tuple(sorted(self.mapped & set(request.task_ids))))

    def xcom_push(self, values: tuple[XComValue, ...]) -> None:
        for value in values:
            self.xcoms[value.task_id, value.key, value.map_index] = bytes(value.value)

    def variable_get(self, key: str) -> SecretValue | None:
        return self.variables.get(key)

    def variable_set(self, key: str, value: SecretValue) -> None:
        self.variables[key] = value

    def variable_delete(self, key: str) -> None:
        self.variables.pop(key, None)

    def connection_get(self, conn_id: str) -> SecretValue | None:
        found = self.connections.get(conn_id)
        return None if found is None else SecretValue(value=found)


def claim(
    *,
    conf: dict[str, Any] | None = None,
    try_number: int = 1,
    max_tries: int = 1,
    run_type: str = "scheduled",
    first_started_at: datetime | None = None,
    **fields: Any,
) -> ClaimAnswer:
    """A claim's answer for the run of 2 January 2024, whose interval is that day."""
    run: dict[str, Any] = {
        "run_type": run_type,
        "logical_date": START + timedelta(days=1),
        "data_interval_start": START + timedelta(days=1),
        "data_interval_end": START + timedelta(days=2),
        "run_after": START + timedelta(days=2),
        "conf": conf or {},
    }
    for name in list(fields):
        if name in RunContext.__struct_fields__:
            run[name] = fields.pop(name)
    return ClaimAnswer(
        token="token",
        token_expires_at=NOW + timedelta(hours=1),
        heartbeat_seconds=5,
        self_fence_seconds=600,
        grace_seconds=30,
        dag_file="dag.py",
        bundle="bundle",
        run=RunContext(**run),
        task=TaskContext(try_number=try_number, max_tries=max_tries, first_started_at=first_started_at),
        **fields,
    )


def run_task(
    dag: DAG,
    task_id: str,
    services: DictServices | None = None,
    *,
    map_index: int = NOT_MAPPED,
    answer: ClaimAnswer | None = None,
    clock: HandClock | None = None,
    on_rendered: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Run one task and keep its result in the services, as the worker does."""
    outside = services or DictServices()
    hands = clock or HandClock()
    key = TaskKey(dag_id=dag.dag_id, run_id="run", task_id=task_id, map_index=map_index)
    outcome = execute(dag, key, answer or claim(), outside, clock=hands, pause=hands.pause, on_rendered=on_rendered)
    outside.keep(outcome)
    return outcome


def result(outcome: Outcome) -> Any:
    """The return_value of a successful outcome."""
    assert outcome.outcome == "success", outcome
    values = {value.key: xcom.decode(bytes(value.value)) for value in outcome.xcoms}
    return values.get("return_value")


def new_dag(dag_id: str = "example", **kwargs: Any) -> DAG:
    return DAG(dag_id, **{"schedule": None, "start_date": START, **kwargs})


def spec_of(dag: DAG, task_id: str) -> TaskSpec:
    """The task as it is stored."""
    found = {task.task_id: task for task in serialise(dag, defaults=Defaults()).tasks}
    return found[task_id]


def write(folder: Path, source: str, name: str = "example.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(source))
    return path


def loaded(folder: Path, source: str, name: str = "example.py") -> LoadedFile:
    return load_file(write(folder, source, name), folder)


def parsed(folder: Path, source: str, name: str = "example.py", defaults: Defaults | None = None) -> ParsedFile:
    return parse_file(write(folder, source, name), folder, defaults=defaults or Defaults())
