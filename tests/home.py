"""A pytest plugin that is loaded before Django: tests get a home of their own, and the database that was asked for.

`EXECPLANE_TEST_DATABASE=postgresql` runs the same tests on PostgreSQL; the default is SQLite in a file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.parts.postgres import Postgres

_home = Path(tempfile.mkdtemp(prefix="execplane-tests-"))
_postgres: Postgres | None = None

for _name in [name for name in os.environ if name.startswith("EXECPLANE_") and not name.startswith("EXECPLANE_TEST_")]:
    del os.environ[_name]
os.environ["EXECPLANE_HOME"] = str(_home)
os.environ["DJANGO_SETTINGS_MODULE"] = "execplane.settings"

if os.environ.get("EXECPLANE_TEST_DATABASE") == "postgresql":
    _postgres = Postgres()
    _postgres.start()
    os.environ["EXECPLANE_DATABASE_URL"] = _postgres.create_database("execplane")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    if _postgres is not None:
        _postgres.stop()
    shutil.rmtree(_home, ignore_errors=True)
