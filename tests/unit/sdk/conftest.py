"""Every test leaves the interpreter as it found it: import paths, finders, open blocks, learnt secrets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from execplane.sdk import airflow, masking, scope


@pytest.fixture(autouse=True)
def untouched_interpreter() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    airflow.uninstall()
    masking.forget()
    for found in (scope.open_dags, scope.open_groups, scope.registered, scope.warnings):
        found.clear()
    for name in [name for name in sys.modules if name.startswith("execplane_dag_")]:
        del sys.modules[name]
