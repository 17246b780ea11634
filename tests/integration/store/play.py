"""One run, played by hand: each method is what one of the parts would do, through the parts' own code."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from execplane.actions import attempts as attempt_actions
from execplane.actions import runs as run_actions
from execplane.actions import tasks as task_actions
from execplane.actions.actor import Actor
from execplane.contract.errors import Conflict
from execplane.contract.messages import End, ErrorInfo
from execplane.contract.observations import Acknowledged, Diagnosis, Gone, LaunchRefused
from execplane.contract.states import AttemptState, RunState, TaskState
from execplane.contract.workload import Intent
from execplane.executors.driver import ends
from execplane.executors.task_policy import FailurePolicy
from execplane.scheduler.calendar import Calendar
from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions
from execplane.store.database import write
from execplane.store.launch_rows import launch_rows
from execplane.store.models import Attempt, DagRun, TaskInstance
from execplane.store.transitions import ending, launching, observing
from tests.conftest import TestClock

ADA = Actor(name="ada", may_act=True)


@dataclass
class Play:
    run_pk: int
    clock: TestClock
    task_id: str = "extract"
    nonces: dict[int, str] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def run(self) -> DagRun:
        return DagRun.objects.get(pk=self.run_pk)

    def instance(self, task_id: str = "") -> TaskInstance:
        return TaskInstance.objects.get(dagrun_id=self.run_pk, task_id=task_id or self.task_id)

    def attempt(self, task_id: str = "") -> Attempt:
        return Attempt.objects.filter(ti=self.instance(task_id)).latest("attempt_no")

    def states(self) -> tuple[str, str]:
        """(the task instance's, the newest attempt's)."""
        return str(self.instance().state), str(self.attempt().state)

    # The scheduler

    def decide(self) -> None:
        loop = SchedulerLoop(SchedulerOptions(default_executor="local"), Calendar(), self.clock, "scheduler")
        for _ in range(50):
            if not loop.decide_one(self.now):
                return
        raise AssertionError("the scheduler decides without end")

    def later(self, seconds: float = 400.0) -> None:
        self.clock.advance(seconds)

    # The driver

    def claim(self) -> None:
        ids = list(Attempt.objects.filter(state="queued").values_list("pk", flat=True))
        with write():
            launching.claim(ids, owner="d1", now=self.now)

    def unclaim(self) -> None:
        launching.unclaim("d2", "local", now=self.now)

    def commit(self) -> None:
        ids = list(Attempt.objects.filter(state="claimed").values_list("pk", flat=True))
        intents = [
            Intent(attempt_id=row.attempt_id, key=row.key, name=f"local-{row.attempt_id}", body=b"exact bytes")
            for row in launch_rows(ids)
        ]
        launching.commit_intents(intents, owner="d1", now=self.now)

    def acknowledge(self) -> None:
        for pk in Attempt.objects.filter(state__in=["launched", "running"]).values_list("pk", flat=True):
            observing.acknowledge([Acknowledged(attempt_id=pk, uid=f"u{pk}", at=self.now)])

    def gone(self, exit_code: int = 137, *, infrastructure: bool = True) -> None:
        """The newest launched attempt dies."""
        found = Attempt.objects.filter(ti=self.instance(), launched_at__isnull=False).order_by("-attempt_no").first()
        if found is not None:
            diagnosis = Diagnosis(
                category="gone", sentence="It is gone.", exit_code=exit_code, infrastructure=infrastructure
            )
            fact = Gone(attempt_id=found.pk, uid=f"u{found.pk}", at=self.now, diagnosis=diagnosis)
            ends.end_gone(fact, now=self.now, failures=FailurePolicy(), self_fence_seconds=600, actor="d1")

    def refused(self, *, new_attempt: bool = False) -> None:
        for pk in list(Attempt.objects.filter(state="launched").values_list("pk", flat=True)):
            diagnosis = Diagnosis(category="launch_error", sentence="It was refused.", infrastructure=new_attempt)
            fact = LaunchRefused(attempt_id=pk, diagnosis=diagnosis, retry=False, new_attempt=new_attempt, at=self.now)
            ends.end_refused(fact, now=self.now, failures=FailurePolicy(), actor="d1")

    # The worker

    def fence(self) -> None:
        for pk in list(Attempt.objects.filter(state="launched").values_list("pk", flat=True)):
            passed = launching.pass_fence(
                pk, uid=f"u{pk}", nonce=f"n{pk}", hostname="h", worker_version="1", now=self.now
            )
            assert passed.code == "running", passed

    def report(
        self,
        outcome: str = "success",
        *,
        attempt: Attempt | None = None,
        ended_at: datetime | None = None,
        **more: object,
    ) -> str:
        one = attempt or self.attempt()
        error = ErrorInfo(type="ValueError", message="no") if outcome == "failed" else None
        end = End(nonce=f"n{one.pk}", outcome=outcome, error=error, ended_at=ended_at or self.now, **more)  # type: ignore[arg-type]
        return ends.end_reported(one.pk, end, (), now=self.now, failures=FailurePolicy(), actor="worker")

    def oldest_reports(self) -> None:
        """A late report of the first attempt."""
        first = Attempt.objects.filter(ti=self.instance()).order_by("attempt_no").first()
        if first is not None:
            self.report("success", attempt=first)

    def push(self) -> None:
        row = self.attempt()
        xcom = ending.XComRow(key="return_value", value=b"[1]")
        ending.push_xcoms(row.pk, row.ti_id, row.attempt_no, [xcom], 1, now=self.now)

    # People

    def clear(self, *, downstream: bool = False) -> None:
        task_actions.clear(ADA, "orders", "r1", [self.task_id], downstream=downstream, clock=self.clock)

    def mark(self, state: TaskState) -> None:
        task_actions.mark(ADA, "orders", "r1", self.task_id, -1, state, clock=self.clock)

    def cancel(self) -> bool:
        try:
            attempt_actions.cancel(ADA, self.attempt().pk, clock=self.clock)
        except Conflict:
            return False
        return True

    def mark_run(self, state: RunState) -> None:
        run_actions.mark(ADA, "orders", "r1", state, clock=self.clock)

    # All together

    def bring_to(self, state: AttemptState) -> Attempt:
        """A new attempt of the task, in this state of its life."""
        self.decide()
        steps = {
            AttemptState.QUEUED: (),
            AttemptState.CLAIMED: (self.claim,),
            AttemptState.LAUNCHED: (self.claim, self.commit),
            AttemptState.RUNNING: (self.claim, self.commit, self.acknowledge, self.fence),
            AttemptState.STOPPING: (self.claim, self.commit, self.fence, lambda: self.mark(TaskState.SUCCESS)),
        }[state]
        for step in steps:
            step()
        assert self.attempt().state == state
        return self.attempt()

    def drain(self, rounds: int = 60) -> None:
        """Everybody does their work and nobody interferes; time passes only to what is due next."""
        for _ in range(rounds):
            self.decide()
            self.claim()
            self.commit()
            self.fence()
            for one in Attempt.objects.filter(state="running"):
                self.report("success", attempt=one)
            for one in Attempt.objects.filter(state="stopping"):
                diagnosis = Diagnosis(category="gone", sentence="It was stopped.", exit_code=143)
                ends.end_gone(
                    Gone(attempt_id=one.pk, uid=one.pod_uid, at=self.now, diagnosis=diagnosis),
                    now=self.now,
                    failures=FailurePolicy(),
                    self_fence_seconds=600,
                    actor="d1",
                )
            run = self.run()
            if run.ended_at is not None:
                return
            if run.decide_at is not None and run.decide_at > self.now:
                self.clock.advance((run.decide_at - self.now).total_seconds())
        raise AssertionError(f"the run does not end: {self.run().state} {self.run().decide_at} {self.states()}")
