"""The local executor on SQLite: a chain of no-op tasks, a fan of them, and the time between two tasks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from bench.dag_files import chain_of, fan_of
from bench.deployment import Deployment, Measured, deployment
from bench.figures import Figure, Scale, median

CHAIN_BAR_SECONDS, CHAIN_AIRFLOW_SECONDS = 1.0, 13.1
FAN_BAR_SECONDS, FAN_AIRFLOW_SECONDS = 2.5, 10.8
HANDOVER_BAR_MS = 100.0


def run(scale: Scale, folder: Path) -> list[Figure]:
    """The chain keeps its ten tasks at any scale: it is the shape that is measured."""
    fan = scale.count(100, least=5)
    files = {"chain": chain_of("chain", 10), "fan": fan_of("fan", fan)}
    with deployment(folder, files, executor="local") as one:
        for dag_id in files:
            one.wait_for_dag(dag_id)
        one.run_dag("chain")  # the first task starts the zygote and reads the bundle
        chains = [one.run_dag("chain") for _ in range(scale.repeats(5))]
        fans = [one.run_dag("fan") for _ in range(scale.repeats(3))]
        code, fence = _handovers(one, chains)
    return [
        _seconds("10 sequential Python tasks, local, SQLite", chains, CHAIN_AIRFLOW_SECONDS, CHAIN_BAR_SECONDS),
        _cpu("  CPU of it, tasks included", chains),
        Figure(name="task end to successor's user code, median", value=code, unit="ms", bar=HANDOVER_BAR_MS),
        Figure(name="  task end to successor's claim, median", value=fence, unit="ms"),
        _seconds(f"{fan} parallel Python tasks, a process each", fans, FAN_AIRFLOW_SECONDS, FAN_BAR_SECONDS),
        _cpu("  CPU of it, tasks included", fans),
    ]


def _seconds(name: str, runs: list[Measured], reference: float, bar: float) -> Figure:
    return Figure(name=name, value=median([run.seconds for run in runs]), unit="s", reference=reference, bar=bar)


def _cpu(name: str, runs: list[Measured]) -> Figure:
    return Figure(name=name, value=median([run.cpu_seconds for run in runs]), unit="s CPU")


def _handovers(one: Deployment, chains: list[Measured]) -> tuple[float, float]:
    """Milliseconds from each task's end to its successor's first line of user code, and to its passed fence."""
    code: list[float] = []
    fence: list[float] = []
    for chain in chains:
        attempts = one.attempts("chain", chain.run_id)
        for before, after in pairwise(attempts):
            ended = before.times["ended_at"]
            code.append((after.times["user_code_at"] - ended).total_seconds() * 1000)
            fence.append((after.times["running_at"] - ended).total_seconds() * 1000)
    return median(code), median(fence)
