"""The test tiers, in order and fail-fast: static, then all tests with the spine first, then the benchmarks, small.

`python -m tests.tiers all`, or some tiers by name. The time of each is printed; the first that fails ends the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def call(*command: str, **environment: str) -> int:
    print(f"$ {' '.join(Path(part).name if part.startswith('/') else part for part in command)}", flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


def pytest(*arguments: str) -> int:
    return call(str(BIN / "pytest"), "-q", *arguments)


def static() -> int:
    commands = (
        (str(BIN / "ruff"), "check", "."),
        (str(BIN / "ruff"), "format", "--check", "--quiet", "."),
        (str(BIN / "lint-imports"), "--no-cache"),
        (str(BIN / "mypy"),),
        (sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"),
    )
    for command in commands:
        if code := call(*command, EXECPLANE_HOME=_scratch_home()):
            return code
    return 0


def _scratch_home() -> str:
    import tempfile

    return str(Path(tempfile.gettempdir()) / "execplane-static-home")


def everything() -> int:
    """All tests in one process, so that they share one cluster and one PostgreSQL; the spine comes first."""
    tiers = ("spine", "unit", "integration", "conformance", "examples", "cluster", "browser")
    return pytest("-x", *(f"tests/{tier}" for tier in tiers if (ROOT / "tests" / tier).is_dir()))


WORKERS_OWN = (
    "test_ends.py::test_a_task_whose_process_dies",
    "test_ends.py::test_a_task_above_its_execution_timeout",
    "test_losses.py::test_a_worker_without_contact",
    "test_losses.py::test_an_impostors_word",
    "test_stopping.py::test_a_task_that_ignores_sigterm",
)
"""Slow conformance tests of what a worker does by itself, whatever the database; by hand they run there, too:
`EXECPLANE_TEST_DATABASE=postgresql pytest tests/conformance`."""


def postgresql() -> int:
    """The tests of the ledger once more, on PostgreSQL, and what whole deployments promise, with the local executor."""
    return call(
        str(BIN / "pytest"),
        "-q",
        "-x",
        "tests/integration/store",
        "tests/integration/worker_api",
        "tests/conformance",
        *(f"--deselect=tests/conformance/{test}" for test in WORKERS_OWN),
        EXECPLANE_TEST_DATABASE="postgresql",
    )


TIERS: dict[str, Callable[[], int]] = {
    "static": static,
    "parts": lambda: call(sys.executable, "-m", "tests.parts", "build"),
    "tests": everything,
    "postgresql": postgresql,
    "bench": lambda: call(sys.executable, "-m", "bench", "--scale", "0.05"),
}
SOME: dict[str, Callable[[], int]] = {
    "unit": lambda: pytest("-x", "-m", "not slow", "tests/unit"),
    "spine": lambda: pytest("-x", "tests/spine"),
    "integration": lambda: pytest("-x", "tests/integration"),
    "conformance": lambda: pytest("-x", "tests/conformance"),
    "cluster": lambda: pytest("-x", "tests/cluster"),
    "browser": lambda: pytest("-x", "tests/browser"),
}


def main(names: list[str]) -> int:
    chosen = list(TIERS) if names == ["all"] else names
    known = TIERS | SOME
    if not chosen or set(chosen) - set(known):
        print(f"usage: python -m tests.tiers all | {' | '.join(known)}")
        return 2
    took: list[tuple[str, float]] = []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        code = known[name]()
        took.append((name, time.monotonic() - started))
        if code:
            print(f"\nThe tier {name} failed (exit code {code}).")
            break
    print("\n" + "\n".join(f"{name:12} {seconds:7.1f} s" for name, seconds in took), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
