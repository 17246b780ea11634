"""What happens next in a run: one pure function from the run's rows to moves, launches and the run's end.

One pass in topological order reaches the fixpoint: whatever a task's verdict is, only tasks after it depend on it.
Every rule decides once all upstream instances are done, so a run whose attempts all end ends itself; only an earlier
run (depends_on_past) and a pause can hold it. Airflow's behaviour, with the corner cases it got from use:

- The first verdict sticks: an ended instance moves only when somebody clears or marks it.
- A task without parents ignores its rule. A task that a branch drops is skipped at once, whatever its rule, except
  under "always".
- Instances of tasks outside their own start_date/end_date are not made, and do not count for those downstream.
- The run's end is told by its effective leaves (`compiled.effective_leaves`) once nothing is unfinished.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from execplane.contract.keys import NOT_MAPPED
from execplane.contract.states import TASK_ENDED, TASK_IN_FLIGHT, Cause, RunState, TaskState, TriggerRule
from execplane.scheduler.compiled import CompiledDag, CompiledTask, effective_leaves
from execplane.scheduler.decide_past import past_is_fine, past_needed
from execplane.scheduler.decide_view import Create, Decision, Expand, Launch, Move, RunView, TaskRow, Waiting
from execplane.scheduler.mapping import (
    NOTHING_TO_MAP,
    SCHEDULABLE,
    expansion,
    literal_length,
    mapped_length,
    produced_length,
)
from execplane.scheduler.trigger_rules import Ruling, Tally, rule

__all__ = ["decide", "initial_rows", "past_needed"]

_NEW_TRY = frozenset({Cause.FIRST, Cause.RETRY, Cause.CLEAR})


def decide(view: RunView, now: datetime) -> Decision:
    """The next step of a running run; nothing for a run that is queued or has ended.

    Starting a queued run (max_active_runs), pools, max_active_tasks and max_active_tis_per_dag are not decided
    here: they depend on other runs.
    """
    if view.state is not RunState.RUNNING:
        return Decision()
    timeout = view.dag.spec.dagrun_timeout_seconds
    deadline = None
    if timeout is not None and view.start_time is not None and not view.paused:
        deadline = view.start_time + timedelta(seconds=timeout)
        if deadline <= now:
            return _timed_out(view, timeout)
    return _Pass(view, now, deadline).decision()


def initial_rows(dag: CompiledDag, logical_date: datetime | None) -> tuple[Create, ...]:
    """The instances that a new run begins with; `decide` would ask for the same ones."""
    return tuple(
        create for task in dag.tasks if not _outside_dates(task, logical_date) for create in _new_instances(task)
    )


def _timed_out(view: RunView, timeout_seconds: float) -> Decision:
    """The run fails, and everything unfinished is skipped (Airflow's way with dagrun_timeout)."""
    reason = f"the run took longer than its timeout of {timedelta(seconds=timeout_seconds)}"
    moves = tuple(
        Move(
            ti_id=row.id,
            source=row.state,
            # Its attempt is being stopped for a clear already, and a restart is no skip.
            target=TaskState.FAILED if row.state is TaskState.RESTARTING else TaskState.SKIPPED,
            reason=reason,
            stop=row.state in TASK_IN_FLIGHT,
        )
        for row in view.rows
        if row.state not in TASK_ENDED
    )
    return Decision(moves=moves, run_state=RunState.FAILED, run_reason=reason)


def _outside_dates(task: CompiledTask, logical_date: datetime | None) -> bool:
    if logical_date is None:
        return False
    start, end = task.spec.start_date, task.spec.end_date
    return (start is not None and logical_date < start) or (end is not None and logical_date > end)


def _new_instances(task: CompiledTask) -> list[Create]:
    length = literal_length(task.spec.mapped) if task.spec.mapped is not None else None
    if length is None or length < 1:
        return [Create(task_id=task.task_id)]
    return [Create(task_id=task.task_id, map_index=index) for index in range(length)]


class _Pass:
    """One pass over one run. Tallies are kept per task as they stand after this pass's moves."""

    def __init__(self, view: RunView, now: datetime, deadline: datetime | None) -> None:
        self.view = view
        self.now = now
        self.dag = view.dag
        self.create: list[Create] = []
        self.expand: list[Expand] = []
        self.moves: list[Move] = []
        self.launches: list[Launch] = []
        self.moved: dict[int, TaskState] = {}
        self.waiting: dict[int, Waiting] = {}
        self.wakes: list[datetime] = [] if deadline is None else [deadline]
        self.tallies: list[Tally | None] = [None] * len(view.dag.tasks)
        self.group_tallies: dict[int, Tally] = {}
        self.group_waits: dict[tuple[int, TriggerRule], Waiting] = {}
        self.rows: defaultdict[str, list[TaskRow]] = defaultdict(list)
        self.dropped: dict[str, str] = {}
        for row in view.rows:
            self.rows[row.task_id].append(row)
            if row.skips and row.state is TaskState.SUCCESS:
                self.dropped.update(dict.fromkeys(row.skips, row.task_id))

    def decision(self) -> Decision:
        stopping = self.dag.spec.fail_fast and any(row.state is TaskState.FAILED for row in self.view.rows)
        for task in self.dag.tasks:
            rows = self.rows.get(task.task_id)
            if rows is None:
                self._without_rows(task)
            elif stopping and not task.spec.is_teardown:
                self._fail_fast(task, rows)
            else:
                self._with_rows(task, rows)
        strangers_alive = self._remove_strangers()
        run_state, reason = (None, "") if strangers_alive else self._run_end()
        return Decision(
            create=tuple(self.create),
            expand=tuple(self.expand),
            moves=tuple(self.moves),
            launch=tuple(self.launches),
            run_state=run_state,
            run_reason=reason,
            wake_at=min(self.wakes, default=None) if run_state is None else None,
            waiting=self.waiting,
        )

    # One task

    def _without_rows(self, task: CompiledTask) -> None:
        if _outside_dates(task, self.view.logical_date):
            return
        creates = _new_instances(task)
        self.create.extend(creates)
        self._count(task, [TaskState.NONE] * len(creates))

    def _with_rows(self, task: CompiledTask, rows: list[TaskRow]) -> None:
        todo: list[TaskRow] = []
        states: list[TaskState] = []
        for row in rows:
            if row.state in SCHEDULABLE:
                todo.append(row)
            elif row.state is not TaskState.REMOVED:
                states.append(row.state)
        if not todo and not states:
            # All of it was removed, and the task is back in this version.
            states = self._move_all(rows, TaskState.NONE, "the task is in the DAG again")
        if todo:
            states += self._schedule(task, rows, todo)
        self._count(task, states)

    def _fail_fast(self, task: CompiledTask, rows: list[TaskRow]) -> None:
        """Another task failed: what has not started is skipped, what runs fails, restarts are left to end."""
        reason = "fail_fast: another task of the run failed"
        states = []
        for row in rows:
            state = row.state
            if state is TaskState.RUNNING:
                state = TaskState.FAILED
            elif state in SCHEDULABLE or state is TaskState.QUEUED:
                state = TaskState.SKIPPED
            if state is not row.state:
                self._move(row, state, reason, stop=row.state in TASK_IN_FLIGHT)
            if state is not TaskState.REMOVED:
                states.append(state)
        self._count(task, states)

    def _schedule(self, task: CompiledTask, rows: list[TaskRow], todo: list[TaskRow]) -> list[TaskState]:
        """Rule over the instances that may be scheduled; gives the states they have afterwards."""
        if task.task_id in self.dropped and task.rule is not TriggerRule.ALWAYS:
            return self._move_all(todo, TaskState.SKIPPED, f"{self.dropped[task.task_id]} does not choose it")
        ruling, wait = self._ruling(task)
        if ruling is Ruling.SKIP:
            return self._move_all(todo, TaskState.SKIPPED, f"trigger rule {task.rule}")
        if ruling is Ruling.UPSTREAM_FAILED:
            return self._move_all(todo, TaskState.UPSTREAM_FAILED, f"trigger rule {task.rule}")
        if wait is None:
            wait = self._held_back(task)
        if wait is None and task.spec.mapped is not None:
            return self._schedule_mapped(task, rows, todo)
        if wait is not None:
            return self._wait_all(todo, wait)
        return self._start(task, rows, todo)

    def _ruling(self, task: CompiledTask) -> tuple[Ruling, Waiting | None]:
        ruling = rule(task.rule, self._upstream(task))
        if ruling is Ruling.RUN or ruling is Ruling.WAIT:
            # What it is mapped over never came to be: that decides under every rule.
            ruling = self._broken_producers(task) or ruling
        return ruling, self._upstream_wait(task) if ruling is Ruling.WAIT else None

    def _broken_producers(self, task: CompiledTask) -> Ruling | None:
        found: Ruling | None = None
        for index in task.producers:
            for row in self.rows.get(self.dag.tasks[index].task_id, ()):
                state = self._state(row)
                if row.map_index == NOT_MAPPED and state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED):
                    return Ruling.UPSTREAM_FAILED
                if row.map_index == NOT_MAPPED and state is TaskState.SKIPPED:
                    found = Ruling.SKIP
        return found

    def _held_back(self, task: CompiledTask) -> Waiting | None:
        """What holds all instances of a task whose rule is met."""
        if self.view.paused:
            return Waiting(code="paused")
        if task.needs_past and not past_is_fine(self.dag, task, self.view.past):
            past = self.view.past
            date = past.logical_date if past is not None else None
            return Waiting(code="past", data={"logical_date": date.isoformat() if date else None})
        return None

    def _schedule_mapped(self, task: CompiledTask, rows: list[TaskRow], todo: list[TaskRow]) -> list[TaskState]:
        assert task.spec.mapped is not None
        length = mapped_length(task.spec.mapped, self._produced)
        if length is None:
            unknown = [self.dag.tasks[i].task_id for i in task.producers if self._produced_by(i) is None]
            return self._wait_all(todo, Waiting(code="expansion", data={"tasks": unknown[:10]}))
        if length == NOTHING_TO_MAP:
            bad = [self.dag.tasks[i].task_id for i in task.producers if self._produced_by(i) == NOTHING_TO_MAP]
            reason = f"what {', '.join(bad) or 'it expands over'} returned is neither a list nor a dict"
            return self._move_all(todo, TaskState.UPSTREAM_FAILED, reason)
        change = expansion(task.task_id, rows, length)
        self.expand.extend(change.expand)
        self.create.extend(change.create)
        self.moves.extend(change.moves)
        targets = {move.ti_id: move.target for move in change.moves}
        self.moved.update(targets)
        # New, re-indexed and restored instances start in the next pass, with their rows as they are then.
        changed = {*targets, *(expand.reindex for expand in change.expand)}
        states = [create.state for create in change.create]
        states += [TaskState.NONE for expand in change.expand if expand.reindex is not None]
        states += [state for state in targets.values() if state is not TaskState.REMOVED]
        return states + self._start(task, rows, [row for row in todo if row.id not in changed])

    def _produced(self, task_id: str) -> int | None:
        return self._produced_by(self.dag.index[task_id])

    def _produced_by(self, index: int) -> int | None:
        task = self.dag.tasks[index]
        tally = self.tallies[index]
        if tally is None:
            return NOTHING_TO_MAP  # It has no instance in this run, and will have none.
        if not tally.done:
            return None
        return produced_length([(row, self._state(row)) for row in self.rows[task.task_id]])

    def _start(self, task: CompiledTask, rows: list[TaskRow], todo: list[TaskRow]) -> list[TaskState]:
        limit = task.spec.max_active_tis_per_dagrun
        room = len(todo)
        if limit is not None:
            room = limit - sum(1 for row in rows if row.state in TASK_IN_FLIGHT)
        states = []
        for row in sorted(todo, key=_by_map_index) if len(todo) > 1 else todo:
            state = row.state
            if row.eligible_at is not None and row.eligible_at > self.now:
                self.wakes.append(row.eligible_at)
                data = {"until": row.eligible_at.isoformat(), "cause": str(row.next_cause)}
                self.waiting[row.id] = Waiting(code="eligible_at", data=data)
            elif task.spec.kind == "empty":
                state = TaskState.SUCCESS
                self._move(row, state, "")
            elif room <= 0:
                self.waiting[row.id] = Waiting(code="max_active_tis_per_dagrun", data={"limit": limit})
            else:
                room -= 1
                state = TaskState.QUEUED
                self.launches.append(_launch(row))
            states.append(state)
        return states

    # Bookkeeping

    def _move(self, row: TaskRow, target: TaskState, reason: str, *, stop: bool = False) -> None:
        self.moves.append(Move(ti_id=row.id, source=row.state, target=target, reason=reason, stop=stop))
        self.moved[row.id] = target

    def _state(self, row: TaskRow) -> TaskState:
        """As it stands after this pass's moves."""
        return self.moved.get(row.id, row.state)

    def _move_all(self, todo: list[TaskRow], target: TaskState, reason: str) -> list[TaskState]:
        for row in todo:
            self._move(row, target, reason)
        return [target] * len(todo)

    def _wait_all(self, todo: list[TaskRow], wait: Waiting) -> list[TaskState]:
        self.waiting.update((row.id, wait) for row in todo)
        return [row.state for row in todo]

    def _count(self, task: CompiledTask, states: Sequence[TaskState]) -> None:
        tally = Tally(total=len(states))
        for state in states:
            if state is TaskState.SUCCESS:
                tally.success += 1
            elif state is TaskState.SKIPPED:
                tally.skipped += 1
            elif state is TaskState.FAILED:
                tally.failed += 1
            elif state is TaskState.UPSTREAM_FAILED:
                tally.upstream_failed += 1
        if task.spec.is_setup:
            tally.setups, tally.setups_success, tally.setups_skipped = tally.total, tally.success, tally.skipped
        self.tallies[task.index] = tally

    def _upstream(self, task: CompiledTask) -> Tally:
        known = self.group_tallies.get(task.upstream_group)
        if known is None:
            known = Tally()
            for index in task.upstream:
                tally = self.tallies[index]
                if tally is not None:
                    known.add(tally)
            self.group_tallies[task.upstream_group] = known
        return known

    def _upstream_wait(self, task: CompiledTask) -> Waiting:
        key = (task.upstream_group, task.rule)
        known = self.group_waits.get(key)
        if known is None:
            unfinished = [
                self.dag.tasks[index].task_id
                for index in task.upstream
                if (tally := self.tallies[index]) is not None and not tally.done
            ]
            data: dict[str, Any] = {"rule": str(task.rule), "unfinished": len(unfinished), "tasks": unfinished[:10]}
            known = self.group_waits[key] = Waiting(code="upstream", data=data)
        return known

    # The run

    def _remove_strangers(self) -> bool:
        """Rows of tasks that this version does not have; True while an attempt of one may be alive."""
        alive = False
        for task_id, rows in self.rows.items():
            if task_id in self.dag.index:
                continue
            for row in rows:
                if row.state in SCHEDULABLE:
                    self._move(row, TaskState.REMOVED, "the task is not in this version of the DAG")
                alive = alive or row.state in TASK_IN_FLIGHT
        return alive

    def _run_end(self) -> tuple[RunState | None, str]:
        if any(tally is not None and not tally.done for tally in self.tallies):
            return None, ""
        leaves: Iterable[int] = self.dag.leaves
        if None in self.tallies:
            present = frozenset(index for index, tally in enumerate(self.tallies) if tally is not None)
            leaves = effective_leaves(self.dag.tasks, present)
        lost = [
            index
            for index in leaves
            if (tally := self.tallies[index]) is not None and (tally.failed or tally.upstream_failed)
        ]
        if not lost:
            return RunState.SUCCESS, ""
        failed = self._behind(lost)
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        return RunState.FAILED, f"failed: {', '.join(failed[:5])}{more}"

    def _behind(self, lost: Sequence[int]) -> list[str]:
        """The tasks that failed themselves, of these and all that lie before them; these, where none did."""
        seen, todo = set(lost), list(lost)
        while todo:
            before = [index for index in self.dag.tasks[todo.pop()].upstream if index not in seen]
            seen.update(before)
            todo += before
        failed = [index for index in sorted(seen) if (tally := self.tallies[index]) is not None and tally.failed]
        return [self.dag.tasks[index].task_id for index in failed or lost]


def _by_map_index(row: TaskRow) -> int:
    return row.map_index


def _launch(row: TaskRow) -> Launch:
    cause = row.next_cause
    if row.state is TaskState.NONE:
        cause = Cause.FIRST if row.attempt_no == 0 else Cause.CLEAR
    return Launch(
        ti_id=row.id,
        task_id=row.task_id,
        map_index=row.map_index,
        source=row.state,
        cause=cause,
        try_number=row.try_number + (cause in _NEW_TRY),
    )
