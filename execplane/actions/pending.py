"""Why does this task not run? One answer from the scheduler's rules, the driver's gates and the cluster.

Not a verb: it changes nothing. It stands here because this is the only room that sees scheduler and driver both. The
scheduler's part asks `decide` itself and the driver's part the gates themselves, so the answer cannot drift from what
is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from msgspec import structs

from execplane.contract.categories import Category
from execplane.contract.clock import Clock
from execplane.contract.errors import NotFound, Unavailable
from execplane.contract.keys import NOT_MAPPED
from execplane.contract.pending import Code, Pending, Reason, Unread, ranked
from execplane.contract.states import ATTEMPT_ENDED, TASK_ENDED, AttemptState, RunState, RunType, TaskState
from execplane.executors.driver.gates import Gate, Limits, closed_gates, stop_gate
from execplane.executors.driver.holds import covers
from execplane.executors.driver.launch_waves import wave_of
from execplane.pods.pending import reasons as pod_reasons
from execplane.pods.surroundings import Around, Wanted
from execplane.scheduler.decide import decide
from execplane.scheduler.decide_view import RunView
from execplane.scheduler.loop import compiled, past_of, view_of
from execplane.scheduler.waits import reason_of, roots_of
from execplane.store import blob_rows, launch_hold_rows, launch_rows, launch_wave_rows
from execplane.store.launch_rows import Candidate
from execplane.store.queries import attempts, dags, pending, runs, tasks
from execplane.store.queries.attempts import AttemptRow
from execplane.store.queries.pending import Holder
from execplane.store.queries.runs import RunRow
from execplane.store.queries.tasks import TaskRow
from execplane.store.transitions.runs import LockedRun

_THROTTLED = (": 429 ", ": 429:")
"""The status as our own errors write it."""
_NOT_DECIDED = "The scheduler could not decide this run"
_NAMED = 3
_OF_THE_DAG = (Code.DAG_PAUSED, Code.SCHEDULER_DOWN)
"""What holds a task behind another one just as well: it is said once."""


Look = Callable[[Wanted], Around]
"""Looks at a pod and around it: bounded and kept for some seconds; whatever fails is told, not raised."""


@dataclass(frozen=True, kw_only=True)
class PendingOptions:
    """The limits that stand in the settings. `slots`: an executor's own; None: no limit."""

    executors: tuple[str, ...]
    parallelism: int | None = None
    slots: Mapping[str, int | None] = field(default_factory=dict)
    scheduler_silence: timedelta = timedelta(seconds=40)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The answer, and whom it is about. attempt_id None: there is no attempt to blame, the scheduler holds it."""

    pending: Pending
    attempt_id: int | None = None
    queued_at: datetime | None = None
    """When the attempt was queued; a reason's own `since` is later, or not known."""
    is_pending: bool = True


