"""What can be said about the local and the sequential executor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    slots: int = 32
    """Attempts alive at once, as Airflow's `parallelism`."""
    api_url: str = ""
    """Where local workers find the worker API (http://… or unix:/path); empty: where the workload says."""
    worker_options: str = "{}"
    """execplane.worker.options.WorkerOptions that differ from their defaults, as JSON: they go to the zygote. The
    executor knows nothing of the worker but this and its pipe."""
    work_dir: str = ""
    """The workers' folder, where their unsent log lines wait; cleaned after them. Empty: nothing to clean."""
    kill_margin_seconds: float = 5.0
    """From the end of the grace period to SIGKILL: time for the worker to report what it killed itself."""
    restart_first_seconds: float = 0.1
    restart_cap_seconds: float = 30.0
    environment: tuple[str, ...] = ()
    """Names of EXECPLANE_… variables that workers may see; the others (database, keys) they must not."""
