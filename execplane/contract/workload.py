"""What an executor launches: the attempt's key, what to run and where. It does not care who decided that it runs."""

from __future__ import annotations

from typing import Any

import msgspec

from execplane.contract.keys import AttemptKey


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, ready for its executor. Nothing in it is secret: it may stand in a pod's args."""

    attempt_id: int
    key: AttemptKey
    try_number: int
    deployment_id: str
    incarnation: int
    api_url: str
    """Where the worker finds the worker API, as seen from where it runs."""
    dag_file: str
    bundle: str
    """Digest of the bundle."""
    source: str = "bundle"
    """Where the DAG files come from: "bundle" | "image" | "volume"."""
    dags_folder: str = ""
    """For image and volume: the folder inside the container."""
    queue: str = "default"
    pool: str = "default_pool"
    priority: int = 0
    owner: str = ""
    """The task's, as its author wrote it: one name, or several separated by commas."""
    tags: tuple[str, ...] = ()
    """The DAG's."""
    executor_config: dict[str, Any] = {}
    dag_executor_config: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    execution_timeout_seconds: float | None = None
    avoid_nodes: tuple[str, ...] = ()
    """Nodes on which infrastructure failed this task's earlier attempts, the latest first."""
    oom_kills: int = 0
    """How often this task was killed for memory since it was last cleared."""


class WorkerStart(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is told at its start (args of the pod, a message to the zygote): enough to claim."""

    attempt_id: int
    key: AttemptKey
    api_url: str
    deployment_id: str
    protocol: int = 1


class Layered(msgspec.Struct, frozen=True, kw_only=True):
    """A field that some layer tried to set although identity (or a policy) owns it."""

    path: str
    layer: str
    wanted: Any = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What will be created, fixed before the create call. `body` is posted byte for byte, also after a crash."""

    attempt_id: int
    key: AttemptKey
    namespace: str = ""
    name: str = ""
    """The pod's name (or the local process's label); unique per attempt within the deployment."""
    cluster: str = ""
    priority: int = 0
    """Of what waits in the executor, the highest leaves first."""
    again: bool = False
    """An earlier create of it may have been sent, by whomever: only the API server knows whether its pod exists."""
    body: bytes = b""
    provenance: dict[str, str] = {}
    """JSON path of a field -> the layer that set it."""
    overruled: tuple[Layered, ...] = ()
    template_rev: str = ""


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that may be alive on an executor, as the ledger knows it: for stop and adopt."""

    attempt_id: int
    key: AttemptKey
    namespace: str = ""
    name: str = ""
    cluster: str = ""
    priority: int = 0
    uid: str = ""
    """The pod's uid or the process's identity; "" while no acknowledgement has come."""
    body: bytes = b""
    """The intent's bytes, for a re-launch whose first answer was lost; empty where not asked for."""
