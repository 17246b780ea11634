"""Real pods through storms of faults, judged by a witness outside execplane.

Three storms of a hundred tasks; `make chaos` sends three hundred through one of its own (`EXECPLANE_TEST_CHAOS_SEEDS`,
`EXECPLANE_TEST_CHAOS_RUNS`). A seed is printed, and brings the same faults in the same order at the same moments of
progress.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.dags_shape import CALM_TASKS, STORM_TASKS
from tests.chaos.faults import schedule
from tests.chaos.fleet import PARALLELISM, Fleet, fleet
from tests.chaos.judge import Start, created_pods, judge
from tests.cluster.kube_proxy import kube_proxy
from tests.conformance.recorder import Recorder, Visit
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.postgres import Postgres

SEEDS = [int(seed) for seed in os.environ.get("EXECPLANE_TEST_CHAOS_SEEDS", "1,2,3").split(",")]
RUNS = tuple(f"storm-{number}" for number in range(int(os.environ.get("EXECPLANE_TEST_CHAOS_RUNS", "1"))))
"""Each has a hundred tasks."""


@pytest.fixture
def afloat(
    tmp_path: Path, own_cluster: Cluster, worker_image: str, namespace: str, postgres: Postgres
) -> Iterator[Fleet]:
    url = postgres.create_database(f"chaos_{secrets.token_hex(4)}")
    with (
        Recorder() as recorder,
        kube_proxy(own_cluster) as proxy,
        fleet(tmp_path, own_cluster, namespace, worker_image, proxy, recorder, url) as one,
    ):
        yield one


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_attempt_starts_twice_and_every_task_ends(afloat: Fleet, seed: int) -> None:
    for run_id in RUNS:
        afloat.trigger("storm", run_id)
    chance = random.Random(seed)
    for after, fault in schedule(seed, len(RUNS) * STORM_TASKS):
        progressed(afloat, after, seed)
        print(f"seed {seed}: {fault.__name__} after {finished(afloat)} tasks")
        fault(afloat, chance)
    eventually(
        lambda: all(afloat.runs()[run_id] in ("success", "failed") for run_id in RUNS),
        240,
        on_failure=lambda: f"seed {seed}: {finished(afloat)} finished\n{afloat.evidence()}",
        interval_seconds=0.5,
    )
    assert {run_id: afloat.runs()[run_id] for run_id in RUNS} == dict.fromkeys(RUNS, "success"), afloat.evidence()
    starts = [start_of(visit) for run_id in RUNS for visit in afloat.recorder.visits_of_run(run_id)]
    tasks = [(run_id, f"work_{number}") for run_id in RUNS for number in range(STORM_TASKS)]
    assert judge(starts, tasks, created_pods(audit(afloat.cluster), afloat.namespace)) == [], f"seed {seed}"
    nothing_is_left(afloat)
    all_slots_are_free(afloat)


def progressed(afloat: Fleet, tasks: int, seed: int) -> None:
    """Wait until so many tasks came to their end."""
    eventually(
        lambda: finished(afloat) >= tasks,
        180,
        on_failure=lambda: f"seed {seed}: {finished(afloat)} finished\n{afloat.evidence()}",
        interval_seconds=0.05,
    )


def finished(afloat: Fleet) -> int:
    """How many tasks came to their end, as the witness saw it."""
    return len({visit.task_id + visit.run_id for visit in afloat.recorder.all if "end" in visit.notes})


def start_of(visit: Visit) -> Start:
    pod, uid, nonce = visit.who.split()
    return Start(
        run_id=visit.run_id,
        task_id=visit.task_id,
        pod=pod,
        uid=uid,
        nonce=nonce,
        began=visit.began,
        ended=visit.ended,
        finished="end" in visit.notes,
    )


def audit(cluster: Cluster) -> list[dict[str, object]]:
    return [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]


def nothing_is_left(afloat: Fleet) -> None:
    """Of all attempts, and whatever befell them, no pod remains."""
    eventually(lambda: not afloat.pods(), 60, on_failure=afloat.evidence, interval_seconds=0.5)


def all_slots_are_free(afloat: Fleet) -> None:
    """As many tasks as there are slots can be alive at once: none was leaked."""
    afloat.trigger("calm", "calm")
    visits = eventually(
        lambda: afloat.recorder.visits_of_run("calm") if arrived(afloat) == CALM_TASKS else None,
        90,
        on_failure=afloat.evidence,
    )
    assert afloat.recorder.most_at_once("calm") == CALM_TASKS == PARALLELISM
    for visit in visits:
        visit.release()
    eventually(lambda: afloat.runs()["calm"] == "success", 60, on_failure=afloat.evidence)


def arrived(afloat: Fleet) -> int:
    return len(afloat.recorder.visits_of_run("calm"))
