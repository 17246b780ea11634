"""`execplane dags test`: one run of a DAG in this process, decided by the scheduler's own `decide` over rows in memory.

No database, no server, nothing recorded. What differs from a real run is said in `run_dag_test`'s help.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Any

from execplane.cli.local_services import MemoryServices
from execplane.cli.output import Output, duration, harmless, remark, say, show_one, table
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import Conflict, InvalidInput
from execplane.contract.keys import TaskKey
from execplane.contract.messages import ClaimAnswer, RunContext, TaskContext
from execplane.contract.states import TASK_IN_FLIGHT, Cause, RunState, RunType, TaskState

if TYPE_CHECKING:
    from execplane.cli.local_files import FoundDag
    from execplane.scheduler.compiled import CompiledDag
    from execplane.scheduler.decide_view import Decision, Launch, TaskRow
    from execplane.sdk.execution import Outcome

_LONG_SECONDS = 7 * 86400.0


def run_dag_test(
    target: str,
    dag_id: str | None,
    conf: dict[str, Any],
    logical_date: datetime | None,
    mark_success: str | None,
    output: Output,
) -> bool:
    """Find the DAG, run it, print what came of it; gives whether the run succeeded."""
    from execplane.actions.params import merge_conf
    from execplane.cli.local_files import find_dag
    from execplane.config import current

    try:
        pattern = re.compile(mark_success) if mark_success else None
    except re.error as error:
        raise InvalidInput(f"{mark_success!r} is not a regular expression: {error}.") from None
    to_stderr = output is not Output.TABLE
    with contextlib.redirect_stdout(sys.stderr) if to_stderr else contextlib.nullcontext(), _logging():
        found = find_dag(current(), target, dag_id)
        run = LocalRun(found, merge_conf(found.spec.params, conf), logical_date, mark_success=pattern)
        state, reason = run.run()
    results = run.results()
    if to_stderr:
        answer = {"dag_id": found.spec.dag_id, "run_id": run.run_id, "state": str(state), "reason": reason}
        show_one({**answer, "tasks": results}, output)
    else:
        say("")
        rows = [[_name(r), r["state"], r["try_number"], duration(r["duration_seconds"]), r["reason"]] for r in results]
        say(table(["TASK", "STATE", "TRY", "TOOK", "REASON"], rows))
        say(f"The run ended: {state}." + (f" ({reason})" if reason else ""))
    return state is RunState.SUCCESS


def _name(result: dict[str, Any]) -> str:
    index = f"[{result['map_index']}]" if result["map_index"] >= 0 else ""
    return f"{result['task_id']}{index}"


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """Task logs, with known secrets hidden, where print() goes; as it was before at the end."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Masked("[%(asctime)s] %(levelname)s - %(message)s", datefmt="%H:%M:%S"))
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from execplane.sdk.masking import mask

        return harmless(mask(super().format(record)))


@dataclass(kw_only=True)
class _Timing:
    started_at: datetime
    ended_at: datetime
    reason: str


