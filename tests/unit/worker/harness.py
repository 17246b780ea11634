"""Runs one worker as a process of its own, with user code chosen by name: `python -m tests.unit.worker.harness`.

Stands in for the sdk, so that these tests judge the worker alone.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from execplane.contract.clock import SystemClock
from execplane.contract.messages import SecretValue, XComPull, XComValue
from execplane.contract.process import process_uid
from execplane.contract.workload import WorkerStart
from execplane.worker.channel import Rendered, Result, Started
from execplane.worker.child import Work, on_sigterm
from execplane.worker.client import Client
from execplane.worker.options import WorkerOptions
from execplane.worker.run import Identity, run_attempt
from execplane.worker.services import ApiServices

USER_CODE: dict[str, Callable[[Work], Result]] = {}


class Settings(msgspec.Struct, kw_only=True):
    """What the test tells this process."""

    start: WorkerStart
    options: WorkerOptions
    user_code: str
    argument: str = ""
    uid: str = ""
    in_pod: bool = False


def user_code(function: Callable[[Work], Result]) -> Callable[[Work], Result]:
    USER_CODE[function.__name__] = function
    return function


def _services(work: Work) -> ApiServices:
    client = Client(
        work.start.api_url,
        work.end.token.read,
        clock=work.clock,
        wait=threading.Event().wait,
        backoff_first_seconds=0.02,
    )
    return ApiServices(client, work.start, work.claim, work.nonce, patience_seconds=60)


def _started(work: Work, timeout_seconds: float | None = None) -> None:
    work.end.send(Started(at=work.clock.now(), timeout_seconds=timeout_seconds))


@user_code
def nothing(work: Work) -> Result:
    _started(work)
    return Result(outcome="success")


@user_code
def touch(work: Work) -> Result:
    """Leaves a witness that user code ran."""
    with open(ARGUMENT, "a") as file:
        file.write("ran\n")
    return Result(outcome="success")


@user_code
def talk(work: Work) -> Result:
    _started(work)
    print("printed", "twice\non two lines")
    logging.getLogger("my.logger").warning("logged %s", "well")
    sys.stderr.write("to stderr\n")
    subprocess.run(["sh", "-c", "echo from a subprocess; echo and its stderr >&2"], check=True)
    print("no newline at the end", end="")
    return Result(outcome="success")


@user_code
def ticks(work: Work) -> Result:
    """A line every 50 ms until the file named by the argument exists."""
    _started(work)
    work.end.send(Rendered(fields={"bash_command": "echo"}))
    number = 0
    while not os.path.exists(ARGUMENT):
        print("tick", number)
        number += 1
        time.sleep(0.05)
    value = XComValue(task_id=work.start.key.task.task_id, key="return_value", value=msgspec.Raw(b"%d" % number))
    return Result(outcome="success", xcoms=(value,))


@user_code
def flood(work: Work) -> Result:
    _started(work)
    for number in range(int(ARGUMENT)):
        print(f"{number:08d} {'x' * 91}")
    return Result(outcome="success")


@user_code
def raw_flood(work: Work) -> Result:
    _started(work)
    subprocess.run(["sh", "-c", f"seq 1 {ARGUMENT}"], check=True)
    return Result(outcome="success")


@user_code
def hang(work: Work) -> Result:
    """Deaf to SIGTERM, and with a child of its own in another session."""
    on_sigterm(lambda number, frame: None)
    _started(work, float(ARGUMENT) if ARGUMENT else None)
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as sleeper:
        print("sleeper", sleeper.pid)
        while True:
            time.sleep(1)


@user_code
def hang_at_import(work: Work) -> Result:
    while True:
        time.sleep(1)


class _Stopped(BaseException):
    pass


@user_code
def polite(work: Work) -> Result:
    """Stops on SIGTERM and cleans up, as the sdk does with on_kill."""

    def stop(number: int, frame: Any) -> None:
        raise _Stopped

    on_sigterm(stop)
    _started(work)
    print("waiting")
    try:
        while True:
            time.sleep(1)
    except _Stopped:
        print("on_kill was called")
        return Result(outcome="terminated", reason="by signal")


@user_code
def kill_self(work: Work) -> Result:
    _started(work)
    print("last words")
    os.kill(os.getpid(), int(ARGUMENT))
    return Result(outcome="success")


@user_code
def exit_hard(work: Work) -> Result:
    print("last words")
    os._exit(7)


@user_code
def leave_behind(work: Work) -> Result:
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    sleeper.returncode = 0  # the Popen object must not complain that it is still alive
    print("sleeper", sleeper.pid)
    return Result(outcome="success")


@user_code
def swarm(work: Work) -> Result:
    """Sixteen deaf processes, each in a session of its own."""
    _started(work)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
    print("process", os.getpid())
    while True:
        time.sleep(1)


@user_code
def oom_score(work: Work) -> Result:
    with open("/proc/self/oom_score_adj") as mine, open(f"/proc/{os.getppid()}/oom_score_adj") as supervisors:
        print(int(mine.read()) - int(supervisors.read()))
    return Result(outcome="success")


@user_code
def use_services(work: Work) -> Result:
    services = _services(work)
    task = work.start.key.task.task_id
    big = b'"' + b"x" * int(ARGUMENT) + b'"'
    services.xcom_push((XComValue(task_id=task, key="big", value=msgspec.Raw(big)),))
    pulled = services.xcom_pull(XComPull(task_ids=(task,), key="big"))
    assert bytes(pulled.values[0].value) == big
    variable = services.variable_get("a key/with: odd characters")
    assert variable is not None
    print("variable", variable.value, services.variable_get("absent"))
    returned = XComValue(task_id=task, key="return_value", value=msgspec.Raw(big))
    return Result(outcome="success", xcoms=services.offload((returned,)))


@user_code
def everything(work: Work) -> Result:
    """Every call of the protocol once: what the recorded transcript holds."""
    _started(work)
    work.end.send(Rendered(fields={"bash_command": "echo 1"}))
    services = _services(work)
    task = work.start.key.task.task_id
    small = XComValue(task_id=task, key="small", value=msgspec.Raw(b"1"))
    large = XComValue(task_id=task, key="large", value=msgspec.Raw(b'"' + b"x" * 200 + b'"'))
    services.xcom_push((small, large))
    services.xcom_pull(XComPull(task_ids=(task,), key="large"))
    services.variable_set("name", SecretValue(value="v"))
    assert services.variable_get("name") == SecretValue(value="v")
    services.variable_delete("name")
    assert services.connection_get("absent") is None
    print("a line")
    while not os.path.exists(ARGUMENT):
        time.sleep(0.01)
    return Result(outcome="success", xcoms=(small,), map_length=None)


@user_code
def big_result(work: Work) -> Result:
    raise ValueError("x" * 100_000)


@user_code
def show_files(work: Work) -> Result:
    for path in sorted(work.folder.rglob("*")):
        print(path.relative_to(work.folder), oct(path.stat().st_mode & 0o777))
    print("token", work.end.token.read())
    return Result(outcome="success")


ARGUMENT = ""


def main() -> int:
    global ARGUMENT
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    ARGUMENT = settings.argument
    return run_attempt(
        settings.start,
        launch_token=lambda: "launch-token",
        identity=Identity(uid=settings.uid or process_uid(os.getpid()), hostname="test-host", in_pod=settings.in_pod),
        options=settings.options,
        clock=SystemClock(),
        user_code=USER_CODE[settings.user_code],
    )


if __name__ == "__main__":
    sys.exit(main())
