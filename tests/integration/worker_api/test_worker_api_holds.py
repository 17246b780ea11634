"""hold_on_failure: the attempt ends at once, and only its failed container stays for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execplane.actions import attempts as verbs
from execplane.actions.actor import Actor
from execplane.contract.dag import encode_dag
from execplane.contract.errors import Conflict
from execplane.contract.messages import EndAnswer
from execplane.store import blob_rows, drift_rows, hold_rows, launch_rows
from execplane.store.models import Attempt, AttemptEvent, Audit, DagVersion
from execplane.store.queries import attempts, versions
from execplane.store.queries.tasks import get_task_by_pk
from tests.integration.worker_api.conftest import SPEC, Caller

ADA = Actor(name="ada", may_act=True)


def held(caller: Caller, *, task: Any = None, dag: Any = None, map_index: int = -1) -> Attempt:
    """A running attempt whose task or DAG has hold_on_failure."""
    tasks = tuple(
        msgspec.structs.replace(one, executor_config={} if task is None else {"hold_on_failure": task})
        for one in SPEC.tasks
    )
    spec = msgspec.structs.replace(SPEC, tasks=tasks, executor_config={} if dag is None else {"hold_on_failure": dag})
    DagVersion.objects.update(blob_id=blob_rows.put(encode_dag(spec), caller.now))
    versions.spec.cache_clear()
    return caller.running(map_index=map_index)


def to_clean(caller: Caller) -> list[int]:
    return [handle.attempt_id for handle, _ in launch_rows.to_clean("local", now=caller.now)]


def test_a_failed_container_is_held_and_its_task_s_retry_is_not(caller: Caller) -> None:
    attempt = held(caller, task=3600)

    answer = caller.end(outcome="failed").read(EndAnswer)

    assert answer == EndAnswer(accepted=True, state="failed", hold_seconds=3600)
    assert get_task_by_pk(attempt.ti_id).state == "up_for_retry"
    assert to_clean(caller) == []
    caller.clock.advance(3601)
    assert to_clean(caller) == [attempt.pk]


@pytest.mark.parametrize("outcome", ["success", "skipped", "terminated", "no_files"])
def test_only_a_failure_of_the_task_itself_is_held(caller: Caller, outcome: str) -> None:
    attempt = held(caller, task=3600)

    assert caller.end(outcome=outcome).read(EndAnswer).hold_seconds == 0
    assert to_clean(caller) == [attempt.pk]


def test_a_lost_answer_is_told_again_with_what_is_left_of_the_hold(caller: Caller) -> None:
    held(caller, task=3600)
    caller.end(outcome="failed")
    caller.clock.advance(600)

    assert caller.end(outcome="failed").read(EndAnswer).hold_seconds == 3000


def test_a_hold_has_the_deployment_s_limit(caller: Caller) -> None:
    held(caller, task=10**9)

    assert caller.end(outcome="failed").read(EndAnswer).hold_seconds == 7200


def test_a_task_s_word_goes_before_its_dag_s(caller: Caller) -> None:
    held(caller, dag=3600, task=0)

    assert caller.end(outcome="failed").read(EndAnswer).hold_seconds == 0


def test_a_dag_s_word_is_for_all_its_tasks(caller: Caller) -> None:
    held(caller, dag=3600)

    assert caller.end(outcome="timeout").read(EndAnswer).hold_seconds == 3600


def test_a_process_has_no_container_to_hold(caller: Caller) -> None:
    attempt = held(caller, task=3600)
    Attempt.objects.filter(pk=attempt.pk).update(namespace="")

    assert caller.end(outcome="failed").read(EndAnswer).hold_seconds == 0


def test_whoever_is_done_releases_it_and_the_audit_says_who(caller: Caller) -> None:
    attempt = held(caller, task=3600)
    caller.end(outcome="failed")

    verbs.release(ADA, attempt.pk, clock=caller.clock)

    assert to_clean(caller) == [attempt.pk]
    assert not attempts.get_attempt(attempt.pk).is_held(caller.now)
    assert Audit.objects.filter(action="release", actor="ada", object=f"attempt:{attempt.pk}").count() == 1
    with pytest.raises(Conflict):
        verbs.release(ADA, attempt.pk, clock=caller.clock)


def test_a_container_that_has_gone_is_held_no_more(caller: Caller) -> None:
    attempt = held(caller, task=3600)
    caller.end(outcome="failed")
    Attempt.objects.filter(pk=attempt.pk).update(gone_at=caller.now)

    assert to_clean(caller) == [attempt.pk]
    assert not attempts.get_attempt(attempt.pk).is_held(caller.now + timedelta(seconds=1))


def test_one_that_may_live_until_its_worker_fences_itself_is_held_still(caller: Caller) -> None:
    attempt = held(caller, task=3600)
    caller.end(outcome="failed")
    Attempt.objects.filter(pk=attempt.pk).update(gone_at=caller.now + timedelta(minutes=10))

    assert to_clean(caller) == []
    assert hold_rows.held("local", now=caller.now, limit=20) == 1


def test_reconciliation_takes_a_held_container_for_no_left_over(caller: Caller) -> None:
    attempt = held(caller, task=3600)
    caller.end(outcome="failed")

    (believed,) = drift_rows.believed([attempt.pk])

    assert believed.ended_at == caller.now + timedelta(hours=1)


def test_a_mass_failure_keeps_only_so_many_containers_and_the_others_say_why(caller: Caller) -> None:
    ends = []
    for map_index in range(3):
        caller.add_instance("extract", map_index)
        held(caller, task=3600, map_index=map_index)
        ends.append(caller.end(outcome="failed").read(EndAnswer).hold_seconds)

    assert ends == [3600, 3600, 0]
    (event,) = AttemptEvent.objects.filter(reason__contains="not held")
    assert "2 containers are held already" in event.reason
    Attempt.objects.filter(map_index=0).update(gone_at=caller.now)
    caller.add_instance("extract", 4)
    held(caller, task=3600, map_index=4)
    assert caller.end(outcome="failed").read(EndAnswer).hold_seconds == 3600, "what is dead takes no one's place"
    caller.clock.advance(3601)
    caller.add_instance("extract", 3)
    held(caller, task=3600, map_index=3)
    assert caller.end(outcome="failed").read(EndAnswer).hold_seconds == 3600
