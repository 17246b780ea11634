"""A ledger in memory that does with decisions and verdicts what the store does: for simulated runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from execplane.contract.messages import End
from execplane.contract.observations import Diagnosis, Gone
from execplane.contract.states import (
    TASK_EDGES,
    TASK_ENDED,
    TASK_IN_FLIGHT,
    AttemptState,
    Cause,
    RunState,
    TaskState,
)
from execplane.executors.task_policy import TaskPolicy
from execplane.executors.verdict import verdict
from execplane.scheduler.compiled import CompiledDag
from execplane.scheduler.decide import decide
from execplane.scheduler.decide_view import Decision, RunView, TaskRow
from tests.unit.scheduler.oracle import Instance


class Ledger:
    def __init__(self, dag: CompiledDag, now: datetime) -> None:
        self.logical_date = now
        self.dag = dag
        self.now = now
        self.state = RunState.RUNNING
        self.rows: dict[int, TaskRow] = {}
        self.launches: set[tuple[int, int]] = set()

    def settle(self) -> Decision:
        """Decide and apply until nothing is new; checks that a settled run stays settled."""
        for _ in range(20):
            decision = self.decide()
            self.apply(decision)
            if not decision.again:
                break
        else:
            raise AssertionError("the run does not settle")
        if self.state is RunState.RUNNING:
            assert self.decide().empty, "a settled run was decided otherwise the second time"
        return decision

    def decide(self) -> Decision:
        view = RunView(dag=self.dag, state=self.state, rows=list(self.rows.values()), logical_date=self.logical_date)
        return decide(view, self.now)

    def apply(self, decision: Decision) -> None:
        for move in decision.moves:
            row = self.rows[move.ti_id]
            assert row.state is move.source
            assert move.target in TASK_EDGES[row.state], f"{row.state} -> {move.target}"
            assert move.stop == (row.state in TASK_IN_FLIGHT)
            self.rows[row.id] = replace(row, state=move.target, has_return=False)
        for expand in decision.expand:
            if expand.reindex is not None:
                self.rows[expand.reindex] = replace(self.rows[expand.reindex], map_index=0)
        for create in decision.create:
            number = len(self.rows) + 1
            self.rows[number] = TaskRow(
                id=number,
                task_id=create.task_id,
                map_index=create.map_index,
                state=create.state,
                has_return=False,
            )
        keys = [(row.task_id, row.map_index) for row in self.rows.values()]
        assert len(keys) == len(set(keys)), "two instances of one key"
        for launch in decision.launch:
            row = self.rows[launch.ti_id]
            assert row.state is launch.source
            assert TaskState.QUEUED in TASK_EDGES[row.state]
            assert (row.id, row.attempt_no + 1) not in self.launches
            self.launches.add((row.id, row.attempt_no + 1))
            self.rows[row.id] = replace(
                row,
                state=TaskState.QUEUED,
                attempt_no=row.attempt_no + 1,
                try_number=launch.try_number,
                eligible_at=None,
            )
        if decision.run_state is not None:
            self.state = decision.run_state

    def in_flight(self) -> list[TaskRow]:
        return [row for row in self.rows.values() if row.state in TASK_IN_FLIGHT]

    def end(self, row: TaskRow, report: End | None, fate: Gone | None, *, returned: bool = True) -> None:
        spec = self.dag.task(row.task_id).spec
        policy = TaskPolicy(
            attempt_state=AttemptState.RUNNING,
            task_state=TaskState.RUNNING,
            key=str(row.id),
            retries=spec.retries,
            retry_delay_seconds=spec.retry_delay_seconds,
            author_failures=row.author_failures,
            infra_failures=row.infra_failures,
        )
        ended = verdict(report, fate, None, policy, self.now)
        assert ended is not None
        assert ended.task_state is not None
        assert ended.task_state in TASK_EDGES[TaskState.RUNNING]
        self.rows[row.id] = replace(
            row,
            state=ended.task_state,
            author_failures=ended.author_failures,
            infra_failures=ended.infra_failures,
            eligible_at=ended.eligible_at,
            next_cause=ended.next_cause or Cause.RETRY,
            skips=frozenset(ended.skips),
            map_length=ended.map_length,
            has_return=returned,
        )

    def clear(self, task_id: str) -> None:
        """What ended of the task and of everything after it is to run again."""
        ids = {task_id}
        for task in self.dag.tasks:
            if any(self.dag.tasks[up].task_id in ids for up in task.upstream):
                ids.add(task.task_id)
        for row in self.rows.values():
            if row.task_id in ids and row.state in TASK_ENDED - {TaskState.REMOVED}:
                self.rows[row.id] = replace(
                    row,
                    state=TaskState.NONE,
                    skips=frozenset(),
                    map_length=None,
                    has_return=False,
                    author_failures=0,
                    infra_failures=0,
                )
        self.state = RunState.RUNNING

    def for_oracle(self) -> dict[tuple[str, int], Instance]:
        return {
            (row.task_id, row.map_index): Instance(
                state=str(row.state),
                eligible_at=row.eligible_at,
                skips=row.skips,
                map_length=row.map_length,
                has_return=row.has_return,
            )
            for row in self.rows.values()
            if row.state is not TaskState.REMOVED
        }


def gone(*, exit_code: int = 1, infrastructure: bool = False) -> Gone:
    return Gone(
        attempt_id=1,
        uid="u",
        at=datetime.max,
        diagnosis=Diagnosis(
            category="exit_code", sentence="It died.", exit_code=exit_code, infrastructure=infrastructure
        ),
    )
