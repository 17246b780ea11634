"""Pure: how an attempt ended, from what its process left, how it died, and who told it to."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from execplane.contract.messages import ErrorInfo
from execplane.contract.process import LOST_CONTACT, OUT_OF_MEMORY, ExitCode
from execplane.worker.channel import Result

GOOD = frozenset({"success", "skipped", "reschedule"})


@dataclass(frozen=True, kw_only=True)
class Death:
    """What the supervisor knows once the task's process is reaped."""

    status: int
    """As waitpid gives it."""
    result: Result | None = None
    stopped: str | None = None
    """Somebody told it to stop: the reason."""
    killed: str = ""
    """Why the supervisor killed it: "" | "grace" | "timeout" | "import" | "lost" | "linger" | "fenced" (which is not
    to be concluded, as nothing is reported then)."""
    limit_seconds: float = 0.0
    """The time that was over, for `killed`."""
    out_of_memory: bool = False
    """The kernel's OOM killer was at work meanwhile."""
    memory_limit_bytes: int | None = None
    """The container's."""


def conclude(death: Death) -> Result:
    """The end to report. A result that was left whole counts, however its process died afterwards."""
    result = death.result
    if result is not None:
        if death.stopped is not None and result.outcome not in GOOD:
            return Result(outcome="terminated", reason=death.stopped, error=result.error, rendered=result.rendered)
        return result
    if death.killed == "lost":
        sentence = (
            f"The worker had no contact with the API for {death.limit_seconds:g} s and killed its task, because "
            "another attempt may start from now on."
        )
        return Result(outcome="terminated", reason=sentence, error=ErrorInfo(type=LOST_CONTACT, message=sentence))
    if death.stopped is not None:
        late = f"; it did not stop within {death.limit_seconds:g} s and was killed" if death.killed else ""
        return Result(outcome="terminated", reason=death.stopped + late)
    if death.killed == "timeout":
        sentence = (
            f"The task ran longer than its execution_timeout and did not react, so it was killed after {_s(death)}."
        )
        return Result(outcome="timeout", reason=sentence, error=ErrorInfo(type="Timeout", message=sentence))
    if death.killed == "import":
        return _failed("ImportTimeout", f"Importing the DAG file was not over after {_s(death)}, so it was killed.")
    return _crashed(death)


def exit_code(result: Result) -> ExitCode:
    return ExitCode.SUCCESS if result.outcome in GOOD else ExitCode.FAILED


def _s(death: Death) -> str:
    return f"{death.limit_seconds:g} s"


def _failed(kind: str, sentence: str) -> Result:
    return Result(outcome="failed", reason=sentence, error=ErrorInfo(type=kind, message=sentence))


def _crashed(death: Death) -> Result:
    if os.WIFSIGNALED(death.status):
        number = os.WTERMSIG(death.status)
        name = signal_name(number)
        if number == signal.SIGKILL and death.out_of_memory:
            limit = death.memory_limit_bytes
            most = f" (its container may use {limit >> 20} MiB)" if limit else ""
            sentence = f"The task's process was killed by the kernel (SIGKILL): it ran out of memory{most}."
            return _failed(OUT_OF_MEMORY, sentence)
        sentence = f"The task's process was killed by {name}"
        if number == signal.SIGKILL:
            sentence += ", not by execplane: mostly that is the kernel when memory runs out"
        return _failed(name, sentence + ".")
    code = os.waitstatus_to_exitcode(death.status)
    return _failed(
        "Exit",
        f"The task's process exited with code {code} in the middle of the task (os._exit, or a crash in C code).",
    )


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
