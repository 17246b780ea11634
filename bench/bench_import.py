"""What a DAG file pays for its imports, in a fresh interpreter with warm file caches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.figures import Figure, Scale, median

BAR_MS = 150.0
TIMED = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{code}
print((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000)
"""


def run(scale: Scale, folder: Path) -> list[Figure]:
    repeats = 9 if scale.factor >= 1 else 3
    plain = [_import("from execplane import DAG, dag, task", folder) for _ in range(repeats + 1)][1:]
    heavy = [_import("import kubernetes.client", folder) for _ in range(min(repeats, 3))]
    return [
        Figure(name="import execplane in a DAG file", value=median([wall for wall, _ in plain]), unit="ms", bar=BAR_MS),
        Figure(name="  CPU of it", value=median([cpu for _, cpu in plain]), unit="ms CPU"),
        Figure(
            name="  import kubernetes.client, for comparison", value=median([cpu for _, cpu in heavy]), unit="ms CPU"
        ),
    ]


def _import(code: str, folder: Path) -> tuple[float, float]:
    """Milliseconds of wall and CPU time."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(code=code)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "EXECPLANE_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, cpu = done.stdout.split()
    return float(wall), float(cpu)
