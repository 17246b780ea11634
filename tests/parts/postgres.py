"""One PostgreSQL for a test run: everything off that makes it durable, because nothing in it shall last.

`EXECPLANE_TEST_POSTGRES_URL` names an existing server instead (a user that may create databases).
"""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.parts import debian
from tests.parts.cache import PartUnavailableError
from tests.parts.eventually import eventually
from tests.parts.ports import free_ports
from tests.parts.supervisor import Supervisor

URL_VARIABLE = "EXECPLANE_TEST_POSTGRES_URL"
INSTALLATIONS = (Path("/usr/lib/postgresql"), Path("/usr/local/pgsql"), Path("/usr"))
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
}


class Postgres:
    """A running server; use it as a context manager, or call `start` and `stop`."""

    def __init__(self) -> None:
        self._existing = os.environ.get(URL_VARIABLE, "")
        self._supervisor: Supervisor | None = None
        self._port = 0

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Initialise and start; with an existing server only look whether it answers."""
        if not self._existing:
            self._start_own()
        eventually(self._answers, 20, on_failure=self._log, ignore=(psycopg.OperationalError,))

    def stop(self) -> None:
        """End the server and its data; an existing one stays as it is."""
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None

    def url(self, database: str) -> str:
        """`postgresql://…` of a database of that name, whether it exists or not."""
        if self._existing:
            return urlunsplit(urlsplit(self._existing)._replace(path=f"/{database}"))
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    @property
    def socket_folder(self) -> Path | None:
        """Where the Unix socket is; None for an existing server."""
        return self._supervisor.folder / "socket" if self._supervisor else None

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` when given (nobody may be connected to that); its URL."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, connections to it included; no error when it is not there."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        address = self._existing or self.url("postgres")
        with psycopg.connect(address, connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)

    def _log(self) -> str:
        return self._supervisor.log_tail("postgres") if self._supervisor else "the existing server is silent"

    def _start_own(self) -> None:
        programs = require_programs()
        supervisor = self._supervisor = Supervisor("postgres")
        (self._port,) = free_ports(1)
        user = _unprivileged_user()
        data, socket = supervisor.folder / "data", supervisor.folder / "socket"
        for folder in (data, socket):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)
        become: list[str] = []
        if user is not None:
            become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        initdb = [str(programs / "initdb"), f"--pgdata={data}", "--no-sync", "--auth=trust", "--username=postgres"]
        supervisor.call(*become, *initdb, "--encoding=UTF8", "--locale=C.UTF-8")
        settings = {**SETTINGS, "listen_addresses": "127.0.0.1", "unix_socket_directories": str(socket)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        supervisor.start(
            "postgres",
            [*become, str(programs / "postgres"), "-D", str(data), "-p", str(self._port), *options],
            # Immediate shutdown: it frees its shared memory, which a SIGKILL would leave behind.
            stop_signal=signal.SIGQUIT,
        )


def require_programs() -> Path:
    """The folder of the newest installed server's programs, installing Debian's when there is none."""
    found = _find_programs()
    if found is None:
        debian.require({"postgresql": "/usr/lib/postgresql/*/bin/initdb"})
        found = _find_programs()
    if found is None:
        raise PartUnavailableError(f"no PostgreSQL server programs found; install them or set {URL_VARIABLE}")
    return found


def _find_programs() -> Path | None:
    found = [path.parent for root in INSTALLATIONS for path in [*root.glob("*/bin/initdb"), *root.glob("bin/initdb")]]
    return max(found, key=_major_version, default=None)


def _major_version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _unprivileged_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: who runs it then; None when we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return users.get("postgres") or users["nobody"]
