"""`airflow.utils.dates`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from execplane.contract.clock import SystemClock


def days_ago(n: int, hour: int = 0, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    """Midnight UTC (or the given time), n days ago. It moves each day, and with it the DAG's version."""
    today = SystemClock().now().astimezone(UTC)
    start = today.replace(hour=hour, minute=minute, second=second, microsecond=microsecond)
    return start - timedelta(days=n)
