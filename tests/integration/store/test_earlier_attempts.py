"""What is built for a retry knows where its task failed before, and for what."""

from __future__ import annotations

from typing import Any, cast

from execplane.contract.executor import Executor
from execplane.contract.observations import Acknowledged, Diagnosis, Gone
from execplane.contract.workload import Intent, Workload
from execplane.executors.driver import ends
from execplane.executors.driver.workloads import Deployed, build_all
from execplane.executors.task_policy import FailurePolicy
from execplane.store.earlier_attempts import MOST_LOOKED_AT, earlier_attempts
from execplane.store.models import Attempt
from execplane.store.transitions import observing
from tests.integration.store.play import Play


def built(play: Play, *, learns: bool = True) -> Workload:
    """The newest attempt's workload, as its executor gets it."""
    seen: list[Workload] = []

    class Listening:
        def build(self, workload: Workload) -> Intent:
            seen.append(workload)
            return Intent(attempt_id=workload.attempt_id, key=workload.key)

    common: dict[str, Any] = {"deployment_id": "d", "incarnation": 1, "api_url": "http://api", "learns": learns}
    build_all([play.attempt().pk], cast("Executor", Listening()), Deployed(**common))
    (one,) = seen
    return one


def fail(play: Play, category: str, node: str, *, infrastructure: bool) -> None:
    """The newest attempt runs on the node and dies; the next one is queued."""
    play.claim()
    play.commit()
    pk = play.attempt().pk
    observing.acknowledge([Acknowledged(attempt_id=pk, uid=f"u{pk}", at=play.now, node=node)])
    diagnosis = Diagnosis(category=category, sentence="It died.", exit_code=1, infrastructure=infrastructure)
    fact = Gone(attempt_id=pk, uid=f"u{pk}", at=play.now, diagnosis=diagnosis)
    ends.end_gone(fact, now=play.now, failures=FailurePolicy(), self_fence_seconds=600, actor="d1")
    play.later()
    play.decide()


def test_a_retry_knows_the_nodes_that_failed_it_and_how_often_memory_was_short(play: Play) -> None:
    play.decide()
    assert built(play).avoid_nodes == ()
    fail(play, "node_lost", "node-1", infrastructure=True)
    fail(play, "oom_killed", "node-2", infrastructure=False)
    fail(play, "drained", "node-3", infrastructure=True)
    assert play.attempt().attempt_no == 4
    found = built(play)
    assert (found.avoid_nodes, found.oom_kills) == (("node-3", "node-1"), 1)
    forgetful = built(play, learns=False)
    assert (forgetful.avoid_nodes, forgetful.oom_kills) == ((), 0)


def test_only_the_latest_attempts_of_the_same_task_are_looked_at(play: Play) -> None:
    play.decide()
    first = play.attempt()
    for number in range(2, MOST_LOOKED_AT + 6):
        first.pk = None
        first.attempt_no = number
        first.save(force_insert=True)
    newest = Attempt.objects.filter(ti=play.instance()).latest("attempt_no")
    rows = earlier_attempts([newest.pk])[newest.pk]
    numbers = [row.attempt_no for row in rows]
    assert numbers == list(range(newest.attempt_no, newest.attempt_no - MOST_LOOKED_AT, -1))
