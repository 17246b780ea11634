"""LatestOnlyOperator: skips what is downstream in all runs but the latest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execplane.sdk import timetables
from execplane.sdk.operators.branch import BaseBranchOperator

if TYPE_CHECKING:
    from execplane.sdk.context import Context


class LatestOnlyOperator(BaseBranchOperator):
    """Follows all its downstream in the run whose successor is not due yet, and in runs started by hand."""

    ui_color = "#e9ffdb"

    def choose_branch(self, context: Context) -> Any:
        if context.dag_run.run_type == "manual":
            self.log.info("Started by hand: going on.")
            return sorted(self.downstream_task_ids)
        spec = context.timetable
        # An interval's run is the latest until the next interval, which starts at its end, has ended, too.
        start = context.run.data_interval_end if spec.semantics == "interval" else context.run.logical_date
        due = timetables.following(spec, start) if start is not None else None
        if due is None or context.clock.now() < due:
            return sorted(self.downstream_task_ids)
        self.log.info("Not the latest run (the next was due at %s): skipping.", due.isoformat())
        return []
