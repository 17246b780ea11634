"""The databases and executors we claim. Nothing here is skipped: what is missing fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.postgres import Postgres
from tests.parts.standalone import Standalone

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def database_settings(request: pytest.FixtureRequest, database: str) -> dict[str, str]:
    if database == "sqlite":
        return {}
    server: Postgres = request.getfixturevalue("postgres")
    name = f"spine_{abs(hash(request.node.nodeid)) % 10**8}"
    return {"database_url": server.create_database(name)}


@pytest.fixture
def executor_settings(executor: str) -> dict[str, str]:
    return {"executor": executor}


@pytest.fixture
def standalone(
    tmp_path: Path, database_settings: dict[str, str], executor_settings: dict[str, str]
) -> Iterator[Standalone]:
    one = Standalone(tmp_path / "home", DAGS, **database_settings, **executor_settings)
    one.start()
    yield one
    one.stop()
