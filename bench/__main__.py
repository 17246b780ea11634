"""`python -m bench [--scale 0.05] [--only NAME …]`: measure, print a table, write bench/results.json.

The exit code tells whether the benchmarks work, not whether the bars are met: a busy machine misses them, and the
table says so. Each benchmark is a module `bench_<name>` with `run(scale, folder) -> figures`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import bench
from bench.figures import Figure, Scale, table, write

PREFIX = "bench_"
RESULTS = Path(__file__).parent / "results.json"


def names() -> list[str]:
    """Every benchmark there is, the shortest first so that a mistake shows early."""
    order = ["import", "idle", "local", "worker", "parse", "pods", "latency", "running"]
    modules = [module.name for module in pkgutil.iter_modules(bench.__path__)]
    found = [name.removeprefix(PREFIX) for name in modules if name.startswith(PREFIX)]
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def measure(name: str, scale: Scale) -> list[Figure]:
    """Run one benchmark in a folder of its own. Whatever it raises means that it is broken."""
    module = importlib.import_module(f"bench.{PREFIX}{name}")
    with tempfile.TemporaryDirectory(prefix=f"execplane-bench-{name}-", ignore_cleanup_errors=True) as folder:
        return list(module.run(scale, Path(folder)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the full size; CI uses 0.05")
    parser.add_argument("--only", action="append", choices=names(), help="only this benchmark (may be repeated)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results go (bench/results.json)")
    chosen = parser.parse_args(arguments)
    scale = Scale(factor=chosen.scale)
    figures: list[Figure] = []
    broken: list[str] = []
    for name in chosen.only or names():
        started = time.monotonic()
        try:
            figures += measure(name, scale)
        except Exception:
            traceback.print_exc()
            broken.append(name)
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    write(figures, chosen.output)
    print(f"\nAt scale {scale.factor:g}:" if scale.factor != 1 else "")
    print(table(figures))
    missed = [figure.name for figure in figures if figure.met is False]
    if missed:
        print(f"\nNot met: {'; '.join(missed)}.")
    if broken:
        print(f"\nBroken: {', '.join(broken)}.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
