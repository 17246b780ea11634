"""Real processes of one deployment on the tests' database: loops of their own, told by what role they play.

`python -m tests.integration.deployment_part ROLE FOLDER [WORD…]` plays a role until its stdin is closed. What it does
to the outside world it appends to FOLDER, so that a test judges by that and not only by our own tables.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from execplane.contract.states import AttemptState
from execplane.executors.task_policy import FailurePolicy

ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 1.5


# The test's side


def database_url() -> str:
    """The tests' database, for a process of its own."""
    from django.db import connection

    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    user = quote(settings["USER"]) + (f":{quote(settings['PASSWORD'])}" if settings["PASSWORD"] else "")
    return f"postgresql://{user}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"


@contextmanager
def process(role: str, folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in this role, ended by the end of its stdin and, if need be, by SIGKILL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECPLANE_")}
    environment.update(
        EXECPLANE_HOME=str(folder / "home"),
        EXECPLANE_DATABASE_URL=database_url(),
        DJANGO_SETTINGS_MODULE="execplane.settings",
        PYTHONUNBUFFERED="1",
    )
    with (folder / f"{role}.log").open("ab") as log:
        command = [sys.executable, "-m", __name__, role, str(folder), *words]
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def logs(folder: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.log")))


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """What the processes appended so far."""
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# The process's side


def append(folder: Path, where: str, /, **facts: Any) -> None:
    with (folder / where).open("ab", buffering=0) as file:
        file.write(json.dumps({"pid": os.getpid(), **facts}).encode() + b"\n")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FileExecutor:
    """Its world is a file: a launch is a line with name and bytes. It finds what an earlier process launched."""

    name = "local"
    witness = "launches"
    """The file in which a launch stands that was begun."""

    def __init__(self, folder: Path, clock: Any) -> None:
        self.folder = folder
        self.clock = clock
        self.report: Callable[[Sequence[Any]], None] = lambda facts: None

    def start(self, report: Callable[[Sequence[Any]], None]) -> None:
        self.report = report

    def slots(self) -> int | None:
        return None

    def build(self, workload: Any) -> Any:
        from execplane.contract.workload import Intent

        # Never the same twice: what is launched after a crash must be what was committed before it.
        body = secrets.token_bytes(16)
        return Intent(attempt_id=workload.attempt_id, key=workload.key, name=f"x-{workload.attempt_id}", body=body)

    def launch(self, intents: Sequence[Any]) -> None:
        from execplane.contract.observations import Acknowledged

        for intent in intents:
            append(self.folder, "launches", name=intent.name, body=sha256(intent.body).hexdigest())
        now = self.clock.now()
        self.report([Acknowledged(attempt_id=one.attempt_id, uid=f"u-{one.name}", at=now) for one in intents])

    def adopt(self, handles: Sequence[Any]) -> None:
        from execplane.contract.observations import Acknowledged, Diagnosis, LaunchRefused

        known = {line["name"] for line in lines(self.folder, self.witness)}
        never = Diagnosis(category="never_launched", sentence="It was never launched.", infrastructure=True)
        now = self.clock.now()
        for one in handles:
            if one.name in known:
                self.report([Acknowledged(attempt_id=one.attempt_id, uid=f"u-{one.name}", at=now, adopted=True)])
            else:
                self.report([LaunchRefused(attempt_id=one.attempt_id, diagnosis=never, retry=True, at=now)])

    def stop(self, handles: Sequence[Any], *, grace_seconds: float) -> None:
        """Nothing runs."""

    def clean(self, handles: Sequence[Any], *, outcome: AttemptState) -> None:
        from execplane.contract.observations import Cleaned

        self.report([Cleaned(attempt_id=one.attempt_id, at=self.clock.now()) for one in handles])

    def check(self) -> str:
        return ""

    def close(self) -> None:
        self.report = lambda facts: None


class InstantExecutor(FileExecutor):
    """Each launch is a worker that claims, succeeds and reports at once."""

    witness = "fence"

    def launch(self, intents: Sequence[Any]) -> None:
        from execplane.contract.messages import End
        from execplane.executors.driver import ends
        from execplane.store.transitions import launching

        for intent in intents:
            append(self.folder, "launches", name=intent.name, key=str(intent.key))
            pk, nonce, now = intent.attempt_id, f"n-{os.getpid()}-{intent.name}", self.clock.now()
            uid = f"u-{intent.name}"
            passed = launching.pass_fence(pk, uid=uid, nonce=nonce, hostname="h", worker_version="1", now=now)
            append(self.folder, "fence", name=intent.name, key=str(intent.key), code=passed.code)
            if passed.code == "running":
                end = End(nonce=nonce, outcome="success", ended_at=now)
                ends.end_reported(pk, end, (), now=now, failures=FailurePolicy(), actor="worker")


def play_driver(folder: Path, crash: str = "") -> None:
    """A driver under a short lease; `crash` names the point at which it is killed without a warning."""
    from execplane.contract.clock import SystemClock
    from execplane.store.transitions import launching, observing

    executor = FileExecutor(folder, SystemClock())

    def then_die(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            real(*args, **kwargs)
            append(folder, "deaths", at=crash)
            die()

        return call

    if crash == "after the claim":
        from execplane.executors.driver import claims

        claims.claim = then_die(claims.claim)
    elif crash == "after the intent":
        launching.commit_intents = then_die(launching.commit_intents)
    elif crash == "in the midst of launching":
        real = executor.launch
        executor.launch = then_die(lambda intents: real(intents[: len(intents) // 2]))  # type: ignore[method-assign]
    elif crash == "after the launch":
        executor.launch = then_die(executor.launch)  # type: ignore[method-assign]
    elif crash == "after the acknowledgement":
        observing.acknowledge = then_die(observing.acknowledge)
    run_loops([driver(executor)])


def driver(executor: FileExecutor) -> Any:
    from execplane.executors.driver.loop import DriverLoop, DriverOptions
    from execplane.executors.driver.workloads import Deployed

    deployed = Deployed(deployment_id="d", incarnation=1, api_url="http://x")
    owner = f"d{os.getpid()}"
    loop = DriverLoop(lambda: executor, deployed, DriverOptions(), executor.clock, owner=owner, wake=lambda: None)
    loop.poll_seconds = 0.2
    return loop


def play_deployment(folder: Path) -> None:
    """A scheduler and a leased driver whose workers end at once."""
    from execplane.contract.clock import SystemClock
    from execplane.scheduler.calendar import Calendar
    from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions

    clock = SystemClock()
    scheduler = SchedulerLoop(SchedulerOptions(default_executor="local"), Calendar(), clock, f"s{os.getpid()}")
    scheduler.poll_seconds = 0.2
    # Its workers run within the driver's tick, so that one tick takes longer than any real one.
    run_loops([scheduler, driver(InstantExecutor(folder, clock))], lease_seconds=10.0)


def play_holder(folder: Path) -> None:
    """A leased loop that acts all the time, and never without asking whether it holds the lease."""
    from execplane.contract.clock import SystemClock
    from execplane.contract.loops import IDLE, Next
    from execplane.loops.leases import LeaseKeeper
    from execplane.loops.supervisor import Runner
    from execplane.loops.wake import WakeBus

    clock = SystemClock()
    lease = LeaseKeeper(name="acting", holder=f"h{os.getpid()}", clock=clock, seconds=LEASE_SECONDS)

    class Acting:
        name = "acting"
        topics: frozenset[str] = frozenset()
        leased = True
        poll_seconds = 0.05

        def tick(self, now: Any) -> Next:
            checked = clock.monotonic()
            if lease.held():
                append(folder, "acts", token=lease.token, checked=checked)
            return IDLE

        def close(self) -> None:
            append(folder, "closes", token=lease.token)

    start_and_wait([Runner(loop=Acting(), clock=clock, bus=WakeBus(), lease=lease)])


def play_listener(folder: Path) -> None:
    """A process on the wake bus that notes what it hears."""
    bus = connected_bus(folder)
    bus.subscribe(lambda topic: append(folder, "heard", topic=topic))
    append(folder, "ready")
    sys.stdin.read()


def play_publisher(folder: Path, *topics: str) -> None:
    """Commits one transaction that nudges, and then waits."""
    from execplane.store.database import nudge, write

    connected_bus(folder)
    with write():
        nudge(*topics)
    append(folder, "published")
    sys.stdin.read()


def connected_bus(folder: Path) -> Any:
    from execplane.compose import Deployment
    from execplane.config import current

    return Deployment(current()).bus


def play_storm(folder: Path, seconds: str, number: str) -> None:
    """Claims, heartbeats and ends as fast as the database takes them; every error is noted."""
    from execplane.contract.clock import SystemClock
    from execplane.contract.observations import Diagnosis, LaunchRefused
    from execplane.executors.driver import ends
    from execplane.store.database import write
    from execplane.store.models import Attempt
    from execplane.store.transitions import launching, observing

    clock = SystemClock()
    until = clock.monotonic() + float(seconds)
    mine = list(Attempt.objects.filter(pk__gt=0, state="running").values_list("pk", flat=True))
    refusal = Diagnosis(category="launch_error", sentence="It was refused.")
    writes = claimed = 0
    try:
        while clock.monotonic() < until:
            now = clock.now()
            observing.beat([(pk, f"n{pk}", writes, now) for pk in mine])
            queued = list(Attempt.objects.filter(state="queued").order_by("pk").values_list("pk", flat=True)[:3])
            with write():
                got = launching.claim(queued, owner=f"d{number}", now=now)
            for pk in got:
                claimed += 1
                append(folder, "claims", attempt=pk)
                fact = LaunchRefused(attempt_id=pk, diagnosis=refusal, retry=False, at=now)
                ends.end_refused(fact, now=now, failures=FailurePolicy(infra_retries=0), actor="driver")
            writes += 1
    except Exception as error:
        append(folder, "errors", error=f"{type(error).__name__}: {error}")
        raise
    append(folder, "storms", writes=writes, claimed=claimed)


def run_loops(loops: Sequence[Any], lease_seconds: float = LEASE_SECONDS) -> None:
    from execplane.contract.clock import SystemClock
    from execplane.loops.leases import LeaseKeeper
    from execplane.loops.supervisor import Runner
    from execplane.loops.wake import WakeBus
    from execplane.store.database import set_publisher

    clock, bus = SystemClock(), WakeBus()
    set_publisher(bus.publish, bus.origin)
    runners = []
    for loop in loops:
        lease = LeaseKeeper(name=loop.name, holder=f"p{os.getpid()}", clock=clock, seconds=lease_seconds)
        if loop.leased:
            loop.may_act = lease.held
        runners.append(Runner(loop=loop, clock=clock, bus=bus, lease=lease if loop.leased else None))
    start_and_wait(runners)


def start_and_wait(runners: Sequence[Any]) -> None:
    from execplane.loops.supervisor import Supervisor

    supervisor = Supervisor(runners)
    supervisor.start()
    sys.stdin.read()
    supervisor.stop()
    assert threading.active_count() < 20


ROLES: dict[str, Callable[..., None]] = {
    "driver": play_driver,
    "deployment": play_deployment,
    "holder": play_holder,
    "listener": play_listener,
    "publisher": play_publisher,
    "storm": play_storm,
}


def main(role: str, folder: str, *words: str) -> None:
    import logging

    from execplane.compose import setup

    logging.basicConfig(level=logging.INFO)
    setup()
    ROLES[role](Path(folder), *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