class WhyPending:
    """Answers for attempts and for task instances. Reads only; `looks` by executor, for those that make pods."""

    def __init__(self, options: PendingOptions, clock: Clock, looks: Mapping[str, Look] | None = None) -> None:
        self._options = options
        self._clock = clock
        self._looks = looks or {}

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> Asked:
        """Of a run that has not started, too, where no task has an instance yet. Raises NotFound."""
        run = runs.get_run(dag_id, run_id)
        try:
            ti = tasks.get_task(dag_id, run_id, task_id, map_index)
        except NotFound as error:
            if map_index == NOT_MAPPED and tasks.mapped_instances(run.id, task_id, limit=1).rows:
                raise NotFound(str(error), hint="The task is mapped: name the map index of one instance.") from error
            if run.state != RunState.QUEUED or task_id not in compiled(run.version_id).index:
                raise
            return Asked(pending=ranked([*self._of_run(run, None), *self._scheduler_down()]))
        return self._of_instance(run, ti)

    def attempt(self, attempt_id: int) -> Asked:
        """Of an attempt that has ended, why its task instance does not go on. Raises NotFound."""
        row = attempts.get_attempt(attempt_id)
        if row.is_ended:
            ti = tasks.get_task_by_pk(row.ti_id)
            return self._of_instance(runs.get_run(row.dag_id, row.run_id), ti)
        return self._of_attempt(row)

    # A task instance

    def _of_instance(self, run: RunRow, ti: TaskRow) -> Asked:
        state = TaskState(ti.state)
        if state in TASK_ENDED:
            said = f": {ti.reason.rstrip('.')}" if ti.reason else ""
            return _not_pending(f"The task has ended as {state.replace('_', ' ')}{said}.")
        if state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.RESTARTING):
            newest = attempts.attempts_of(ti.id, limit=1)
            if newest and not newest[-1].is_ended:
                return self._of_attempt(attempts.get_attempt(newest[-1].id))
        reasons = [*self._of_run(run, ti), *self._scheduler_down()]
        return Asked(pending=ranked(reasons))

    def _of_run(self, run: RunRow, ti: TaskRow | None) -> Iterable[Reason]:
        """`ti`: None while the run has not started."""
        if run.state in (RunState.SUCCESS, RunState.FAILED):
            yield Reason(
                code=Code.RUN_ENDED, sentence=f"The run has ended, it is {run.state}; the task was not launched."
            )
            return
        dag = dags.get_dag(run.dag_id, recent=1)
        if dag.paused:
            yield Reason(code=Code.DAG_PAUSED, sentence=f"The DAG {run.dag_id} is paused.")
        if run.reason.startswith(_NOT_DECIDED):
            # Asking the same rules once more would fail as they did.
            yield Reason(code=Code.SCHEDULER_FAULT, sentence=run.reason)
        elif run.state == RunState.QUEUED:
            yield self._run_queued(run, dag.max_active_runs)
        elif ti is not None:
            yield from self._decided(run, ti, paused=dag.paused)

    def _run_queued(self, run: RunRow, most: int) -> Reason:
        if run.run_after > self._clock.now():
            sentence = f"The run's time has not come: it starts at {_moment(run.run_after)}."
            return Reason(code=Code.RUN_NOT_DUE, sentence=sentence)
        running = pending.count_running_runs(run.dag_id)
        if running >= most:
            names = pending.running_runs(run.dag_id, _NAMED)
            more = f" and {running - len(names)} more" if running > len(names) else ""
            sentence = (
                f"{running} of {most} runs of {run.dag_id} are running (max_active_runs): {', '.join(names)}{more}."
            )
            return Reason(code=Code.MAX_ACTIVE_RUNS, sentence=sentence)
        sentence = "The run is queued: the scheduler has not started it yet."
        return Reason(code=Code.RUN_NOT_STARTED, sentence=sentence)

    def _decided(self, run: RunRow, ti: TaskRow, *, paused: bool) -> Iterable[Reason]:
        dag = compiled(run.version_id)
        locked = _as_decided(run, paused=paused)
        view = view_of(locked, dag, past_of(locked, dag))
        row = next((one for one in view.rows if one.id == ti.id), None)
        if row is None or row.task_id not in dag.index:
            sentence = f"The task {ti.task_id} is not in the run's version of the DAG any more."
            yield Reason(code=Code.RUN_ENDED, sentence=sentence)
            return
        decision = decide(view, self._clock.now())
        yield (reason := reason_of(view, decision, row))
        if reason.code is Code.UPSTREAM:
            yield from self._behind(view, roots_of(view, decision, row))

    def _behind(self, view: RunView, task_ids: Iterable[str]) -> Iterable[Reason]:
        """Why the task that all of it waits for waits itself; of several, one that has an attempt."""
        wanted = set(task_ids)
        for one in view.rows:
            if one.task_id in wanted and one.state in (TaskState.QUEUED, TaskState.RESTARTING):
                newest = attempts.attempts_of(one.id, limit=1)
                if newest and not newest[-1].is_ended:
                    asked = self._of_attempt(attempts.get_attempt(newest[-1].id))
                    found = [why for why in (asked.pending.first, *asked.pending.others) if why.code not in _OF_THE_DAG]
                    if asked.is_pending and found:
                        yield structs.replace(found[0], sentence=f"{one.task_id} itself waits: {found[0].sentence}")
                    return

    def _scheduler_down(self) -> Iterable[Reason]:
        seen = pending.loop_seen_at("scheduler")
        if seen is None or self._clock.now() - seen > self._options.scheduler_silence:
            when = f"since {_moment(seen)}" if seen else "at all"
            sentence = f"No scheduler has reported {when}: nothing is decided."
            yield Reason(code=Code.SCHEDULER_DOWN, sentence=sentence, since=seen)

    # An attempt

    def _of_attempt(self, row: AttemptRow) -> Asked:
        state = AttemptState(row.state)
        if state is AttemptState.RUNNING:
            since = f" since {_moment(row.running_at)}" if row.running_at else ""
            return _not_pending(f"Attempt {row.attempt_no} runs{since}.", attempt_id=row.id)
        if state in ATTEMPT_ENDED:
            return _not_pending(f"Attempt {row.attempt_no} is {state}.", attempt_id=row.id)
        reasons = list(self._driver(row.executor))
        unread: Iterable[Unread] = ()
        if state is AttemptState.STOPPING:
            said = f": {row.stop_reason.rstrip('.')}" if row.stop_reason else ""
            sentence = f"Attempt {row.attempt_no} was told to stop{said}; its death is not confirmed yet."
            reasons.append(Reason(code=Code.STOPPING, sentence=sentence))
        elif state is AttemptState.QUEUED:
            reasons += self._queued(row)
        elif state is AttemptState.CLAIMED:
            sentence = f"The driver {row.owner} has claimed it and is launching it."
            reasons.append(Reason(code=Code.LAUNCHING, sentence=sentence, since=row.claimed_at))
        else:
            found, unread = self._launched(row)
            reasons += found
        answer = ranked(reasons, unread=unread)
        return Asked(pending=answer, attempt_id=row.id, queued_at=row.queued_at)

    def _driver(self, executor: str) -> Iterable[Reason]:
        found = pending.driver(executor)
        if found.held:
            if found.state == "failing" and found.last_error:
                sentence = f"The driver of the {executor} executor ({found.holder}) fails: {found.last_error}"
                yield Reason(code=Code.DRIVER_FAILING, sentence=sentence[:500])
            return
        if executor not in self._options.executors:
            known = ", ".join(self._options.executors)
            sentence = f"This deployment does not run the executor {executor}; it runs {known}."
            yield Reason(code=Code.EXECUTOR_NOT_SERVED, sentence=sentence)
            return
        when = f" since {_moment(found.since)}" if found.since else ": none has started yet"
        last = f"; the last was {found.holder}" if found.holder else ""
        sentence = f"No process drives the {executor} executor{when}{last}."
        yield Reason(code=Code.NO_DRIVER, sentence=sentence, since=found.since)

    def _queued(self, row: AttemptRow) -> Iterable[Reason]:
        one = pending.candidate(row.id)
        if one is None:
            return  # It was claimed a moment ago.
        if dags.get_dag(row.dag_id, recent=1).paused:
            yield Reason(code=Code.DAG_PAUSED, sentence=f"The DAG {row.dag_id} is paused.")
        if (stop := stop_gate(row.executor, one.not_claimed_reason)) is not None:
            yield Reason(code=stop.code, sentence=stop.sentence)
        yield from (held := _operators_holds(row, self._clock.now()))
        gates = closed_gates(one, self._limits(row.executor), launch_rows.occupied())
        for gate in gates:
            sentence = f"{gate.sentence} {_by_whom(_holders(gate.code, one, row.executor))}".rstrip()
            yield Reason(code=gate.code, sentence=sentence)
        if not held and (wave := launch_wave_rows.wave(row.executor)) is not None:
            yield Reason(code=Code.LAUNCH_WAVE, sentence=wave_of(wave).sentence, since=wave.began_at)
        elif not held:
            yield from _turn(row, one, gates)

    def _limits(self, executor: str) -> Limits:
        return Limits(
            executor=executor,
            executor_slots=self._options.slots.get(executor),
            parallelism=self._options.parallelism,
            pools=launch_rows.pool_slots(),
            dags=launch_rows.max_active_tasks(),
        )

    def _launched(self, row: AttemptRow) -> tuple[list[Reason], Iterable[Unread]]:
        reasons: list[Reason] = []
        if row.acknowledged_at is None:
            now = self._clock.now()
            reasons = [*_operators_holds(row, now), *_unacknowledged(row, now)]
        look = self._looks.get(row.executor)
        if look is None or not row.namespace or not row.pod_name:
            if not reasons:
                sentence = f"It was launched as {row.pod_name}; its worker has not reported yet."
                reasons.append(Reason(code=Code.WORKER_STARTING, sentence=sentence, since=row.launched_at))
            return reasons, ()
        around = look(Wanted(namespace=row.namespace, name=row.pod_name, uid=row.pod_uid, known=_known(row)))
        if reasons and around.pod is None:
            return reasons, around.unread  # It is still to be created, so it is not missing.
        return [*reasons, *pod_reasons(around)], around.unread


