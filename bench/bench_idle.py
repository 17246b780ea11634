"""What standalone costs while nothing happens: all its processes, with the examples loaded and watched."""

from __future__ import annotations

import time
from pathlib import Path

from bench import processes
from bench.dag_files import chain_of
from bench.deployment import Deployment, deployment
from bench.figures import Figure, Scale

PSS_BAR_MIB = 300.0
CPU_BAR_PERCENT = 2.0


def run(scale: Scale, folder: Path) -> list[Figure]:
    with deployment(folder, {"chain": chain_of("chain", 3)}, load_examples="true") as one:
        one.wait_for_dag("chain")
        one.run_dag("chain")
        one.get("/")
        time.sleep(scale.seconds(30, least=8))  # parsers that have nothing to do leave
        return _measure(one, scale.seconds(20, least=5))


def _measure(one: Deployment, seconds: float) -> list[Figure]:
    cpu, started = one.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    percent = (one.cpu_seconds() - cpu) / (time.monotonic() - started) * 100
    pids = processes.tree(one.pid)
    return [
        Figure(
            name="standalone idle, memory of all processes",
            value=processes.pss_bytes(pids) / 2**20,
            unit="MiB PSS",
            bar=PSS_BAR_MIB,
        ),
        Figure(name="standalone idle, CPU", value=percent, unit="% of a core", bar=CPU_BAR_PERCENT),
        Figure(name="  processes", value=len(pids), unit="processes"),
    ]
