"""Why the scheduler does not launch a task instance, in words: `decide`'s own answer, with names and states. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from execplane.contract.pending import Code, Reason
from execplane.contract.states import TASK_ENDED, Cause, TaskState
from execplane.scheduler.decide_view import Decision, RunView, TaskRow, Waiting

_MOST_NAMED = 3

_WORDS = {
    TaskState.NONE: "not started",
    TaskState.UP_FOR_RETRY: "up for retry",
    TaskState.UP_FOR_RESCHEDULE: "up for reschedule",
    TaskState.UPSTREAM_FAILED: "upstream failed",
}
_DELAYS = {
    Cause.RETRY: (Code.RETRY_DELAY, "The task failed; its next try starts"),
    Cause.RESCHEDULE: (Code.RESCHEDULE, "The sensor asked to be called again: it is"),
    Cause.INFRA: (Code.INFRA_RETRY, "The infrastructure failed the last attempt; the next one starts"),
    Cause.CLEAR: (Code.MAY_STILL_LIVE, "An earlier attempt may live on; the next one starts"),
    Cause.FIRST: (Code.MAY_STILL_LIVE, "An earlier attempt may live on; the next one starts"),
}


def reason_of(view: RunView, decision: Decision, row: TaskRow) -> Reason:
    """Why this instance of a running run does not start. `decision`: what `decide` makes of `view` now."""
    waiting = decision.waiting.get(row.id)
    if waiting is None:
        return Reason(
            code=Code.NOT_DECIDED, sentence="Nothing holds the task: the scheduler launches it when it comes by."
        )
    match waiting.code:
        case "upstream":
            return _upstream(view, decision, row, waiting)
        case "past":
            return _past(view, row)
        case "eligible_at":
            return _delay(row, waiting)
        case "expansion":
            names = ", ".join(waiting.data["tasks"])
            return Reason(
                code=Code.EXPANSION, sentence=f"What it is mapped over is not there yet: {names} must end first."
            )
        case "paused":
            return Reason(code=Code.DAG_PAUSED, sentence=f"The DAG {view.dag.spec.dag_id} is paused.")
        case "max_active_tis_per_dagrun":
            limit = waiting.data["limit"]
            sentence = f"{limit} instances of the task are in flight in this run: its max_active_tis_per_dagrun."
            return Reason(code=Code.MAX_ACTIVE_TIS_PER_DAGRUN, sentence=sentence)
    return Reason(code=Code.UNKNOWN, sentence=f"The scheduler holds it back: {waiting.code}.")


def _delay(row: TaskRow, waiting: Waiting) -> Reason:
    code, words = _DELAYS[Cause(waiting.data["cause"])]
    until = datetime.fromisoformat(waiting.data["until"])
    return Reason(code=code, sentence=f"{words} at {until:%Y-%m-%d %H:%M:%S} UTC.")


def _past(view: RunView, row: TaskRow) -> Reason:
    task = view.dag.task(row.task_id)
    past = view.past
    when = f" of {past.logical_date:%Y-%m-%d %H:%M:%S} UTC" if past and past.logical_date else ""
    asked = [row.task_id]
    rule = "depends_on_past"
    if task.spec.wait_for_downstream:
        rule = "wait_for_downstream"
        asked += [view.dag.tasks[index].task_id for index in task.downstream]
    known = past.states if past is not None else {}
    held = [name for name in asked if not _fine(known.get(name, ()))]
    stands = ", ".join(f"{name} ({_stands(known.get(name, ()))})" for name in (held or asked)[:_MOST_NAMED])
    return Reason(code=Code.DEPENDS_ON_PAST, sentence=f"{rule}: in the run before{when}, {stands} has not ended well.")


def _fine(states: Iterable[TaskState]) -> bool:
    found = list(states)
    good = (TaskState.SUCCESS, TaskState.SKIPPED, TaskState.REMOVED)
    return bool(found) and all(state in good for state in found)


def _stands(states: Iterable[TaskState]) -> str:
    """ "running", "2 of 7 running"; "absent" where there is none."""
    counts = Counter(states)
    if not counts:
        return "absent"
    total = sum(counts.values())
    worst, n = max(counts.items(), key=lambda item: (item[0] not in TASK_ENDED, item[1]))
    word = _WORDS.get(worst, str(worst))
    return word if total == 1 else f"{n} of {total} {word}"


def _upstream(view: RunView, decision: Decision, row: TaskRow, waiting: Waiting) -> Reason:
    states = _states(view)
    names = list(waiting.data["tasks"])
    more = int(waiting.data["unfinished"]) - len(names[:_MOST_NAMED])
    said = ", ".join(f"{name} ({_stands(states[name])})" for name in names[:_MOST_NAMED])
    said += f" and {more} more" if more > 0 else ""
    roots = _roots(view, decision, names)
    sentence = f"It waits for {said}; its trigger rule is {waiting.data['rule']}."
    if roots and set(roots) != set(names):
        behind = ", ".join(f"{name} ({_stands(states[name])})" for name in roots[:_MOST_NAMED])
        sentence += f" All of that waits for {behind}."
    first = (roots or names)[0]
    return Reason(code=Code.UPSTREAM, sentence=sentence, unblocks=f"Ask why {first} does not end: the rest follows.")


def roots_of(view: RunView, decision: Decision, row: TaskRow) -> list[str]:
    """The tasks that everything before this instance waits for in the end; none where it waits for no other task."""
    waiting = decision.waiting.get(row.id)
    return _roots(view, decision, waiting.data["tasks"]) if waiting is not None and waiting.code == "upstream" else []


def _states(view: RunView) -> Mapping[str, list[TaskState]]:
    found: dict[str, list[TaskState]] = {task.task_id: [] for task in view.dag.tasks}
    for row in view.rows:
        if row.task_id in found and row.state is not TaskState.REMOVED:
            found[row.task_id].append(row.state)
    return found


def _roots(view: RunView, decision: Decision, names: Iterable[str]) -> list[str]:
    """The tasks at the bottom of the wait: unfinished, and not waiting for others themselves."""
    waits: dict[str, Waiting] = {}
    for row in view.rows:
        if (waiting := decision.waiting.get(row.id)) is not None:
            waits.setdefault(row.task_id, waiting)
    roots: dict[str, None] = {}
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop(0)
        if name in seen:
            continue
        seen.add(name)
        behind = waits.get(name)
        if behind is not None and behind.code == "upstream":
            todo += behind.data["tasks"]
        else:
            roots[name] = None
    return list(roots)
