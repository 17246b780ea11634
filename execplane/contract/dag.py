"""The serialised DAG: all that scheduling and pages need to know, without the author's Python.

Produced by the parser's child process, stored as an immutable DagVersion, read by `scheduler.decide` and the pages.
The worker never runs from it: it imports the DAG file again.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from execplane.contract.states import TriggerRule

DAG_SPEC_SCHEMA = 1


class TimetableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """When a DAG runs.

    kind: "none" (only by hand) | "once" | "cron" | "delta" | "continuous".
    semantics: "interval" (Airflow 2: the logical date is the interval's start, the run comes at its end) or
    "instant" (Airflow 3: the logical date is the moment of the run). Explicit, because silent flips corrupt data.
    """

    kind: str = "none"
    expression: str = ""
    """The cron expression, presets already expanded; else empty."""
    delta_seconds: float = 0.0
    timezone: str = "UTC"
    semantics: str = "interval"
    description: str = ""
    """As the author wrote it: "@daily", "0 5 * * *", "1 day, 0:00:00"."""


class ParamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One typed parameter; `schema` is JSON Schema as Airflow's Param takes it."""

    default: Any = None
    has_default: bool = True
    description: str = ""
    schema: dict[str, Any] = {}


class XComRef(msgspec.Struct, frozen=True, kw_only=True):
    """A task's use of another task's XCom (an edge, too)."""

    task_id: str
    key: str = "return_value"


class ExpandArg(msgspec.Struct, frozen=True, kw_only=True):
    """One mapped argument: a literal of known length, or XComs whose lengths are known once they are pushed.

    `literal_length` is None when the value comes from XCom; several `refs` only for concat and zip.
    combine: "single" | "concat" (lengths add) | "zip" (shortest) | "zip_longest".
    """

    name: str
    literal_length: int | None = None
    refs: tuple[XComRef, ...] = ()
    combine: str = "single"


class MappedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Dynamic mapping. style "product": lengths of all args multiply; "kwargs": expand_kwargs, one arg."""

    style: str = "product"
    args: tuple[ExpandArg, ...] = ()
    index_template: str | None = None


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times are seconds; `pool`, `queue` and `executor` are names."""

    task_id: str
    operator: str
    """The operator's class name, as pages show it: "BashOperator", "@task"."""
    upstream: tuple[str, ...] = ()
    """Sorted ids of direct upstream tasks."""
    upstream_labels: dict[str, str] = {}
    """Upstream task id -> the edge's text, where the author gave one (`a >> Label("rows") >> b`)."""
    group_id: str | None = None
    label: str = ""
    kind: str = "task"
    """"task" | "empty" (completed by the scheduler without a launch) | "sensor" | "branch" | "short_circuit"."""
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    owner: str = "airflow"
    retries: int = 0
    retry_delay_seconds: float = 300.0
    retry_exponential_backoff: float = 0.0
    """0: constant delay; else the base of the exponent (True in Airflow means 2)."""
    max_retry_delay_seconds: float | None = None
    execution_timeout_seconds: float | None = None
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    ignore_first_depends_on_past: bool = True
    start_date: datetime | None = None
    end_date: datetime | None = None
    pool: str = "default_pool"
    pool_slots: int = 1
    priority_weight: int = 1
    weight_rule: str = "downstream"
    """"downstream" | "upstream" | "absolute"."""
    queue: str = "default"
    executor: str | None = None
    executor_config: dict[str, Any] = {}
    """As the author gave it: keys pod_override / podOverride (a raw pod dict), pod_template_file, KubernetesExecutor
    (the legacy dict). Kept exactly, unknown fields included; None values from V1Pod objects are already dropped."""
    resources: dict[str, Any] = {}
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    """A teardown whose failure fails the run; other teardowns do not count for the run's state."""
    mapped: MappedSpec | None = None
    xcom_refs: tuple[XComRef, ...] = ()
    """XComs that the task's arguments refer to: prefetched for the worker."""
    multiple_outputs: bool = False
    template_fields: tuple[str, ...] = ()
    sensor_mode: str = ""
    """"" | "poke" | "reschedule"."""
    doc_md: str = ""
    line: int = 0
    """Where the author wrote it: line in the DAG file, 0 when unknown."""


class GroupSpec(msgspec.Struct, frozen=True, kw_only=True):
    group_id: str
    parent_id: str | None = None
    label: str = ""
    tooltip: str = ""


class DagSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One DAG, whole. Tasks are sorted by id, so that equal DAGs give equal bytes."""

    schema: int = DAG_SPEC_SCHEMA
    dag_id: str
    display_name: str = ""
    description: str = ""
    doc_md: str = ""
    file: str = ""
    """Path of the DAG file inside the bundle, with forward slashes."""
    tags: tuple[str, ...] = ()
    owner_links: dict[str, str] = {}
    timetable: TimetableSpec = TimetableSpec()
    start_date: datetime | None = None
    end_date: datetime | None = None
    catchup: bool = False
    max_active_runs: int = 16
    max_active_tasks: int = 16
    dagrun_timeout_seconds: float | None = None
    fail_fast: bool = False
    is_paused_upon_creation: bool | None = None
    render_template_as_native_obj: bool = False
    params: dict[str, ParamSpec] = {}
    param_order: tuple[str, ...] = ()
    """Names of `params` in the author's order, which canonical JSON does not keep: the trigger form follows it."""
    executor_config: dict[str, Any] = {}
    """The DAG's default: the layer between the template and the task's override."""
    tasks: tuple[TaskSpec, ...] = ()
    groups: tuple[GroupSpec, ...] = ()


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(DagSpec)


def encode_dag(spec: DagSpec) -> bytes:
    """Canonical JSON: equal specs give equal bytes."""
    return _encoder.encode(spec)


def decode_dag(data: bytes) -> DagSpec:
    """The reverse of `encode_dag`, `params` in their order again; fields added by a newer version are ignored."""
    spec = _decoder.decode(data)
    known = spec.params
    if list(known) == list(spec.param_order):
        return spec
    ordered = {name: known[name] for name in (*spec.param_order, *known) if name in known}
    return msgspec.structs.replace(spec, params=ordered)


def dag_hash(spec: DagSpec) -> str:
    """The DagVersion's stable hash: 64 hex digits over the canonical JSON, whatever process computes it."""
    return hashlib.sha256(encode_dag(spec)).hexdigest()


class ParsedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the parser's child says about one DAG file. `error` is "" when the import went well."""

    file: str
    dags: tuple[DagSpec, ...] = ()
    error: str = ""
    """One sentence: what is wrong, at which line, and what to write instead."""
    traceback: str = ""
    warnings: tuple[str, ...] = ()
    duration_seconds: float = 0.0
    is_dag_file: bool = True
    variables: tuple[str, ...] = ()
    """The stored Variables that its top level asked for, whether they were there or not."""
