"""Each query on a growing table uses the index that is there for it.

The tables are small here, so PostgreSQL is told not to scan them (enable_seqscan off): what is shown is that the
query can be answered by the index at all, which a changed condition or order would end. SQLite plans by itself, and
for the attempts, which are many, it takes the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execplane.store import drift_rows, hold_rows, launch_hold_rows, launch_rows, run_rows
from execplane.store.database import is_postgresql
from execplane.store.earlier_attempts import earlier_attempts
from execplane.store.launch_rows import Candidate
from execplane.store.models import Attempt, AttemptEvent
from execplane.store.queries import pending
from execplane.store.retention import forget_flight_records
from execplane.store.transitions import launching, runs
from tests.integration.store.conftest import Ledger

ENDED = ["success", "failed", "skipped", "rescheduled", "cancelled"]
NOW = datetime.fromisoformat("2026-03-01T12:00:00+00:00")

QUEUED = Candidate(
    attempt_id=5,
    dag_id="orders",
    task_id="extract",
    pool="default_pool",
    slots=1,
    priority=1,
    max_per_dag=None,
    not_claimed_reason="",
)


def take_due_run() -> None:
    with runs.lock_due_run(NOW):
        pass


READS: dict[str, tuple[Callable[[], Any], str]] = {
    "candidates": (lambda: launch_rows.candidates("local", limit=10), "attempt_active"),
    "any queued": (lambda: launch_rows.any_queued("local"), "attempt_active"),
    "in hand": (lambda: launch_rows.in_hand("local"), "attempt_active"),
    "in hand, to compare": (lambda: drift_rows.believed_in_hand("local", after_id=0, limit=10), "attempt_active"),
    "stopping": (lambda: launch_rows.stopping("local"), "attempt_active"),
    "due again": (
        lambda: launching.due_again("local", now=NOW, older_than=timedelta(seconds=60)),
        "attempt_active",
    ),
    "to clean": (lambda: launch_rows.to_clean("local", now=NOW), "attempt_to_clean"),
    "earlier attempts": (lambda: earlier_attempts([1, 2]), "attempt_once"),
    "instances of a run": (lambda: run_rows.instances(1), "task_instance_once"),
    "runs to decide": (take_due_run, "dagrun_to_decide"),
    "next decision": (runs.next_due_at, "dagrun_to_decide"),
    "active runs": (lambda: run_rows.any_active_run("orders"), "dagrun_active"),
    "due DAGs": (lambda: run_rows.next_due_dag_at(NOW), "dag_due"),
    "DAGs to plan": (lambda: run_rows.dags_to_plan(limit=10), "dag_replan"),
    "one attempt's story": (
        lambda: list(AttemptEvent.objects.filter(attempt_id=1).order_by("seq")),
        "attempt_event_story",
    ),
    "held containers": (lambda: hold_rows.held("local", now=NOW, limit=20), "attempt_to_clean"),
    "launch holds": (lambda: launch_hold_rows.active(NOW), "launch_hold_open"),
    "DAGs with a held tag": (lambda: launch_hold_rows.tagged(["nightly"]), "dag_tag_name"),
    "holders of a pool": (lambda: pending.holders(pool="default_pool"), "attempt_active"),
    "holders of all": (lambda: pending.holders(), "attempt_active"),
    "ahead in the queue": (lambda: pending.ahead("local", QUEUED), "attempt_active"),
    "running runs": (lambda: pending.running_runs("orders"), "dagrun_active"),
    "old flight records": (lambda: forget_flight_records(before=NOW, limit=10), "flight_record_age"),
    "one DAG's attempts": (
        lambda: list(Attempt.objects.filter(dag_id="a", state__in=ENDED).order_by("-id")[:50]),
        "attempt_dag",
    ),
}


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        if is_postgresql():
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            # As if never analysed: what another test's ANALYZE said of its rows outlives that test's rollback.
            cursor.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname LIKE 'execplane_%'")
        cursor.execute(f"EXPLAIN {'' if is_postgresql() else 'QUERY PLAN '}{sql}")
        return "\n".join(str(row) for row in cursor.fetchall())


# Elsewhere SQLite takes another index of the same columns, or (in hand, once a start) walks by id.
ON_SQLITE = {"candidates", "any queued", "stopping", "due again", "to clean"}
CLAIMED = [name for name in READS if is_postgresql() or name in ON_SQLITE]


@pytest.mark.parametrize("name", CLAIMED)
def test_a_read_of_a_growing_table_uses_its_index(ledger: Ledger, name: str) -> None:
    read, index = READS[name]
    with CaptureQueriesContext(connection) as captured:
        read()

    selects = [query["sql"] for query in captured.captured_queries if query["sql"].startswith("SELECT")]

    plan = plan_of(selects[0])
    assert index in plan, f"{selects[0]}\n{plan}"
