"""Parsing 1,000 files of 5 tasks from nothing, and the pass after it in which no file has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.dag_files import five_tasks
from bench.figures import Figure, Scale

FULL_BAR_SECONDS = 60.0
UNCHANGED_BAR_SECONDS = 1.0


def run(scale: Scale, folder: Path) -> list[Figure]:
    files = scale.count(1000, least=50)
    dags = folder / "dags"
    dags.mkdir()
    for number in range(files):
        (dags / f"pipeline_{number:04d}.py").write_text(five_tasks(number))
    found = _parse(folder, dags)
    if found["dags"] != files or found["errors"]:
        raise RuntimeError(f"of {files} files {found['dags']} became DAGs, {found['errors']} failed")
    return [
        Figure(name=f"{files} files of 5 tasks, full parse", value=found["full"], unit="s", bar=FULL_BAR_SECONDS),
        Figure(name="  CPU of it, all processes", value=found["full_cpu"], unit="s CPU"),
        Figure(name=f"{files} files, unchanged pass", value=found["unchanged"], unit="s", bar=UNCHANGED_BAR_SECONDS),
        Figure(name="  CPU of it", value=found["unchanged_cpu"], unit="s CPU"),
    ]


def _parse(folder: Path, dags: Path) -> dict[str, float]:
    """In a process of its own: Django is set up once a process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECPLANE_")}
    done = subprocess.run(
        [sys.executable, "-m", "bench.parse_loop"],
        cwd=Path(__file__).parent.parent,
        env={**environment, "EXECPLANE_HOME": str(folder / "home"), "EXECPLANE_DAGS_FOLDERS": str(dags)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer
