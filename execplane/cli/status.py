"""`execplane status`: is everything there and does it move? Reads the database itself, so the web may be down."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from execplane.cli.output import Output, between, cell, duration, say, show_one, table
from execplane.contract.errors import ExecplaneError, Unavailable
from execplane.contract.keys import AttemptKey, TaskKey

if TYPE_CHECKING:
    from execplane.compose import Deployment
    from execplane.store.deadline_rows import DeadlineWord
    from execplane.store.queries.system import LeaseRow, LoopRow

LOOP_SILENCE = timedelta(seconds=40)
"""Loops report every ten seconds."""
OK = "ok"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part and whether it answers. `said` is "ok" or what is wrong; `needed` False: its silence is no problem."""

    name: str
    said: str
    where: str = ""

    @property
    def ok(self) -> bool:
        return self.said == OK


@dataclass(kw_only=True)
class Status:
    """Everything that `execplane status` shows."""

    parts: list[Part]
    now: datetime
    queues: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    loops: list[dict[str, Any]] = field(default_factory=list)
    leases: list[dict[str, Any]] = field(default_factory=list)
    last_create_at: datetime | None = None
    last_success_at: datetime | None = None
    import_errors: int = 0
    held_back: list[str] = field(default_factory=list)
    """What operators hold, and where waves stand: deliberate, and so no problems."""
    problems: list[str] = field(default_factory=list)


def run_status(timeout_seconds: float, output: Output) -> int:
    """Print it; gives the exit code: 0 healthy, 1 something is wrong, 4 the database does not answer."""
    from execplane.compose import Deployment, setup

    status = collect(Deployment(setup()), timeout_seconds)
    if output is Output.TABLE:
        _print(status)
    else:
        show_one(_fields(status), output)
    if not next(part for part in status.parts if part.name == "database").ok:
        return 4
    return 1 if status.problems else 0


def collect(deployment: Deployment, timeout_seconds: float) -> Status:
    """Ask every part, each within the timeout and all at once, then the ledger."""
    config = deployment.config
    checks: dict[str, tuple[str, Callable[[], str]]] = {
        "database": ("PostgreSQL" if _postgres(deployment) else "SQLite", _database),
        "web server": (config.web_url, lambda: _web(config.web_url, timeout_seconds)),
        "log store": ("", lambda: _logs(deployment)),
    }
    for name in config.pod_executors:
        checks |= _of_pods(deployment, name, timeout_seconds)
    asked = {name: (where, _in_thread(check)) for name, (where, check) in checks.items()}
    deadline = deployment.clock.monotonic() + timeout_seconds
    parts = []
    for name, (where, answer) in asked.items():
        left = max(0.0, deadline - deployment.clock.monotonic())
        parts.append(Part(name=name, said=_said(answer, left, timeout_seconds), where=where))
    status = Status(parts=parts, now=deployment.clock.now())
    if status.parts[0].ok:
        _read_ledger(deployment, status)
    status.problems = [f"The {part.name} has a problem: {part.said}" for part in parts if not part.ok] + status.problems
    return status


def _of_pods(deployment: Deployment, name: str, timeout_seconds: float) -> dict[str, tuple[str, Callable[[], str]]]:
    """What an executor that makes pods depends on."""
    kubernetes = deployment.config.kubernetes_of(name)
    of = f" of {name}" if name in deployment.config.clusters else ""
    context = kubernetes.context or str(kubernetes.kubeconfig or "")
    checks = {f"API server{of}": (context, lambda: _api_server(deployment, name, timeout_seconds))}
    templates = [kubernetes.pod_template_file, *(rule.pod_template_file for rule in kubernetes.rules)]
    for number, template in enumerate(dict.fromkeys(str(one) for one in templates if one), start=1):
        part = f"pod template{f' {number}' if number > 1 else ''}{of}"
        checks[part] = (template, partial(_pod_template, template))
    return checks


def _in_thread(check: Callable[[], str]) -> Future[str]:
    """Daemon threads: one that hangs in a connect must not keep the command from ending."""
    answer: Future[str] = Future()

    def ask() -> None:
        try:
            answer.set_result(check())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer


def _said(answer: Future[str], left: float, timeout_seconds: float) -> str:
    try:
        return answer.result(timeout=left)
    except TimeoutError:
        return f"No answer within {timeout_seconds:g} s."
    except ExecplaneError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"


