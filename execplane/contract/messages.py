"""The worker protocol, version 1: JSON over HTTP under /worker/v1/.

| method path                         | body -> answer                                  |
|-------------------------------------|-------------------------------------------------|
| POST claim                          | ClaimRequest -> ClaimAnswer                     |
| POST heartbeat                      | Heartbeat -> HeartbeatAnswer                    |
| POST end                            | End -> EndAnswer                                |
| POST logs                           | LogBatch -> Accepted                            |
| PUT  xcoms                          | XComPush -> Accepted                            |
| POST xcoms/pull                     | XComPull -> XComValues                          |
| PUT  blobs/<sha256>, GET blobs/<sha256> | raw bytes (large XComs)                     |
| GET  variables/<key>, connections/<id> | SecretValue; 404 Refusal(code="not_found")   |
| PUT, DELETE variables/<key>         | SecretValue -> Accepted                         |
| GET  bundles/<digest>               | tar.gz of the bundle                            |

Authorization: Bearer <launch token> for the claim (a projected service-account token, or the token from the launch
Secret or the zygote's pipe), Bearer <attempt token> for all else. Errors carry a Refusal: 400 malformed, 401 token,
404 absent, 409 fenced (stop working: somebody else's attempt), 425 not yet (ask again), 503 try again.

Lost answers: the claim is idempotent for (uid, nonce); `end` is idempotent for the nonce; log batches are keyed by
offset; XCom pushes overwrite. So a worker repeats whatever was not answered.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from execplane.contract.keys import AttemptKey
from execplane.contract.logs import LogRecord

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that a database keeps."""
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""With its zone: one without cannot be compared."""

PROTOCOL = 1
OLDEST_PROTOCOL = 1
LAUNCH_AUDIENCE = "execplane"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the worker API said no. code: "malformed", "token", "not_found", "fenced", "not_yet", "unavailable",
    "too_large", "protocol"."""

    code: str
    message: str
    hint: str = ""


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    protocol: int = PROTOCOL
    attempt_id: int
    key: AttemptKey
    uid: str
    """The pod's uid; for a local process "<boot id>:<pid>:<start ticks>"."""
    nonce: str
    """Made once by this process: a restarted container has another one and is refused."""
    hostname: str = ""
    worker_version: str = ""
    python_version: str = ""


class XComValue(msgspec.Struct, frozen=True, kw_only=True):
    """One XCom. `value` is the codec's JSON (see execplane.sdk.xcom); a large one has `blob` (sha256) instead."""

    task_id: str
    key: str
    map_index: int = -1
    value: msgspec.Raw = msgspec.Raw(b"null")
    blob: str = ""


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What templates and tasks know of their run."""

    run_type: str
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_after: datetime
    queued_at: datetime | None = None
    started_at: datetime | None = None
    conf: dict[str, Any] = {}
    dag_version: str = ""
    triggered_by: str = ""
    previous_success_logical_date: datetime | None = None
    previous_success_interval_start: datetime | None = None
    previous_success_interval_end: datetime | None = None
    previous_success_started_at: datetime | None = None
    previous_success_ended_at: datetime | None = None


class TaskContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a task knows of itself."""

    try_number: int
    max_tries: int
    """`retries` + 1 tries in all, counted on from clears, so that try_number <= max_tries while it may retry."""
    pool: str = "default_pool"
    queue: str = "default"
    priority_weight: int = 1
    first_started_at: datetime | None = None
    """When the first attempt of this try started (a reschedule sensor's timeout counts from there)."""
    mapped_lengths: dict[str, int] = {}


class ClaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    protocol: int = PROTOCOL
    token: str
    """The attempt token."""
    token_expires_at: datetime
    heartbeat_seconds: float
    self_fence_seconds: float
    """Without contact for this long the worker kills the task."""
    grace_seconds: float
    dag_file: str
    bundle: str
    source: str = "bundle"
    dags_folder: str = ""
    run: RunContext
    task: TaskContext
    xcoms: tuple[XComValue, ...] = ()
    """The XComs its arguments refer to, as far as they are small."""
    xcom_blob_bytes: int = 65536
    """Larger XComs go to the blob store."""
    xcom_max_bytes: int = 1 << 30
    env: dict[str, str] = {}
    """For the task's process: the deployment's defaults, so that a DAG file means here what it meant to the parser."""
    ignore_syntax: str = ""
    """Of .airflowignore, for the digest of an image's or a volume's DAG folder; "": as the worker's own options say."""
    web_url: str = ""
    """The page of this attempt's log."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    nonce: str
    log_offset: Count
    """How many log lines have been produced, sent or not."""
    rendered: dict[str, Any] | None = None
    """Rendered template fields, once."""
    bundle_found: str = ""
    """For image and volume: the digest of the files it found."""


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    stop: bool = False
    reason: str = ""
    token: str = ""
    """A renewed attempt token, when the old one is past its half-life."""
    token_expires_at: datetime | None = None
    watched: bool = False
    """Somebody reads this log right now: send lines within a second instead of in large batches."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    message: str
    traceback: str = ""
    line: int = 0


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The worker's report.

    outcome: "success" | "failed" | "skipped" | "reschedule" | "fail_without_retry" | "terminated" (told to stop, or
    SIGTERM; `reason` says by whom) | "timeout" (execution_timeout) | "no_files" (the DAG's files could not be had, so
    that no code of the author's ran).
    """

    nonce: str
    outcome: str
    reason: str = ""
    error: ErrorInfo | None = None
    xcoms: tuple[XComValue, ...] = ()
    """return_value and what was pushed but not yet sent."""
    map_length: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    """Length of return_value when it is a list or dict: mapped tasks downstream expand by it."""
    map_label: str = ""
    """The mapped instance's name on pages, at most 250 characters."""
    skip: tuple[str, ...] = ()
    """Task ids that a branch or a short circuit drops."""
    reschedule_at: datetime | None = None
    log_offset: Count = 0
    logs: tuple[LogRecord, ...] = ()
    """The lines not sent yet."""
    rendered: dict[str, Any] | None = None
    bundle_found: str = ""
    peak_memory_bytes: Count | None = None
    user_code_started_at: Moment | None = None
    ended_at: Moment


class EndAnswer(msgspec.Struct, frozen=True, kw_only=True):
    accepted: bool
    state: str
    hold_seconds: float = 0.0
    """For so long a failed task's container is to be kept alive, to look into it."""


class LogBatch(msgspec.Struct, frozen=True, kw_only=True):
    nonce: str
    records: tuple[LogRecord, ...]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    accepted: bool = True
    watched: bool = False
    """For logs: as in HeartbeatAnswer."""


class XComPush(msgspec.Struct, frozen=True, kw_only=True):
    nonce: str
    values: tuple[XComValue, ...]
    map_length: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class XComPull(msgspec.Struct, frozen=True, kw_only=True):
    """`task_ids` empty: the own task. `map_index` None: all of a mapped task, in order."""

    task_ids: tuple[str, ...] = ()
    key: str = "return_value"
    map_index: int | None = None
    include_prior_dates: bool = False
    dag_id: str = ""
    run_id: str = ""


class XComValues(msgspec.Struct, frozen=True, kw_only=True):
    values: tuple[XComValue, ...]
    mapped_task_ids: tuple[str, ...] = ()
    """Which of the asked tasks are mapped: their values come as a list."""


class SecretValue(msgspec.Struct, frozen=True, kw_only=True):
    """A Variable's value, or a Connection as its JSON; `description` for a Variable that is set."""

    value: str
    description: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The worker's last words, at most 4 KiB, in /dev/termination-log: what the End said, in short."""

    protocol: int = PROTOCOL
    attempt_id: int
    nonce: str
    outcome: str
    reason: str = ""
    error: ErrorInfo | None = None
    reported: bool = False
    """Whether the API had acknowledged the End."""
