"""Pure: what a worker process's exit status says."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import msgspec

from execplane.contract import categories
from execplane.contract.categories import MEANING, Category
from execplane.contract.observations import Diagnosis
from execplane.contract.process import ExitCode

_MOST_PIDS = 5
_EXITS: dict[int, tuple[Category, str]] = {
    ExitCode.SUCCESS: (Category.COMPLETED, "The worker process ended after its report."),
    ExitCode.FAILED: (
        Category.COMPLETED,
        "The worker process ended after reporting that the task did not succeed.",
    ),
    ExitCode.REFUSED: (
        Category.REFUSED,
        "The worker process was refused by the worker API and ran nothing more.",
    ),
    ExitCode.UNREPORTED: (
        Category.UNREPORTED,
        "The worker process ran its task but could not deliver the result: the API did not answer.",
    ),
    ExitCode.NO_CLAIM: (
        Category.NO_CLAIM,
        "The worker process gave up before it ran anything: the API did not answer its claim.",
    ),
}


def diagnose(status: int, *, killed_by_us: bool = False, out_of_memory: bool = False) -> Diagnosis:
    """From a status as waitpid gives it. `out_of_memory`: the kernel's OOM killer was at work meanwhile."""
    if os.WIFSIGNALED(status):
        return _signalled(os.WTERMSIG(status), killed_by_us=killed_by_us, out_of_memory=out_of_memory)
    code = os.waitstatus_to_exitcode(status)
    if code in _EXITS:
        category, sentence = _EXITS[code]
        return _diagnosis(category, sentence, exit_code=code)
    sentence = f"The worker process ended with exit code {code} and without a report."
    return _diagnosis(Category.EXIT, sentence, exit_code=code)


def _diagnosis(
    category: Category,
    sentence: str,
    *,
    hint: str = "",
    exit_code: int | None = None,
    infrastructure: bool | None = None,
) -> Diagnosis:
    """With the category's hint and blame, unless said otherwise."""
    return Diagnosis(
        category=category.value,
        sentence=sentence,
        hint=hint or MEANING[category].hint,
        exit_code=exit_code,
        infrastructure=categories.infrastructure(category) if infrastructure is None else infrastructure,
    )


def ended_by_itself(status: int) -> bool:
    """It came to its own end, where it has killed all that its task left running."""
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) in _EXITS


def vanished() -> Diagnosis:
    """It is dead, and whoever could have seen its status is dead, too."""
    return _diagnosis(Category.VANISHED, "The worker process is gone, and nobody saw how it ended.")


def with_survivors(diagnosis: Diagnosis, pids: Sequence[int]) -> Diagnosis:
    """Whoever reads why it ended must know what may run beside the next attempt."""
    named = ", ".join(map(str, pids[:_MOST_PIDS])) + (", …" if len(pids) > _MOST_PIDS else "")
    sentence = f"{diagnosis.sentence} Of its processes there live, and could not be killed: {named}."
    return msgspec.structs.replace(diagnosis, sentence=sentence)


def unseen_exit() -> Diagnosis:
    """We saw it die, but as it was not our child its status is unknown."""
    return _diagnosis(
        Category.ENDED_UNSEEN,
        "The worker process ended; its exit status is unknown, because it was started by an earlier executor.",
    )


def launch_failed(why: str) -> Diagnosis:
    return _diagnosis(Category.LAUNCH_FAILED, f"The worker process could not be started: {why}.")


def never_started() -> Diagnosis:
    return _diagnosis(Category.LAUNCH_UNKNOWN, "No worker process of this launch is known here.")


def _signalled(number: int, *, killed_by_us: bool, out_of_memory: bool) -> Diagnosis:
    """The worker itself was killed; its task runs in a process of its own, so the task did not do it."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    exit_code = 128 + number
    if killed_by_us:
        sentence = f"The worker process was told to stop and ended by {name}."
        return _diagnosis(Category.STOPPED, sentence, exit_code=exit_code)
    if number == signal.SIGKILL and out_of_memory:
        return _diagnosis(
            Category.OOM_KILLED,
            "The worker process was killed by the kernel: the machine ran out of memory.",
            hint="Run fewer tasks at once (slots), or give the machine more memory.",
            exit_code=exit_code,
            infrastructure=True,
        )
    return _diagnosis(
        Category.SIGNAL,
        f"The worker process was killed by {name}.",
        hint="Somebody or the kernel killed it: `dmesg` may tell." if number == signal.SIGKILL else "",
        exit_code=exit_code,
        infrastructure=True,
    )