def _postgres(deployment: Deployment) -> bool:
    return deployment.config.database_url.get_secret_value().startswith("postgres")


def _database() -> str:
    from django.db import connection

    from execplane.store.database import reachable
    from execplane.store.queries.cli_status import missing_migrations

    try:
        problem = reachable()
        if problem:
            return problem
        missing = missing_migrations()
        return f"{missing} migrations are missing. `execplane migrate` makes them." if missing else OK
    finally:
        connection.close()


def _web(url: str, timeout_seconds: float) -> str:
    # The configured address, which only the operator sets.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/healthz", timeout=timeout_seconds):
            return OK
    except urllib.error.HTTPError as error:
        error.close()
        return f"It answers with status {error.code}."
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"It does not answer: {getattr(reason, 'strerror', None) or reason}."


def _logs(deployment: Deployment) -> str:
    """Asks for a log that cannot exist: only a store that answers can say so."""
    reader: Any = deployment.logs
    reader.has(AttemptKey(task=TaskKey(dag_id="-", run_id="-", task_id="-"), attempt_no=1))
    return OK


def _api_server(deployment: Deployment, name: str, timeout_seconds: float) -> str:
    from execplane import room_options
    from execplane.kube.client import Client

    client = Client(room_options.kube_options(deployment.config, name), deployment.clock)
    try:
        client.request("GET", "/readyz", timeout_seconds=timeout_seconds)
    finally:
        client.close()
    return OK


def _pod_template(file: str) -> str:
    from execplane.executors.kubernetes_template import Templates

    Templates(file).default()
    return OK


def _read_ledger(deployment: Deployment, status: Status) -> None:
    from django.db import DatabaseError

    from execplane.executors.driver.launch_waves import wave_of
    from execplane.store import deadline_rows, drift_rows, launch_hold_rows, launch_wave_rows
    from execplane.store.queries import cli_status, system

    try:
        loops, leases = system.loops(), system.leases()
        words = deadline_rows.words()
        held = [drift_rows.hold_reason(executor) for executor in drift_rows.holding()]
        now = status.now
        status.held_back = [f"{hold.sentence} {hold.ends}" for hold in launch_hold_rows.active(now)]
        status.held_back += [f"{row.executor}: {wave_of(row).sentence}" for row in launch_wave_rows.waves()]
        status.queues = [
            {
                "executor": queue.executor,
                "states": queue.states,
                "oldest_queued_seconds": between(queue.oldest_queued_at, now),
            }
            for queue in cli_status.queues(deployment.config.all_executors)
        ]
        status.runs = cli_status.active_runs()
        status.last_create_at = cli_status.last_create()
        status.last_success_at = cli_status.last_success()
        status.import_errors = system.count_import_errors()
    except DatabaseError as error:
        raise Unavailable(f"The database does not answer: {str(error).splitlines()[0]}.") from error
    status.loops = [_loop_fields(loop, now) for loop in loops]
    status.leases = [_lease_fields(lease, now) for lease in leases.values()]
    status.problems += _loop_problems(deployment, loops, now) + _queue_problems(deployment, status.queues)
    status.problems += [_deadline_problem(word) for word in words]
    status.problems += held


def _loop_fields(loop: LoopRow, now: datetime) -> dict[str, Any]:
    return {
        "name": loop.name,
        "process": loop.process,
        "version": loop.version,
        "state": loop.state if now - loop.seen_at < LOOP_SILENCE else "silent",
        "last_tick_at": loop.last_tick_at,
        "last_tick_seconds": loop.last_tick_seconds,
        "ticks": loop.ticks,
        "errors": loop.errors,
        "last_error": loop.last_error,
        "seen_at": loop.seen_at,
    }


def _lease_fields(lease: LeaseRow, now: datetime) -> dict[str, Any]:
    return {
        "name": lease.name,
        "holder": lease.holder,
        "token": lease.token,
        "expires_at": lease.expires_at,
        "held": lease.expires_at > now,
    }


