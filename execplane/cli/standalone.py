"""`execplane standalone`: everything in one process (and the zygote), on SQLite unless told otherwise."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from execplane.contract.errors import ConfigError

if TYPE_CHECKING:
    from execplane.compose import Deployment

log = logging.getLogger("execplane")


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[str]:
    """Gives the process id of the standalone before this one ("" for the first): it is dead, as the lock is ours.

    Raises ConfigError when another standalone serves this home, and names its process.
    """
    file = _lock_file(home)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise ConfigError(
            f"Another execplane standalone (process {file.read().strip() or 'unknown'}) serves {home}.",
            hint="Stop it first, or give this one a home of its own with EXECPLANE_HOME.",
        ) from None
    file.seek(0)
    before = file.read().strip()
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    try:
        yield before
    finally:
        file.close()


def _lock_file(home: Path) -> IO[str]:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o750)
        return (home / "standalone.lock").open("a+")
    except OSError as error:
        raise ConfigError(
            f"The folder {home} cannot be used as home: {error.strerror}.",
            hint="Make it writable, or set EXECPLANE_HOME to a folder that is.",
        ) from None


def migrate() -> None:
    """Bring the database to this version's tables; several processes at once wait for each other."""
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)


def free_leases_of(process_id: str) -> None:
    """A killed predecessor's leases need not expire: its lock on the home says that it is dead."""
    from execplane.store.lease_rows import free_of

    if process_id and process_id != str(os.getpid()):
        free_of(f"{socket.gethostname()}:{process_id}")


def make_admin(home: Path, password: str) -> tuple[str, str] | None:
    """The first start makes the user admin, with a random password where none is given: (name, password); None when
    there are users."""
    from django.contrib.auth import get_user_model

    model = get_user_model()
    if model.objects.exists():
        return None
    password = password or secrets.token_urlsafe(12)
    model.objects.create_superuser("admin", password=password)
    path = home / "secrets" / "admin_password"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(password)
    return "admin", password


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything starts, so that a taken port is a clear error. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except OSError as error:
        server.close()
        raise ConfigError(
            f"The address {host}:{port} cannot be listened on: {error.strerror}.",
            hint="Choose another with EXECPLANE_WEB__PORT, or stop what listens there.",
        ) from None
    server.set_inheritable(False)
    return server


def serve(
    deployment: Deployment,
    server: socket.socket,
    loops: list[str] | None,
    *,
    web: bool = True,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the loops (None: none of them) and the web server until SIGTERM or SIGINT. `ready` is called once all parts
    could be made: a newcomer is not told an address and a password that then do not work."""
    from execplane.loops.supervisor import Supervisor

    supervisor = Supervisor(deployment.runners(loops)) if loops is not None else None
    ready()
    stop = threading.Event()
    gc.collect()
    gc.freeze()
    if supervisor is not None:
        supervisor.start()
    try:
        if web:
            _run_web(deployment, server)
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            stop.wait()
    finally:
        if supervisor is not None:
            supervisor.stop()
        if deployment.bus.transport is not None:
            deployment.bus.transport.close()
        deployment.metrics.metrics.close()


def _run_web(deployment: Deployment, server: socket.socket) -> None:
    import uvicorn

    from execplane.asgi import Application

    application = Application(deployment)
    options = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        timeout_graceful_shutdown=5,
        server_header=False,
        proxy_headers=False,
    )
    running = uvicorn.Server(options)

    def leave(*_: object) -> None:
        running.should_exit = True

    # uvicorn sends itself the signal again once it has shut down, and a SIGTERM with nobody to take it ends the
    # process there and then: its loops would neither be closed nor give back their leases.
    signal.signal(signal.SIGTERM, leave)
    try:
        running.run(sockets=[server])
    finally:
        application.close()


def announce(url: str, admin: tuple[str, str] | None, home: Path) -> None:
    """What a newcomer needs to know, on standard output."""
    lines = [f"execplane serves {url}"]
    if admin is not None:
        lines.append(
            f"Log in as {admin[0]} with the password {admin[1]} (kept in {home / 'secrets' / 'admin_password'})"
        )
    lines.append("Stop it with Ctrl-C; running tasks go on and are adopted by the next start.")
    print("\n".join(lines), file=sys.stdout, flush=True)  # noqa: T201 - the command's own output