def _operators_holds(row: AttemptRow, now: datetime) -> tuple[Reason, ...]:
    """The launch holds that cover it, as one reason."""
    tags = launch_hold_rows.tags_of([row.dag_id]).get(row.dag_id, ())
    found = [
        hold
        for hold in launch_hold_rows.active(now)
        if covers(
            hold,
            executor=row.executor,
            dag_id=row.dag_id,
            tags=tags,
            cluster=row.cluster,
            namespace=row.namespace,
        )
    ]
    if not found:
        return ()
    first = found[0]
    more = f" {len(found) - 1} more cover it, too." if len(found) > 1 else ""
    return (
        Reason(code=Code.OPERATOR_HOLD, sentence=f"{first.sentence}{more}", unblocks=first.ends, since=first.since),
    )


def _not_pending(sentence: str, *, attempt_id: int | None = None) -> Asked:
    answer = ranked([Reason(code=Code.NOT_PENDING, sentence=sentence)])
    return Asked(pending=answer, attempt_id=attempt_id, is_pending=False)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _as_decided(run: RunRow, *, paused: bool) -> LockedRun:
    """The run as the scheduler would get it; nothing is locked, as nothing is written."""
    return LockedRun(
        pk=run.id,
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_type=RunType(run.run_type),
        state=RunState(run.state),
        logical_date=run.logical_date,
        interval_start=run.data_interval_start,
        interval_end=run.data_interval_end,
        dag_version_id=run.version_id,
        started_at=run.started_at,
        queued_at=run.queued_at,
        paused=paused,
    )


