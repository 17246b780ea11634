"""The slow, obvious oracle: what must hold once a run is settled, by recursion over definitions.

It knows nothing of how `decide` works: no order, no counts, no passes. It asks for each task what its instances are,
and for that asks the same of everything upstream; rules are written as sentences over lists of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from execplane.contract.dag import DagSpec, TaskSpec

ENDED = {"success", "failed", "skipped", "upstream_failed"}
FAILED = {"failed", "upstream_failed"}
MAY_START = {"none", "up_for_retry", "up_for_reschedule"}
ALIVE = {"queued", "running", "restarting"}


@dataclass(frozen=True)
class Instance:
    state: str
    eligible_at: datetime | None = None
    skips: frozenset[str] = frozenset()
    map_length: int | None = None
    has_return: bool = True


def by_rule(rule: str, upstream: list[str], setups: Sequence[str] = ()) -> str:
    """ "run", "wait", "skipped" or "upstream_failed"; `upstream` holds a state per upstream instance, `setups`
    those of them again that are setups."""
    ended = all(state in ENDED for state in upstream)
    succeeded = [state for state in upstream if state == "success"]
    broken = [state for state in upstream if state in FAILED]
    skipped = [state for state in upstream if state == "skipped"]
    if not upstream or rule == "always":
        return "run"
    if rule == "all_success":
        return _first((broken, "upstream_failed"), (skipped, "skipped"), (ended, "run"))
    if rule == "all_failed":
        return _first((succeeded or skipped, "skipped"), (ended, "run"))
    if rule == "all_done":
        return _first((ended, "run"))
    if rule == "all_done_setup_success":
        return _first(
            (not ended, "wait"),
            (not setups or "success" in setups, "run"),
            (all(state == "skipped" for state in setups), "skipped"),
            (True, "upstream_failed"),
        )
    if rule == "all_done_min_one_success":
        return _first((skipped, "skipped"), (ended and succeeded, "run"), (ended, "upstream_failed"))
    if rule == "all_skipped":
        return _first((succeeded or broken, "skipped"), (ended, "run"))
    if rule == "one_success":
        return _first(
            (succeeded, "run"),
            (ended and len(skipped) == len(upstream), "skipped"),
            (ended, "upstream_failed"),
        )
    if rule == "one_failed":
        return _first((broken, "run"), (ended, "skipped"))
    if rule == "one_done":
        return _first((succeeded or "failed" in upstream, "run"), (ended, "skipped"))
    if rule == "none_failed":
        return _first((broken, "upstream_failed"), (ended, "run"))
    if rule == "none_failed_min_one_success":
        return _first((broken, "upstream_failed"), (ended and not succeeded, "skipped"), (ended, "run"))
    if rule == "none_skipped":
        return _first((skipped, "skipped"), (ended, "run"))
    raise AssertionError(f"the oracle does not know {rule}")


def _first(*cases: tuple[object, str]) -> str:
    return next((answer for condition, answer in cases if condition), "wait")


class Oracle:
    """`have`: (task id, map index) -> instance, removed ones left out."""

    def __init__(
        self, spec: DagSpec, have: dict[tuple[str, int], Instance], now: datetime, logical_date: datetime
    ) -> None:
        self.logical_date = logical_date
        self.stopping = spec.fail_fast and any(one.state == "failed" for one in have.values())
        self.tasks = {task.task_id: task for task in spec.tasks}
        self.have = have
        self.now = now

    def settled(self) -> dict[tuple[str, int], str]:
        """Every instance's state once nothing more can be decided; "queued" for what is launched."""
        return {(task_id, index): state for task_id in self.tasks for index, state in self.instances(task_id).items()}

    def run_state(self) -> str:
        states = self.settled()
        if not all(state in ENDED for state in states.values()):
            return "running"
        here = [self.tasks[task_id] for task_id in {task_id for task_id, _ in states}]
        counted = [task for task in here if not task.is_teardown or task.on_failure_fail_dagrun]
        parents = {parent for task in counted for parent in task.upstream}
        last = {task.task_id for task in counted if task.task_id not in parents}
        if not last:
            parents = {parent for task in here for parent in task.upstream}
            last = {task.task_id for task in here if task.task_id not in parents}
        at_the_end = [state for (task_id, _), state in states.items() if task_id in last]
        return "failed" if any(state in FAILED for state in at_the_end) else "success"

    def instances(self, task_id: str) -> dict[int, str]:
        task = self.tasks[task_id]
        now = {index: one for (owner, index), one in self.have.items() if owner == task_id}
        if not now and task.start_date is not None and self.logical_date < task.start_date:
            return {}
        if not now:
            now = {index: Instance("none") for index in self._first_indexes(task)}
        states = {index: one.state for index, one in now.items()}
        if self.stopping and not task.is_teardown and any(owner == task_id for owner, _ in self.have):
            becomes = dict.fromkeys([*MAY_START, "queued"], "skipped") | {"running": "failed"}
            return {index: becomes.get(state, state) for index, state in states.items()}
        open_ones = [index for index, state in states.items() if state in MAY_START]
        if not open_ones:
            return states
        answer = self._answer(task)
        if answer == "wait":
            return states
        if answer != "run":
            return states | dict.fromkeys(open_ones, answer)
        if task.mapped is not None:
            length = self._length(task)
            if length is None:
                return states
            if length == "never":
                return states | dict.fromkeys(open_ones, "upstream_failed")
            closed = {index: state for index, state in states.items() if index not in open_ones}
            if length == 0 and not closed:
                return {-1: "skipped"}
            states = closed | {index: states.get(index, "none") for index in range(int(length))}
        return self._started(task, now, states)

    def _first_indexes(self, task: TaskSpec) -> list[int]:
        if task.mapped is None or any(arg.refs for arg in task.mapped.args):
            return [-1]
        return list(range(self._length(task) or 0)) or [-1]  # type: ignore[arg-type]

    def _answer(self, task: TaskSpec) -> str:
        chosen_away = {skip for one in self.have.values() if one.state == "success" for skip in one.skips}
        if task.task_id in chosen_away and task.trigger_rule != "always":
            return "skipped"
        upstream = [(up, state) for up in task.upstream for state in self.instances(up).values()]
        answer = by_rule(
            str(task.trigger_rule),
            [state for _, state in upstream],
            [state for up, state in upstream if self.tasks[up].is_setup],
        )
        if answer in ("run", "wait"):
            whole = [self.instances(producer).get(-1) for producer in self._producers(task)]
            return _first((FAILED & set(whole), "upstream_failed"), ("skipped" in whole, "skipped"), (True, answer))
        return answer

    def _producers(self, task: TaskSpec) -> list[str]:
        return [ref.task_id for arg in task.mapped.args for ref in arg.refs] if task.mapped else []

    def _length(self, task: TaskSpec) -> int | str | None:
        assert task.mapped is not None
        product = 1
        answers: list[int | str | None] = []
        for arg in task.mapped.args:
            parts = [] if arg.literal_length is None else [arg.literal_length]
            answers += [*parts, *(self._returned(ref.task_id) for ref in arg.refs)]
        if "never" in answers:
            return "never"
        if None in answers:
            return None
        for answer in answers:
            product *= int(answer or 0)
        return product

    def _returned(self, task_id: str) -> int | str | None:
        states = self.instances(task_id)
        if not states:
            return "never"
        if not all(state in ENDED for state in states.values()):
            return None
        whole = self.have.get((task_id, -1))
        if list(states) != [-1]:
            mine = [self.have[task_id, index] for index in states if (task_id, index) in self.have]
            return sum(1 for one in mine if one.state == "success" and one.has_return)
        if whole is None or whole.state != "success" or whole.map_length is None:
            return "never"
        return whole.map_length

    def _started(self, task: TaskSpec, now: dict[int, Instance], states: dict[int, str]) -> dict[int, str]:
        after = dict(states)
        alive = sum(1 for state in states.values() if state in ALIVE)
        for index in sorted(states):
            one = now.get(index) or Instance("none")
            due = one.eligible_at is None or one.eligible_at <= self.now
            if states[index] not in MAY_START or not due:
                continue
            if task.kind == "empty":
                after[index] = "success"
            elif task.max_active_tis_per_dagrun is None or alive < task.max_active_tis_per_dagrun:
                after[index] = "queued"
                alive += 1
        return after
