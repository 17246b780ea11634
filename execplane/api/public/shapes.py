"""Rows of the ledger in Airflow's REST shapes. Times are RFC 3339 in UTC; a state "none" is null, as in Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from execplane.contract.keys import TaskKey
from execplane.store.queries.dags import DagRow
from execplane.store.queries.runs import RunRow
from execplane.store.queries.tasks import TaskRow


def dag(row: DagRow) -> dict[str, Any]:
    return {
        "dag_id": row.dag_id,
        "dag_display_name": row.display_name or row.dag_id,
        "description": row.description or None,
        "is_paused": row.paused,
        "is_active": row.active,
        "owners": [owner.strip() for owner in row.owners.split(",") if owner.strip()],
        "tags": [{"name": tag} for tag in row.tags],
        "timetable_description": row.schedule or None,
        "fileloc": row.file,
        "bundle_name": row.bundle_name,
        "version_number": row.version_number,
        "max_active_runs": row.max_active_runs,
        "last_parsed_time": row.parsed_at,
        "next_dagrun": row.next_logical_date,
        "next_dagrun_create_after": row.next_run_at,
        "next_dagrun_data_interval_start": row.next_interval_start,
        "next_dagrun_data_interval_end": row.next_interval_end,
    }


def dag_run(row: RunRow) -> dict[str, Any]:
    return {
        "dag_id": row.dag_id,
        "dag_run_id": row.run_id,
        "run_type": row.run_type,
        "state": row.state,
        "logical_date": row.logical_date,
        "data_interval_start": row.data_interval_start,
        "data_interval_end": row.data_interval_end,
        "run_after": row.run_after,
        "queued_at": row.queued_at,
        "start_date": row.started_at,
        "end_date": row.ended_at,
        "external_trigger": row.run_type == "manual",
        "triggered_by": row.triggered_by,
        "dag_version": row.version_number,
        "conf": dict(row.conf),
        "reason": row.reason,
    }


def task_instance(row: TaskRow, run: RunRow) -> dict[str, Any]:
    duration = (row.ended_at - row.started_at).total_seconds() if row.started_at and row.ended_at else None
    return {
        "task_id": row.task_id,
        "map_index": row.map_index,
        "dag_id": run.dag_id,
        "dag_run_id": run.run_id,
        "logical_date": run.logical_date,
        "state": None if row.state == "none" else row.state,
        "try_number": row.try_number,
        "attempt_no": row.attempt_no,
        "start_date": row.started_at,
        "end_date": row.ended_at,
        "duration": duration,
        "rendered_map_index": row.map_label or None,
        "note": row.note or None,
        "reason": row.reason,
    }


def task_references(keys: Sequence[TaskKey]) -> dict[str, Any]:
    """What a verb hits or has hit: in as many runs as it likes, so only their names."""
    return {
        "task_instances": [
            {"dag_id": key.dag_id, "dag_run_id": key.run_id, "task_id": key.task_id, "map_index": key.map_index}
            for key in keys
        ],
        "total_entries": len(keys),
    }