def _holders(code: Code, one: Candidate, executor: str) -> tuple[Holder, ...]:
    """Who uses the limit up."""
    match code:
        case Code.POOL_FULL:
            return pending.holders(pool=one.pool)
        case Code.MAX_ACTIVE_TASKS:
            return pending.holders(dag_id=one.dag_id)
        case Code.PARALLELISM:
            return pending.holders()
        case Code.EXECUTOR_SLOTS:
            return pending.holders(executor=executor)
    return ()


def _by_whom(holders: tuple[Holder, ...]) -> str:
    if not holders:
        return ""
    said = ", ".join(f"{one.dag_id}.{one.task_id} ({one.slots})" for one in holders)
    return f"The most are held by {said}."


def _turn(row: AttemptRow, one: Candidate, gates: tuple[Gate, ...]) -> Iterable[Reason]:
    """Its place in the queue: a reason of its own only where what is shared is used up."""
    ahead = pending.ahead(row.executor, one)
    number = f"{ahead} or more" if ahead >= pending.MOST_AHEAD else str(ahead)
    shared = any(gate.code in (Code.PARALLELISM, Code.EXECUTOR_SLOTS) for gate in gates)
    if ahead and (shared or not gates):
        sentence = f"{number} queued attempts come before it (higher priority than {one.priority}, or older)."
        yield Reason(code=Code.PRIORITY, sentence=sentence)
    if not gates:
        sentence = "Every limit has room: the driver takes it at its next claim."
        yield Reason(code=Code.NEXT_CLAIM, sentence=sentence)


def _unacknowledged(row: AttemptRow, now: datetime) -> Iterable[Reason]:
    """Its create was refused for now, or is not answered yet."""
    waits = attempts.waiting([row.id]).get(row.id)
    if waits is None or not row.launch_failures:
        until = pending.throttled_until(row.executor, _THROTTLED, now)
        if until is not None:
            sentence = f"The API server asked to wait (429): no create is sent before {_moment(until)}."
            yield Reason(code=Code.THROTTLED, sentence=sentence, since=row.launched_at)
            return
        if (turn := _turn_at_executor(row.executor)) is not None:
            yield Reason(code=turn.code, sentence=turn.sentence, since=row.launched_at)
            return
        sentence = "The create was sent, and no answer came yet."
        yield Reason(code=Code.CREATE_UNANSWERED, sentence=sentence, since=row.launched_at)
        return
    code = Code.CREATE_REFUSED
    if waits.code == Category.QUOTA:
        code = Code.QUOTA
    elif any(word in waits.sentence for word in _THROTTLED):
        code = Code.THROTTLED
    again = f" It is tried again at {_moment(row.retry_at)}." if row.retry_at else ""
    yield Reason(code=code, sentence=f"{waits.sentence.rstrip('. ')}.{again}", since=waits.since, said=waits.sentence)


def _turn_at_executor(executor: str) -> Gate | None:
    """So many creates wait that nothing more is claimed: then what was claimed is most likely among them."""
    first = next(iter(launch_rows.candidates(executor, limit=1)), None)
    gate = stop_gate(executor, first.not_claimed_reason) if first is not None else None
    return gate if gate is not None and gate.code is Code.CREATES_SLOWED else None


def _known(row: AttemptRow) -> bytes:
    """The pod as the ledger knows it: what was sent, where it was put, what its status last said."""
    try:
        sent = msgspec.json.decode(blob_rows.get(row.intent_sha256)) if row.intent_sha256 else {}
    except NotFound:
        sent = {}
    spec = {**sent.get("spec", {}), **({"nodeName": row.node} if row.node else {})}
    metadata = {"name": row.pod_name, "namespace": row.namespace, "uid": row.pod_uid}
    return msgspec.json.encode({"metadata": metadata, "spec": spec, "status": dict(row.status or {})})


_current: WhyPending | None = None


def serve(why: WhyPending | None) -> WhyPending | None:
    """Told once per process, before the first request; gives what held before."""
    global _current
    before, _current = _current, why
    return before


def current() -> WhyPending:
    """Raises Unavailable where nobody told."""
    if _current is None:
        raise Unavailable("Nobody can say why: start execplane with `execplane standalone` or `web`.")
    return _current