def _loop_problems(deployment: Deployment, loops: tuple[LoopRow, ...], now: datetime) -> list[str]:
    """A loop that no process runs, and one that fails now. Processes that left are no problem while others go on."""
    problems = []
    alive = [loop for loop in loops if now - loop.seen_at < LOOP_SILENCE and loop.state != "stopped"]
    needed = ["scheduler", "parsing", *(f"driver:{name}" for name in deployment.config.all_executors)]
    running = {loop.name for loop in alive}
    for name in needed:
        if name not in running:
            problems.append(f"No process runs the loop {name}.")
    for loop in alive:
        if loop.state == "failing":
            problems.append(f"The loop {loop.name} of {loop.process} fails: {loop.last_error}")
    return problems


def _queue_problems(deployment: Deployment, queues: list[dict[str, Any]]) -> list[str]:
    """Unfinished attempts of an executor that was taken out of the settings: nobody launches, stops or ends them."""
    return [
        f"{_counted(queue['states'])} of the executor {queue['executor']}, which this deployment does not run: put "
        "it back with EXECPLANE_EXECUTORS, or end them with `execplane tasks mark` (with `execplane tasks clear "
        "--latest` to run them again, once the DAG file names another executor)."
        for queue in queues
        if queue["states"] and queue["executor"] not in deployment.config.all_executors
    ]


def _deadline_problem(word: DeadlineWord) -> str:
    how = f" `execplane deadlines confirm {word.executor}` does." if word.asks else ""
    return f"Deadlines of the {word.executor} executor: {word.sentence}{how}"


def _counted(states: dict[str, int]) -> str:
    """ "3 attempts (1 queued, 2 running)"."""
    n = sum(states.values())
    return f"{n} attempt{'' if n == 1 else 's'} ({', '.join(f'{states[s]} {s}' for s in _ALIVE if s in states)})"


def _fields(status: Status) -> dict[str, Any]:
    return {
        "healthy": not status.problems,
        "problems": status.problems,
        "held_back": status.held_back,
        "parts": [{"name": p.name, "ok": p.ok, "said": p.said, "where": p.where} for p in status.parts],
        "queues": status.queues,
        "active_runs": status.runs,
        "last_create_at": status.last_create_at,
        "last_success_at": status.last_success_at,
        "import_errors": status.import_errors,
        "loops": status.loops,
        "leases": status.leases,
    }


def _print(status: Status) -> None:
    say(table(["PART", "STATUS", "WHERE"], [[part.name, part.said, part.where] for part in status.parts]))
    if status.parts[0].ok:
        _print_ledger(status)
    say("")
    for sentence in status.held_back:
        say(cell(sentence))
    for problem in status.problems:
        say(f"! {cell(problem)}")
    broken = _import_errors(status.import_errors)
    if not status.problems:
        say(f"All is well, but {broken}" if broken else "All is well.")
    elif broken:
        say(broken)


def _import_errors(count: int) -> str:
    """They are their authors' to mend, and no problem of the deployment: the exit code stays."""
    if not count:
        return ""
    files = "DAG file does not" if count == 1 else "DAG files do not"
    return f"{count} {files} import: `execplane dags import-errors` lists them."


def _print_ledger(status: Status) -> None:
    now = status.now
    say("")
    rows = []
    for queue in status.queues:
        counts = [queue["states"].get(state, 0) for state in _ALIVE]
        rows.append([queue["executor"], duration(queue["oldest_queued_seconds"]) or "-", *counts])
    say(table(["EXECUTOR", "OLDEST QUEUED", *(state.upper() for state in _ALIVE)], rows))
    say("")
    say(f"runs queued {status.runs.get('queued', 0)}, running {status.runs.get('running', 0)}")
    say(f"last create {_ago(status.last_create_at, now)}, last success {_ago(status.last_success_at, now)}")
    if status.loops:
        held = {lease["name"]: lease["holder"] for lease in status.leases if lease["held"]}
        say("")
        rows = [
            [
                loop["name"],
                loop["process"],
                loop["state"],
                _ago(loop["last_tick_at"], now),
                f"{loop['last_tick_seconds'] * 1000:.0f} ms",
                loop["errors"],
                "yes" if held.get(loop["name"]) == loop["process"] else "",
            ]
            for loop in status.loops
        ]
        say(table(["LOOP", "PROCESS", "STATE", "LAST TICK", "TOOK", "ERRORS", "LEASE"], rows))


_ALIVE = ("queued", "claimed", "launched", "running", "stopping")


def _ago(moment: datetime | None, now: datetime) -> str:
    return f"{duration(max(0.0, (now - moment).total_seconds()))} ago" if moment is not None else "never"
