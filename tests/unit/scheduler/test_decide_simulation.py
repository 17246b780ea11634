"""Whole runs of random DAGs, with random ends in random order: `decide` agrees with the oracle at every step, and
every run ends."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execplane.contract.dag import DagSpec, ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.contract.messages import End
from execplane.contract.states import RunState, TaskState, TriggerRule
from execplane.scheduler.compiled import compile_dag
from tests.unit.scheduler.build import NOW
from tests.unit.scheduler.ledger import Ledger, gone
from tests.unit.scheduler.oracle import Oracle


@st.composite
def dags(draw: st.DrawFn) -> DagSpec:
    count = draw(st.integers(1, 7))
    tasks: list[TaskSpec] = []
    for number in range(count):
        earlier = [task.task_id for task in tasks]
        upstream = draw(st.sets(st.sampled_from(earlier), max_size=3)) if earlier else set()
        mapped = draw(_mapped(sorted(upstream))) if draw(st.integers(0, 3)) == 0 else None
        tasks.append(
            TaskSpec(
                task_id=f"t{number}",
                operator="Op",
                upstream=tuple(sorted(upstream)),
                kind=draw(st.sampled_from(["task", "task", "task", "empty", "branch"])),
                trigger_rule=draw(st.sampled_from([TriggerRule.ALL_SUCCESS, *TriggerRule])),
                retries=draw(st.integers(0, 2)),
                retry_delay_seconds=draw(st.sampled_from([0.0, 60.0])),
                max_active_tis_per_dagrun=draw(st.sampled_from([None, None, 1, 2])),
                mapped=mapped,
                is_setup=draw(st.integers(0, 5)) == 0,
                is_teardown=draw(st.integers(0, 5)) == 0,
                on_failure_fail_dagrun=draw(st.booleans()),
                start_date=draw(st.sampled_from([None] * 7 + [NOW + timedelta(days=1)])),
            )
        )
    return DagSpec(dag_id="d", tasks=tuple(draw(st.permutations(tasks))), fail_fast=draw(st.integers(0, 5)) == 0)


@st.composite
def _mapped(draw: st.DrawFn, producers: list[str]) -> MappedSpec:
    refs = draw(st.sets(st.sampled_from(producers), min_size=1, max_size=2)) if producers else set()
    args = [ExpandArg(name=ref, refs=(XComRef(task_id=ref),)) for ref in sorted(refs)]
    if not args or draw(st.booleans()):
        args.append(ExpandArg(name="literal", literal_length=draw(st.integers(0, 3))))
    return MappedSpec(args=tuple(args))


def happens(ledger: Ledger, random: Random) -> None:
    """One attempt ends in some way."""
    row = random.choice(ledger.in_flight())
    task = ledger.dag.task(row.task_id)
    outcome = random.choice(["success", "success", "success", "failed", "skipped", "reschedule", "lost", "crashed"])
    if outcome == "reschedule" and row.attempt_no > 6:
        outcome = "success"
    if outcome == "lost":
        ledger.end(row, None, gone(infrastructure=True))
    elif outcome == "crashed":
        ledger.end(row, None, gone())
    else:
        children = [ledger.dag.tasks[down].task_id for down in task.downstream]
        drops = tuple(child for child in children if task.spec.kind == "branch" and random.random() < 0.5)
        ledger.end(
            row,
            End(
                nonce="n",
                outcome=outcome,
                map_length=random.choice([0, 1, 2, 3, 3, None]),
                skip=drops,
                reschedule_at=ledger.now + timedelta(seconds=30),
                ended_at=ledger.now,
            ),
            None,
            returned=random.random() < 0.8,
        )


def run_to_the_end(spec: DagSpec, random: Random, clears: int) -> Ledger:
    ledger = Ledger(compile_dag(spec), NOW)
    for _ in range(2000):
        expected = Oracle(spec, ledger.for_oracle(), ledger.now, NOW)
        states, run_state = expected.settled(), expected.run_state()
        decision = ledger.settle()
        assert {key: one.state for key, one in ledger.for_oracle().items()} == states
        assert str(ledger.state) == run_state
        if ledger.state is not RunState.RUNNING:
            if not clears:
                return ledger
            clears -= 1
            ledger.clear(random.choice(spec.tasks).task_id)
        elif ledger.in_flight() and (decision.wake_at is None or random.random() < 0.7):
            happens(ledger, random)
        else:
            assert decision.wake_at is not None, "nothing runs, nothing will wake it: the run hangs"
            ledger.now = decision.wake_at
    raise AssertionError("the run does not end")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=dags(), random=st.randoms(use_true_random=False), clears=st.integers(0, 2))
def test_decide_agrees_with_the_oracle_and_every_run_ends(spec: DagSpec, random: Random, clears: int) -> None:
    ledger = run_to_the_end(spec, random, clears)
    assert all(row.state not in (TaskState.NONE, TaskState.QUEUED) for row in ledger.rows.values())


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=dags(), random=st.randoms(use_true_random=False), clears=st.integers(0, 2))
def test_many_more_random_runs_agree_with_the_oracle(spec: DagSpec, random: Random, clears: int) -> None:
    run_to_the_end(spec, random, clears)
