"""The sequential executor: the local one, one attempt at a time. For debugging DAGs, as in Airflow."""

from __future__ import annotations

from execplane.executors.local import LocalExecutor


class SequentialExecutor(LocalExecutor):
    """Has one slot, whatever the options say."""

    name = "sequential"

    def slots(self) -> int | None:
        return 1
