"""Pure: what a worker process's exit status says."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import msgspec

from execplane.contract.observations import Diagnosis
from execplane.contract.process import ExitCode

_MOST_PIDS = 5
_EXITS: dict[int, tuple[str, str, str, bool]] = {
    ExitCode.SUCCESS: ("completed", "The worker process ended after its report.", "", False),
    ExitCode.FAILED: (
        "completed",
        "The worker process ended after reporting that the task did not succeed.",
        "",
        False,
    ),
    ExitCode.REFUSED: (
        "refused",
        "The worker process was refused by the worker API and ran nothing more.",
        "Another process holds the attempt, or it had ended already.",
        True,
    ),
    ExitCode.UNREPORTED: (
        "unreported",
        "The worker process ran its task but could not deliver the result: the API did not answer.",
        "Check that the web server runs; the worker's own output has the result.",
        True,
    ),
    ExitCode.NO_CLAIM: (
        "no_claim",
        "The worker process gave up before it ran anything: the API did not answer its claim.",
        "Check that the web server runs and can be reached by local workers.",
        True,
    ),
}


def diagnose(status: int, *, killed_by_us: bool = False, out_of_memory: bool = False) -> Diagnosis:
    """From a status as waitpid gives it. `out_of_memory`: the kernel's OOM killer was at work meanwhile.

    Categories: completed, refused, unreported, no_claim, exit, signal, oom_killed, stopped.
    """
    if os.WIFSIGNALED(status):
        return _signalled(os.WTERMSIG(status), killed_by_us=killed_by_us, out_of_memory=out_of_memory)
    code = os.waitstatus_to_exitcode(status)
    if code in _EXITS:
        category, sentence, hint, infrastructure = _EXITS[code]
        return Diagnosis(category=category, sentence=sentence, hint=hint, exit_code=code, infrastructure=infrastructure)
    return Diagnosis(
        category="exit",
        sentence=f"The worker process ended with exit code {code} and without a report.",
        hint="Its own output (where execplane was started) may say why.",
        exit_code=code,
        infrastructure=True,
    )


def ended_by_itself(status: int) -> bool:
    """It came to its own end, where it has killed all that its task left running."""
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) in _EXITS


def vanished() -> Diagnosis:
    """It is dead, and whoever could have seen its status is dead, too."""
    return Diagnosis(
        category="vanished",
        sentence="The worker process is gone, and nobody saw how it ended.",
        hint="The machine or execplane itself was restarted meanwhile.",
        infrastructure=True,
    )


def with_survivors(diagnosis: Diagnosis, pids: Sequence[int]) -> Diagnosis:
    """Whoever reads why it ended must know what may run beside the next attempt."""
    named = ", ".join(map(str, pids[:_MOST_PIDS])) + (", …" if len(pids) > _MOST_PIDS else "")
    sentence = f"{diagnosis.sentence} Of its processes there live, and could not be killed: {named}."
    return msgspec.structs.replace(diagnosis, sentence=sentence)


def unseen_exit() -> Diagnosis:
    """We saw it die, but as it was not our child its status is unknown."""
    return Diagnosis(
        category="ended_unseen",
        sentence="The worker process ended; its exit status is unknown, because it was started by an earlier executor.",
        infrastructure=True,
    )


def launch_failed(why: str) -> Diagnosis:
    return Diagnosis(
        category="launch_failed",
        sentence=f"The worker process could not be started: {why}.",
        hint="Check this machine's memory and limits on processes.",
        infrastructure=True,
    )


def never_started() -> Diagnosis:
    return Diagnosis(
        category="launch_unknown",
        sentence="No worker process of this launch is known here.",
        infrastructure=True,
    )


def _signalled(number: int, *, killed_by_us: bool, out_of_memory: bool) -> Diagnosis:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    exit_code = 128 + number
    if killed_by_us:
        return Diagnosis(
            category="stopped",
            sentence=f"The worker process was told to stop and ended by {name}.",
            exit_code=exit_code,
        )
    if number == signal.SIGKILL and out_of_memory:
        return Diagnosis(
            category="oom_killed",
            sentence="The worker process was killed by the kernel: the machine ran out of memory.",
            hint="Run fewer tasks at once (slots), or give the machine more memory.",
            exit_code=exit_code,
            infrastructure=True,
        )
    hint = "Somebody or the kernel killed it: `dmesg` may tell." if number == signal.SIGKILL else ""
    return Diagnosis(
        category="signal",
        sentence=f"The worker process was killed by {name}.",
        hint=hint,
        exit_code=exit_code,
        infrastructure=True,
    )
