"""A small ledger: one DAG with two tasks, and a run of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pytest

from execplane.contract.dag import DagSpec, TaskSpec, dag_hash, encode_dag
from execplane.contract.states import Cause, RunType, TaskState
from execplane.executors.driver import ends
from execplane.scheduler import loop as scheduler_loop
from execplane.store import blob_rows
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Attempt, Bundle, Dag, DagRun, DagVersion, TaskInstance
from execplane.store.queries import versions
from execplane.store.transitions import launching, runs
from tests.conftest import TestClock
from tests.integration.store.play import Play

SPEC = DagSpec(
    dag_id="orders",
    file="orders.py",
    tags=("etl", "daily"),
    tasks=(
        TaskSpec(task_id="extract", operator="BashOperator", owner="alice", retries=1, retry_delay_seconds=60),
        TaskSpec(task_id="load", operator="BashOperator", upstream=("extract",)),
    ),
)


@dataclass
class Ledger:
    """Rows to begin with, and short ways to the usual states."""

    run_pk: int
    clock: TestClock

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def instance(self, task_id: str = "extract") -> TaskInstance:
        return TaskInstance.objects.get(dagrun_id=self.run_pk, task_id=task_id)

    def attempt(self, task_id: str = "extract") -> Attempt:
        return Attempt.objects.filter(ti=self.instance(task_id)).latest("pk")

    def run(self) -> DagRun:
        return DagRun.objects.get(pk=self.run_pk)

    def queue(self, task_id: str = "extract", cause: Cause = Cause.FIRST) -> Attempt:
        instance = self.instance(task_id)
        launch = launching.NewAttempt(
            ti_id=instance.pk,
            task_id=task_id,
            map_index=-1,
            cause=cause,
            executor="local",
            queue="default",
            pool="default_pool",
            slots=1,
            priority=1,
        )
        with write():
            launching.queue_attempts(self.run_pk, [launch], actor="scheduler", now=self.now)
        return self.attempt(task_id)


def forget_versions() -> None:
    """What is kept by a version's id for good: ids come again in the next test."""
    versions.spec.cache_clear()
    scheduler_loop.compiled.cache_clear()
    ends._reported.cache_clear()


def save_dag(spec: DagSpec, now: datetime) -> DagVersion:
    forget_versions()
    blob = blob_rows.put(encode_dag(spec), now)
    Bundle.objects.get_or_create(digest="b" * 64, defaults={"name": "dags", "size_bytes": 1, "created_at": now})
    dag, _ = Dag.objects.get_or_create(
        pk=spec.dag_id,
        defaults={"bundle_name": "dags", "file": spec.file, "paused": False, "created_at": now},
    )
    version = DagVersion.objects.create(dag=dag, number=1, hash=dag_hash(spec), blob_id=blob, created_at=now)
    Dag.objects.filter(pk=dag.pk).update(
        latest_version=version,
        latest_bundle_id="b" * 64,
        max_active_runs=spec.max_active_runs,
        max_active_tasks=spec.max_active_tasks,
    )
    return version


def new_run(dag_id: str, version: DagVersion, run_id: str, when: datetime | None) -> runs.NewRun:
    return runs.NewRun(
        dag_id=dag_id,
        run_id=run_id,
        run_type=RunType.MANUAL,
        logical_date=when,
        interval_start=when,
        interval_end=when,
        run_after=when or datetime(2026, 1, 1).astimezone(),
        dag_version_id=version.pk,
        bundle_digest="b" * 64,
        conf={},
        triggered_by="test",
    )


@pytest.fixture
def ledger(db: None, clock: TestClock) -> Ledger:
    now = clock.now()
    identity(now)
    version = save_dag(SPEC, now)
    pk = runs.create_run(new_run("orders", version, "r1", now), now=now)
    with write():
        TaskInstance.objects.bulk_create(
            TaskInstance(dagrun_id=pk, task_id=task.task_id, state=TaskState.NONE) for task in SPEC.tasks
        )
        DagRun.objects.filter(pk=pk).update(state="running", started_at=now)
    return Ledger(run_pk=pk, clock=clock)


@pytest.fixture
def play(ledger: Ledger) -> Play:
    return Play(run_pk=ledger.run_pk, clock=ledger.clock)
