"""The test PostgreSQL: copies of a migrated database are cheap, and nothing outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.parts.eventually import eventually
from tests.parts.postgres import Postgres

OWNER = """
import sys
from tests.parts.postgres import Postgres
server = Postgres()
server.start()
print(server.socket_folder.parent, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


def test_a_database_is_a_copy_of_its_template(server: Postgres) -> None:
    with psycopg.connect(server.create_database("original")) as connection:
        connection.execute("CREATE TABLE things AS SELECT 42 AS answer")
    with psycopg.connect(server.create_database("copied", template="original")) as connection:
        assert connection.execute("SELECT answer FROM things").fetchone() == (42,)
    for name in ("original", "copied"):
        server.drop_database(name)


def test_dropping_ends_the_connections_to_it(server: Postgres) -> None:
    with psycopg.connect(server.create_database("busy"), autocommit=True) as connection:
        server.drop_database("busy")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_nothing_is_left_when_its_owner_is_killed() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "EXECPLANE_TEST_POSTGRES_URL"}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        folder = Path(owner.stdout.readline().strip())
        assert processes_of(folder)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        eventually(
            lambda: not processes_of(folder) and not folder.exists(), 15, on_failure=lambda: str(processes_of(folder))
        )


def processes_of(folder: Path) -> list[str]:
    """The command lines of every process that was started with something in that folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found
