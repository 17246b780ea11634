"""A history to look at: DAGs with runs, task instances and attempts in every state, made row by row.

The pages only read, so rows are written as they stand after the fact; how they come to be is tested elsewhere.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from execplane.contract.dag import DagSpec, GroupSpec, ParamSpec, TaskSpec, TimetableSpec, dag_hash, encode_dag
from execplane.store import blob_rows
from execplane.store.models import (
    Attempt,
    AttemptEvent,
    Bundle,
    Dag,
    DagRun,
    DagTag,
    DagVersion,
    ImportErrorRow,
    Lease,
    LoopStatus,
    Pool,
    SecretAccess,
    TaskInstance,
    XCom,
)

BUNDLE = "b" * 64
STATES = ("success", "failed", "skipped", "upstream_failed", "running", "queued", "up_for_retry", "none")
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sales-extract-1", "namespace": "jobs"},
    "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "worker:1", "args": ["--on", "yes"]}]},
}


def spec(dag_id: str, tasks: int = 4) -> DagSpec:
    """A chain with its last two tasks in a group, and params of several kinds."""
    names = [f"t{number:03}" for number in range(tasks - 2)] + ["check.count", "check.sums"]
    return DagSpec(
        dag_id=dag_id,
        file=f"{dag_id}.py",
        description="Loads what was sold",
        timetable=TimetableSpec(kind="cron", expression="0 3 * * *", description="0 3 * * *"),
        groups=(GroupSpec(group_id="check", label="check"),),
        params={
            "limit": ParamSpec(default=10, schema={"type": "integer", "minimum": 1, "maximum": 100}),
            "region": ParamSpec(default="eu", schema={"type": "string", "enum": ["eu", "us"]}),
        },
        tasks=tuple(
            TaskSpec(
                task_id=name,
                operator="BashOperator",
                retries=1,
                upstream=(names[position - 1],) if position else (),
                group_id="check" if name.startswith("check.") else None,
                label=name.removeprefix("check."),
            )
            for position, name in enumerate(names)
        ),
    )


def make_dag(one: DagSpec, now: datetime, *, tags: tuple[str, ...] = (), paused: bool = False) -> DagVersion:
    Bundle.objects.get_or_create(digest=BUNDLE, defaults={"name": "dags", "size_bytes": 1, "created_at": now})
    dag = Dag.objects.create(
        dag_id=one.dag_id,
        bundle_name="dags",
        file=one.file,
        description=one.description,
        paused=paused,
        schedule=one.timetable.description,
        next_run_at=now + timedelta(hours=3),
        created_at=now,
        parsed_at=now,
    )
    version = DagVersion.objects.create(
        dag=dag,
        number=1,
        hash=dag_hash(one),
        blob_id=blob_rows.put(encode_dag(one), now),
        source_blob_id=blob_rows.put(b"from execplane import DAG\n", now),
        created_at=now,
    )
    Dag.objects.filter(pk=dag.pk).update(latest_version=version, latest_bundle_id=BUNDLE)
    DagTag.objects.bulk_create(DagTag(dag=dag, name=name) for name in tags)
    return version


def make_runs(version: DagVersion, count: int, now: datetime, state: str = "success") -> list[DagRun]:
    """`count` runs, a day apart, the newest a minute old."""
    rows = []
    for number in range(count):
        start = now - timedelta(days=count - 1 - number, minutes=1)
        ended = state in ("success", "failed")
        rows.append(
            DagRun(
                dag_id=version.dag_id,
                run_id=f"scheduled__{start:%Y-%m-%dT%H:%M:%S}+00:00",
                run_type="scheduled",
                state=state,
                logical_date=start,
                data_interval_start=start,
                data_interval_end=start,
                run_after=start,
                dag_version=version,
                bundle_id=BUNDLE,
                queued_at=start,
                started_at=start,
                ended_at=start + timedelta(seconds=5 + number) if ended else None,
            )
        )
    return DagRun.objects.bulk_create(rows)


def make_cells(runs: list[DagRun], one: DagSpec, state: str = "success") -> None:
    rows = [
        TaskInstance(
            dagrun=run,
            task_id=task.task_id,
            state=state,
            attempt_no=1,
            try_number=1,
            started_at=run.started_at,
            ended_at=run.ended_at,
        )
        for run in runs
        for task in one.tasks
    ]
    TaskInstance.objects.bulk_create(rows, batch_size=400)


def make_attempt(instance: TaskInstance, now: datetime, *, state: str = "failed", number: int = 1) -> Attempt:
    """An attempt with a pod, its story and what it left behind."""
    run = instance.dagrun
    ended = state in ("success", "failed", "skipped", "rescheduled", "cancelled")
    row = Attempt.objects.create(
        ti=instance,
        attempt_no=number,
        try_number=number,
        cause="first" if number == 1 else "retry",
        state=state,
        dag_id=run.dag_id,
        run_id=run.run_id,
        task_id=instance.task_id,
        map_index=instance.map_index,
        executor="kubernetes",
        cluster="main",
        namespace="jobs",
        pod_name=f"pod-{instance.pk}-{number}",
        node="node-1",
        intent_sha256=blob_rows.put(json.dumps(POD).encode(), now),
        category="oom_killed" if state == "failed" else "",
        reason="The container ran out of memory (limit 64Mi)." if state == "failed" else "",
        hint="Raise its memory limit." if state == "failed" else "",
        exit_code=137 if state == "failed" else None,
        log_offset=3,
        rendered={"bash_command": "echo 2026-03-01"},
        status={"phase": "Failed", "containerStatuses": [{"name": "base", "state": {"terminated": {"exitCode": 137}}}]},
        queued_at=now - timedelta(seconds=30),
        claimed_at=now - timedelta(seconds=29),
        launched_at=now - timedelta(seconds=28),
        running_at=now - timedelta(seconds=20),
        ended_at=now - timedelta(seconds=5) if ended else None,
    )
    AttemptEvent.objects.bulk_create(
        AttemptEvent(attempt_id=row.pk, seq=seq, at=row.queued_at, from_state=old, to_state=new, actor="driver")
        for seq, (old, new) in enumerate([("", "queued"), ("queued", "claimed"), ("claimed", "launched")])
    )
    return row


def make_history(now: datetime) -> None:
    """Enough rows that a planner has a choice: 20 DAGs, 800 runs, 1,500 ended attempts and 10 that are alive."""
    one = spec("grown")
    for number in range(20):
        make_runs(make_dag(spec(f"dag{number}"), now), 40, now)
    runs = make_runs(make_dag(one, now), 40, now)
    make_cells(runs, one)
    instances = list(TaskInstance.objects.filter(dagrun__in=runs).select_related("dagrun"))
    rows = []
    for number in range(1510):
        instance = instances[number % len(instances)]
        rows.append(
            Attempt(
                ti=instance,
                attempt_no=1 + number // len(instances),
                try_number=1,
                cause="first",
                state="running" if number >= 1500 else ("failed" if number % 7 == 0 else "success"),
                dag_id=f"dag{number % 20}",
                run_id=instance.dagrun.run_id,
                task_id=instance.task_id,
                executor="local" if number % 2 else "kubernetes",
                node=f"node-{number % 30}",
                category="oom_killed" if number % 70 == 0 else "",
                queued_at=now,
            )
        )
    Attempt.objects.bulk_create(rows, batch_size=400)
    SecretAccess.objects.bulk_create(
        SecretAccess(attempt_id=number, kind="variable", name=f"name{number % 50}", at=now) for number in range(400)
    )


def make_world(now: datetime) -> Attempt:
    """One DAG with runs and an attempt, an import error, loops and a pool: something for every page."""
    one = spec("sales")
    version = make_dag(one, now, tags=("nightly",))
    runs = make_runs(version, 3, now)
    make_cells(runs, one)
    newest = runs[-1]
    newest.state = "failed"
    newest.reason = "failed: t000"
    newest.save()
    TaskInstance.objects.bulk_create(
        TaskInstance(dagrun=newest, task_id="mapped", map_index=number, state=state)
        for number, state in enumerate(STATES)
    )
    instance = TaskInstance.objects.get(dagrun=newest, task_id="t000")
    TaskInstance.objects.filter(pk=instance.pk).update(state="failed")
    # Never launched: its page says why.
    TaskInstance.objects.filter(dagrun=newest, task_id="check.sums").update(state="upstream_failed", attempt_no=0)
    attempt = make_attempt(instance, now)
    XCom.objects.create(ti=instance, key="return_value", attempt_no=1, value=b'{"rows": 3}', size_bytes=11, at=now)
    ImportErrorRow.objects.create(
        bundle_name="dags",
        file="broken.py",
        message="SyntaxError in line 3: invalid syntax.",
        traceback="Traceback …",
        first_seen_at=now,
        seen_at=now,
    )
    LoopStatus.objects.create(
        process="host:1", name="scheduler", version="0.1.0", state="running", started_at=now, seen_at=now, ticks=5
    )
    Lease.objects.create(name="scheduler", holder="host:1", expires_at=now + timedelta(seconds=10))
    Pool.objects.get_or_create(name="default_pool", defaults={"slots": 128})
    return attempt
