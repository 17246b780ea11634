"""Runs the parse loop of the deployment in the environment, as fast as it wants, and prints what it took as JSON."""

from __future__ import annotations

import json
import resource
import time
from datetime import timedelta

from execplane.compose import Deployment, setup
from execplane.contract.loops import Loop


def cpu_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def timed(loop: Loop, deployment: Deployment, later: timedelta) -> float:
    """Tick until it has nothing to do; gives the seconds."""
    started = time.monotonic()
    while loop.tick(deployment.clock.now() + later).now:
        pass
    return time.monotonic() - started


def main() -> None:
    deployment = Deployment(setup())
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    loop = next(loop for loop in deployment.loops() if loop.name == "parsing")
    before = cpu_seconds()
    full = timed(loop, deployment, timedelta(0))
    again, begin = [], time.process_time()
    for number in range(1, 4):
        # A later moment, so that it looks at every file again.
        again.append(timed(loop, deployment, timedelta(seconds=5 * number)))
    unchanged_cpu = (time.process_time() - begin) / len(again)
    loop.close()
    full_cpu = cpu_seconds() - before - unchanged_cpu * len(again)
    from execplane.store.models import Dag, ImportErrorRow

    answer = {
        "dags": Dag.objects.filter(active=True).count(),
        "errors": ImportErrorRow.objects.count(),
        "full": full,
        "full_cpu": full_cpu,
        "unchanged": sorted(again)[1],
        "unchanged_cpu": unchanged_cpu,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
