"""The sections of the settings but the kubernetes executor's, which has a file of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from execplane.config_rules import FailureRule
from execplane.contract.categories import FATAL_STATE_REASONS


def comma_separated(value: Any) -> Any:
    """A list as environment variables write it."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Local(Section):
    """The local and sequential executors."""

    slots: int = Field(32, ge=1, description="processes alive at once")


class Worker(Section):
    """What workers are told at their claim."""

    heartbeat_seconds: float = Field(10, gt=0, description="time between heartbeats")
    self_fence_seconds: float = Field(600, gt=0, description="without contact for this long a worker kills its task")
    grace_seconds: float = Field(30, ge=0, description="from SIGTERM to SIGKILL")
    token_seconds: float = Field(3600, gt=0, description="life of an attempt token; renewed at half-life")
    xcom_blob_bytes: int = Field(65536, ge=0, description="XComs above this go to the blob store")
    xcom_max_bytes: int = Field(1 << 30, ge=1, le=1 << 30, description="largest XCom")


class Scheduler(Section):
    timetable_semantics: Literal["interval", "instant"] = Field(
        "interval", description="interval: Airflow 2's dates; instant: Airflow 3's; a DAG may say otherwise"
    )
    catchup_by_default: bool = Field(False, description="catchup of DAGs that do not say")
    infra_retries: int = Field(3, ge=0, description="infrastructure failures that a task survives")
    infra_backoff_seconds: float = Field(
        10, ge=0, description="longest wait after a task's first infrastructure failure; doubles with each"
    )
    infra_backoff_cap_seconds: float = Field(300, ge=0, description="longest wait after an infrastructure failure")
    runs_per_tick: int = Field(50, ge=1, description="runs decided per tick")
    max_active_runs_created: int = Field(20, ge=1, description="scheduled runs created per tick")


class Deadlines(Section):
    """How long an attempt may stay in a phase, in seconds, 0: for ever; docs/deadlines.md explains."""

    task_queued_timeout_seconds: float = Field(
        0, ge=0, description="from queued until its worker runs, all waiting included; then it fails, without a retry"
    )
    unscheduled_seconds: float = Field(
        0, ge=0, description="held back by a quota or without a node; then it fails, without a retry"
    )
    launch_seconds: float = Field(600, ge=0, description="until somebody says whether a launch came to be")
    starting_seconds: float = Field(1800, ge=0, description="on a node until its container runs: volumes, image, init")
    fatal_state_seconds: float = Field(
        60, ge=0, description="in a state of `worker_pod_pending_fatal_container_state_reasons`"
    )
    worker_pod_pending_fatal_container_state_reasons: list[str] = Field(
        list(FATAL_STATE_REASONS), description="reasons for which a container waits and that do not pass by themselves"
    )
    claim_seconds: float = Field(600, ge=0, description="from the start of its container or process to its claim")
    task_instance_heartbeat_timeout_seconds: float = Field(
        660, ge=0, description="without a heartbeat; never less than `worker.self_fence_seconds` and a tenth"
    )
    stopping_seconds: float = Field(600, ge=0, description="until the end of a stopped and silent pod is not awaited")
    breaker_share: float = Field(
        0.2, gt=0, le=1, description="nobody is ended when more than this share is overdue at once; 1: no breaker"
    )
    breaker_least: int = Field(10, ge=1, description="the breaker stays closed below this many")

    @field_validator("worker_pod_pending_fatal_container_state_reasons", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return comma_separated(value)


class Waves(Section):
    """Launches in waves after an outage, an unpause, a mass clear or a launch hold; docs/holds.md explains."""

    from_waiting: int = Field(500, ge=0, description="waves begin when more attempts than this wait; 0: no waves")
    first: int = Field(10, ge=1, description="launches of the first wave; each one after it is twice as large")
    failing_share: float = Field(
        0.3, ge=0, lt=1, description="share of a wave that may fail before its workers run; more make a launch hold"
    )
    outage_seconds: float = Field(
        60, ge=0, description="an executor that could launch nothing for so long had an outage"
    )


class Failures(Section):
    """Whose failures are paid from what."""

    rules: list[FailureRule] = Field(
        [], description="rules in addition to the built-in categories, the first match counts; see docs/failures.md"
    )


class Parsing(Section):
    interval_seconds: float = Field(1.0, gt=0, description="how often DAG folders are looked at")
    timeout_seconds: float = Field(30, gt=0, description="limit of one file's import")
    memory_bytes: int = Field(1 << 30, ge=1 << 26, description="limit of one file's import")
    processes: int = Field(2, ge=1, description="files imported at once")
    ignore_syntax: Literal["glob", "regexp"] = Field("glob", description="syntax of .airflowignore")


class Web(Section):
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on")
    url: str = Field("", description="where users and workers reach it; empty: http://host:port")
    allowed_hosts: list[str] = Field([], description="host names served besides localhost")
    trusted_origins: list[str] = Field([], description="https origins trusted for forms behind a proxy")
    threads: int = Field(8, ge=1, description="threads for pages and the public API")
    secure_cookies: bool = Field(False, description="cookies over https only; set it behind TLS")

    @field_validator("allowed_hosts", "trusted_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return comma_separated(value)


class Metrics(Section):
    """Where samples go; docs/metrics.md lists them."""

    prometheus: bool = Field(True, description="serve /metrics beside the pages, without a login")
    statsd_host: str = Field("", description="statsd server that samples are sent to; empty: none")
    statsd_port: int = Field(8125, ge=1, le=65535, description="its UDP port")
    statsd_prefix: str = Field("airflow", description="first part of every statsd name")
