"""What a worker can be told about itself. What concerns the attempt comes with the claim instead."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path


def _default_work_dir() -> str:
    return os.path.join(tempfile.gettempdir(), "execplane")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Plain values, so that the zygote gets them as JSON. Tests scale the times down."""

    work_dir: str = field(default_factory=_default_work_dir)
    """Where log lines wait out an outage, and bundles are unpacked unless `bundles_dir` says another place."""
    bundles_dir: str = ""
    """Unpacked bundles by digest, shared by all workers here."""
    ignore_syntax: str = "glob"
    """Of .airflowignore, as the parser reads it: for the digest of an image's or a volume's DAG folder."""
    request_timeout_seconds: float = 30.0
    claim_patience_seconds: float = 900.0
    """How long the claim is asked for while the API does not answer."""
    end_patience_seconds: float = 3600.0
    """How long the result is offered while the API does not answer."""
    backoff_first_seconds: float = 0.1
    backoff_cap_seconds: float = 15.0
    log_first_flush_seconds: float = 1.0
    """From the first unsent line to its sending, at the start and while somebody watches."""
    log_flush_seconds: float = 10.0
    log_batch_bytes: int = 256 * 1024
    log_memory_bytes: int = 4 * 1024 * 1024
    """Unsent lines above this wait in a file."""
    log_line_bytes: int = 64 * 1024
    """Longer lines are cut into several."""
    log_copy: bool = False
    """Also print each record as a JSON line with its offset: in pods, the copy that survives a crash."""
    log_level: str = "INFO"
    termination_log: str = "/dev/termination-log"
    import_timeout_seconds: float = 300.0
    """From the fork to user code; a DAG file that hangs at import must not hang for ever."""
    timeout_margin_seconds: float = 10.0
    """How long after its execution_timeout a task that ignores it is killed."""
    exit_seconds: float = 10.0
    """How long the task's process may linger (threads, exit functions) once its result is known."""
    report_margin_seconds: float = 5.0
    """Kept back from the grace period (a fifth of it at most) to report the end in."""
    task_oom_score: int = 500
    """Added to the OOM score of the task's process, so that the kernel takes it before its supervisor."""

    @property
    def bundles_folder(self) -> Path:
        return Path(self.bundles_dir or Path(self.work_dir, "bundles"))