@dataclass
class LocalRun:
    """One run. `rows` are what the ledger would hold; `decide` moves them."""

    found: FoundDag
    conf: dict[str, Any]
    logical_date: datetime | None = None
    mark_success: re.Pattern[str] | None = None
    clock: Clock = field(default_factory=SystemClock)
    rows: dict[int, TaskRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from execplane.scheduler.compiled import compile_dag
        from execplane.scheduler.timetables import manual_interval
        from execplane.scheduler.timetables import run_id as make_run_id

        self.started_at = self.clock.now()
        moment = self.logical_date or self.started_at
        self.logical_date = moment
        self.interval = manual_interval(self.found.spec.timetable, moment)
        self.run_id = make_run_id(RunType.MANUAL, moment)
        self.compiled: CompiledDag = compile_dag(self.found.spec)
        self.services = MemoryServices(self.found.spec.dag_id, self.run_id, self.mapped_lengths)
        self.queue: deque[Launch] = deque()
        self.timings: dict[int, _Timing] = {}
        self.stopped = False

    def run(self) -> tuple[RunState, str]:
        """To the end: decide, do the next launch, decide again. Raises Conflict when nothing can go on."""
        from execplane.scheduler.decide import decide
        from execplane.scheduler.decide_view import RunView

        while True:
            view = RunView(
                dag=self.compiled,
                state=RunState.RUNNING,
                rows=list(self.rows.values()),
                logical_date=self.logical_date,
                start_time=self.started_at,
            )
            decision = decide(view, self.clock.now())
            self._apply(decision)
            if decision.run_state is not None:
                return decision.run_state, decision.run_reason
            if self.queue:
                self._attempt(self.queue.popleft())
            elif not decision.again:
                self._wait(decision)

    def _wait(self, decision: Decision) -> None:
        if decision.wake_at is None:
            held = ", ".join(f"{self.rows[pk].task_id} ({why.code})" for pk, why in decision.waiting.items())
            raise Conflict(f"The run cannot go on: {held or 'nothing is left to start'}.")
        seconds = (decision.wake_at - self.clock.now()).total_seconds()
        if 0 < seconds < _LONG_SECONDS:
            threading.Event().wait(seconds)

    def _apply(self, decision: Decision) -> None:
        from execplane.scheduler.decide_view import TaskRow

        for move in decision.moves:
            row = self.rows[move.ti_id]
            self.rows[move.ti_id] = replace(row, state=move.target)
            if move.reason:
                now = self.clock.now()
                self.timings[move.ti_id] = _Timing(started_at=now, ended_at=now, reason=move.reason)
        for expand in decision.expand:
            if expand.reindex is not None:
                self.rows[expand.reindex] = replace(self.rows[expand.reindex], map_index=0)
        for create in decision.create:
            pk = len(self.rows) + 1
            self.rows[pk] = TaskRow(id=pk, task_id=create.task_id, map_index=create.map_index, state=create.state)
        for launch in decision.launch:
            row = self.rows[launch.ti_id]
            self.rows[row.id] = replace(row, state=TaskState.QUEUED, try_number=launch.try_number, eligible_at=None)
            self.queue.append(launch)

    def mapped_lengths(self) -> dict[str, int]:
        """How many instances each mapped task has by now."""
        lengths: dict[str, int] = {}
        for row in self.rows.values():
            if row.map_index >= 0 and row.state is not TaskState.REMOVED:
                lengths[row.task_id] = lengths.get(row.task_id, 0) + 1
        return lengths

    def _attempt(self, launch: Launch) -> None:
        from execplane.sdk.execution import execute

        row = self.rows[launch.ti_id]
        if row.state not in TASK_IN_FLIGHT:
            return  # The run moved it on meanwhile (fail_fast, a timeout).
        key = TaskKey(dag_id=self.found.spec.dag_id, run_id=self.run_id, task_id=row.task_id, map_index=row.map_index)
        started = self.clock.now()
        if self.mark_success is not None and self.mark_success.search(row.task_id):
            remark(f"-- {key.task_id}: not run, counts as success")
            self._set(row, TaskState.SUCCESS, started, "not run: --mark-success")
            return
        attempt_no = row.attempt_no + 1
        self.rows[row.id] = row = replace(row, state=TaskState.RUNNING, attempt_no=attempt_no)
        if launch.cause is not Cause.RESCHEDULE:
            self.services.forget(row.task_id, row.map_index)
        self.services.own = (row.task_id, row.map_index)
        remark(f"-- {_name({'task_id': row.task_id, 'map_index': row.map_index})}: try {row.try_number}")
        with self._interruptible():
            outcome = execute(self.found.dag, key, self._claim(row), self.services, clock=self.clock, test_mode=True)
        self._end(row, outcome, started)
        if self.stopped:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the task the way a SIGTERM does: with on_kill."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            from execplane.sdk.exceptions import AirflowTaskTerminated

            self.stopped = True
            raise AirflowTaskTerminated("Ctrl-C")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _claim(self, row: TaskRow) -> ClaimAnswer:
        from execplane.executors.verdict import max_tries

        spec = self.compiled.task(row.task_id).spec
        now = self.clock.now()
        return ClaimAnswer(
            token="",
            token_expires_at=now,
            heartbeat_seconds=10,
            self_fence_seconds=600,
            grace_seconds=30,
            dag_file=self.found.spec.file,
            bundle="",
            run=RunContext(
                run_type=RunType.MANUAL,
                logical_date=self.logical_date,
                data_interval_start=self.interval[0],
                data_interval_end=self.interval[1],
                run_after=self.started_at,
                queued_at=self.started_at,
                started_at=self.started_at,
                conf=self.conf,
                triggered_by="dags test",
            ),
            task=TaskContext(
                try_number=row.try_number,
                max_tries=max_tries(spec, try_number=row.try_number, author_failures=row.author_failures),
                pool=spec.pool,
                queue=spec.queue,
                first_started_at=self._first_start(row, now),
                mapped_lengths=self.mapped_lengths(),
            ),
        )

    def _first_start(self, row: TaskRow, now: datetime) -> datetime:
        """Of this try: a sensor that is called again counts its timeout from its first call."""
        timing = self.timings.get(row.id)
        return timing.started_at if timing is not None and row.next_cause is Cause.RESCHEDULE else now

    def _end(self, row: TaskRow, outcome: Outcome, started: datetime) -> None:
        self.services.keep(row.task_id, row.map_index, outcome.xcoms)
        reason = outcome.reason
        if outcome.outcome == "success":
            has_return = any(value.key == "return_value" for value in outcome.xcoms)
            row = replace(row, skips=frozenset(outcome.skip), map_length=outcome.map_length, has_return=has_return)
            self._set(row, TaskState.SUCCESS, started, reason)
        elif outcome.outcome == "skipped":
            self._set(row, TaskState.SKIPPED, started, reason)
        elif outcome.outcome == "reschedule":
            first = self._first_start(row, started)
            row = replace(row, next_cause=Cause.RESCHEDULE, eligible_at=outcome.reschedule_at)
            self._set(row, TaskState.UP_FOR_RESCHEDULE, first, reason)
        else:
            self._failed(row, outcome, started)

    def _failed(self, row: TaskRow, outcome: Outcome, started: datetime) -> None:
        spec = self.compiled.task(row.task_id).spec
        row = replace(row, author_failures=row.author_failures + 1, next_cause=Cause.RETRY)
        again = outcome.outcome in ("failed", "timeout") and row.author_failures <= spec.retries
        state = TaskState.UP_FOR_RETRY if again else TaskState.FAILED
        self._set(row, state, started, outcome.reason)

    def _set(self, row: TaskRow, state: TaskState, started: datetime, reason: str) -> None:
        self.rows[row.id] = replace(row, state=state)
        self.timings[row.id] = _Timing(started_at=started, ended_at=self.clock.now(), reason=reason)

    def results(self) -> list[dict[str, Any]]:
        """A line per task instance, in the order of the DAG."""
        found = []
        order = self.compiled.index
        for row in sorted(self.rows.values(), key=lambda row: (order[row.task_id], row.map_index)):
            timing = self.timings.get(row.id)
            found.append(
                {
                    "task_id": row.task_id,
                    "map_index": row.map_index,
                    "state": str(row.state),
                    "try_number": row.try_number,
                    "duration_seconds": (
                        (timing.ended_at - timing.started_at).total_seconds() if timing and row.attempt_no else None
                    ),
                    "reason": timing.reason if timing else "",
                }
            )
        return found
