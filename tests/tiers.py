"""The test tiers, in order: static, parts, all tests, then the benchmarks, small.

`python -m tests.tiers all`, or some tiers by name. The time of each is printed; the first that fails ends the run, but
tests go on after a failure, for a while, so that one run tells about more than its first.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and what it finds in its environment besides ours."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(Path(part).name if part.startswith("/") else part for part in self.words)


def call(*words: str, **environment: str) -> int:
    command = Command(words, environment)
    print(f"$ {command}", flush=True)
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


class Lane:
    """Commands one after the other, beside other lanes; their lines bear its name."""

    def __init__(self, name: str, commands: Sequence[Command]) -> None:
        self.code: int | None = None
        """Once it has ended: zero, or the exit code of the first command that failed."""
        self.failures: list[str] = []
        """pytest's lines about what failed."""
        self._name = name
        self._commands = commands
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def stop(self) -> None:
        """The parts that its tests have started end with them, however those end."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.terminate()

    def _run(self) -> None:
        code = 0
        for command in self._commands:
            self._say(f"$ {command}\n")
            with self._lock:
                if self._stopped:
                    return
                self._running = subprocess.Popen(
                    command.words,
                    cwd=ROOT,
                    env={**os.environ, **command.environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                )
            assert self._running.stdout is not None
            for line in self._running.stdout:
                self._say(line)
                if line.startswith(("FAILED ", "ERROR ")):
                    self.failures.append(line)
            its_code = self._running.wait()
            code = code or its_code
        self.code = code

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{self._name:6} | {line}")
        sys.stdout.flush()


def side_by_side(commands: Mapping[str, Sequence[Command]]) -> int:
    """Run the lanes at once to their ends; all that failed is said once more at the end."""
    lanes = [Lane(name, its_commands) for name, its_commands in commands.items()]
    try:
        for lane in lanes:
            lane.wait()
    except BaseException:  # an interrupt stops them all
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            lane.wait()
        raise
    print("".join(line for lane in lanes for line in lane.failures), end="", flush=True)
    return next((lane.code for lane in lanes if lane.code), 0)


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
    return str(Path(tempfile.gettempdir()) / "execplane-static-home")


WORKERS_OWN = (
    "test_ends.py::test_a_task_whose_process_dies",
    "test_ends.py::test_a_task_above_its_execution_timeout",
    "test_losses.py::test_a_worker_without_contact",
    "test_losses.py::test_an_impostors_word",
    "test_stopping.py::test_a_task_that_ignores_sigterm",
)
"""Slow conformance tests of what a worker does by itself, whatever the database; by hand they run there, too:
`EXECPLANE_TEST_DATABASE=postgresql pytest tests/conformance`."""


BESIDE_OTHERS = {"EXECPLANE_TEST_TIMEOUT_SCALE": os.environ.get("EXECPLANE_TEST_TIMEOUT_SCALE", "3")}
"""Whoever shares two cores with another lane is patient; a test that passes takes no longer for it."""
MOST_FAILURES = "--maxfail=8"
"""Enough to see what they have in common; where nothing works, each would use up all its patience."""


def _tests_in(*tiers: str) -> Command:
    return Command((str(BIN / "pytest"), "-q", MOST_FAILURES, *(f"tests/{tier}" for tier in tiers)), BESIDE_OTHERS)


WITH_PODS = _tests_in("spine", "conformance", "cluster", "browser")
"""In one process, so that they share one cluster; the spine comes first."""
WITHOUT_PODS = _tests_in("unit", "integration")
EXAMPLES_AND_STORMS = _tests_in("examples", "chaos")
"""With a cluster of their own, whose API server storms restart."""
ON_POSTGRESQL = Command(
    (
        str(BIN / "pytest"),
        "-q",
        MOST_FAILURES,
        "tests/integration/store",
        "tests/integration/worker_api",
        "tests/conformance",
        *(f"--deselect=tests/conformance/{test}" for test in WORKERS_OWN),
    ),
    {"EXECPLANE_TEST_DATABASE": "postgresql", **BESIDE_OTHERS},
)
"""The tests of the ledger once more, and what whole deployments promise, with the local executor."""


def everything() -> int:
    """Two lanes at once, about equally long: tests mostly wait, and leave a core to others."""
    return side_by_side({"first": [WITH_PODS, ON_POSTGRESQL], "second": [WITHOUT_PODS, EXAMPLES_AND_STORMS]})


def chaos() -> int:
    """A storm of its own: three hundred tasks, a seed that is drawn here unless one is named."""
    seed = os.environ.get("EXECPLANE_TEST_CHAOS_SEEDS") or str(secrets.randbelow(1_000_000))
    print(f"EXECPLANE_TEST_CHAOS_SEEDS={seed}", flush=True)
    storm = {"EXECPLANE_TEST_CHAOS_SEEDS": seed, "EXECPLANE_TEST_CHAOS_RUNS": "3"}
    return call(str(BIN / "pytest"), "-q", "-s", "-x", "tests/chaos/test_storm.py", **storm)


TIERS: dict[str, Callable[[], int]] = {
    "static": static,
    "parts": lambda: call(sys.executable, "-m", "tests.parts", "build"),
    "tests": everything,
    "bench": lambda: call(sys.executable, "-m", "bench", "--scale", "0.05"),
}
SOME: dict[str, Callable[[], int]] = {
    "postgresql": lambda: call(*ON_POSTGRESQL.words, **ON_POSTGRESQL.environment),
    "unit": lambda: pytest("-x", "-m", "not slow", "tests/unit"),
    "spine": lambda: pytest("-x", "tests/spine"),
    "integration": lambda: pytest("-x", "tests/integration"),
    "conformance": lambda: pytest("-x", "tests/conformance"),
    "cluster": lambda: pytest("-x", "tests/cluster"),
    "browser": lambda: pytest("-x", "tests/browser"),
    "chaos": chaos,
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
