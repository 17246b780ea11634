"""Runs the real command in this process, and makes a small ledger for it to show."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from execplane.cli.main import main
from execplane.contract.clock import SystemClock
from execplane.contract.dag import DagSpec, ParamSpec, TaskSpec, dag_hash, encode_dag
from execplane.contract.states import RunType
from execplane.store import blob_rows
from execplane.store.deployment import identity
from execplane.store.models import Attempt, Bundle, Dag, DagTag, DagVersion, TaskInstance
from execplane.store.transitions import runs

SPEC = DagSpec(
    dag_id="orders",
    file="orders.py",
    params={"table": ParamSpec(default="all", schema={"type": "string"})},
    tasks=(
        TaskSpec(task_id="extract", operator="BashOperator", retries=1),
        TaskSpec(task_id="load", operator="BashOperator", upstream=("extract",)),
    ),
)


@dataclass(frozen=True)
class Said:
    """What the command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def execplane(*words: str) -> Said:
    """The command with these words, as its console script would run it."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["execplane", *words]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv = before
    return Said(code, out.getvalue(), err.getvalue())


def save_dag(spec: DagSpec = SPEC, *, paused: bool = False) -> DagVersion:
    """The DAG as parsing would have stored it."""
    now = SystemClock().now()
    identity(now)
    blob = blob_rows.put(encode_dag(spec), now)
    Bundle.objects.get_or_create(digest="b" * 64, defaults={"name": "dags", "size_bytes": 1, "created_at": now})
    dag = Dag.objects.create(
        pk=spec.dag_id, bundle_name="dags", file=spec.file, paused=paused, owners="ann", created_at=now
    )
    version = DagVersion.objects.create(dag=dag, number=1, hash=dag_hash(spec), blob_id=blob, created_at=now)
    Dag.objects.filter(pk=dag.pk).update(latest_version=version, latest_bundle_id="b" * 64)
    DagTag.objects.create(dag=dag, name="sales")
    return version


def save_run(version: DagVersion, run_id: str = "r1") -> int:
    """A queued run with its task instances."""
    now = SystemClock().now()
    pk = runs.create_run(
        runs.NewRun(
            dag_id=version.dag.pk,
            run_id=run_id,
            run_type=RunType.MANUAL,
            logical_date=now,
            interval_start=now,
            interval_end=now,
            run_after=now,
            dag_version_id=version.pk,
            bundle_digest="b" * 64,
            conf={},
            triggered_by="test",
        ),
        now=now,
    )
    TaskInstance.objects.bulk_create(
        TaskInstance(dagrun_id=pk, task_id=task.task_id, state="none") for task in SPEC.tasks
    )
    return pk


def save_attempt(run_pk: int, task_id: str = "extract", **columns: Any) -> Attempt:
    """An attempt in whatever state; its task instance is in the same where that makes sense."""
    instance = TaskInstance.objects.get(dagrun_id=run_pk, task_id=task_id, map_index=-1)
    now: datetime = SystemClock().now()
    number = instance.attempt_no + 1
    given: dict[str, Any] = {
        "state": "success",
        "cause": "first",
        "executor": "local",
        "queued_at": now - timedelta(seconds=30),
        "try_number": number,
        **columns,
    }
    attempt = Attempt.objects.create(
        ti=instance,
        attempt_no=number,
        dag_id=SPEC.dag_id,
        run_id=instance.dagrun.run_id,
        task_id=task_id,
        **given,
    )
    state = given["state"] if given["state"] in ("queued", "running", "success", "failed") else "queued"
    TaskInstance.objects.filter(pk=instance.pk).update(
        attempt_no=number, try_number=given["try_number"], state=state, started_at=now
    )
    return attempt
