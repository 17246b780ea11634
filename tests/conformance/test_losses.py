"""Workers that die, servers that die, answers that never come: one start, one end, and nothing is lost."""

from __future__ import annotations

import signal

import pytest

from tests.conformance.deployed import Deployed
from tests.conformance.recorder import dead
from tests.parts.eventually import eventually

SELF_FENCE = "EXECPLANE_WORKER__SELF_FENCE_SECONDS"


def test_a_lost_worker_is_replaced_without_spending_the_authors_retries(deployed: Deployed) -> None:
    run = deployed.trigger("retried", "family")
    first = deployed.visit(run)

    deployed.kill_worker(deployed.attempts(run)[0])

    lost = deployed.attempt_ended(run)
    assert (lost.state, lost.category != "") == ("failed", True)
    assert lost.reason
    assert "None" not in lost.reason
    second = deployed.visit(run, 2)
    assert dead(first) <= second.began
    instance = deployed.instance(run)
    assert (instance.author_failures, instance.infra_failures) == (0, 1)
    again = deployed.attempts(run)[1]
    assert (again.cause, again.try_number, again.attempt_no) == ("infra", 1, 2)
    deployed.standalone.run("tasks", "mark", "retried", run, "work", "success")
    dead(second)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_task_outlives_its_server_and_is_adopted_by_the_next(deployed: Deployed, number: signal.Signals) -> None:
    run = deployed.trigger("plain", "hold")
    visit = deployed.visit(run)

    deployed.standalone.stop(number)
    deployed.standalone.start()

    visit.release()
    assert deployed.ended(run) == "success"
    assert len(deployed.recorder.visits(run)) == 1
    (attempt,) = deployed.attempts(run)
    assert attempt.state == "success"
    dead(visit)
    eventually(lambda: deployed.attempts(run)[0].gone_at, on_failure=lambda: deployed.evidence(run))


def test_a_worker_that_dies_while_no_server_watches_is_found_dead(deployed: Deployed) -> None:
    run = deployed.trigger("retried", "hold")
    visit = deployed.visit(run)

    deployed.standalone.stop(signal.SIGKILL)
    deployed.kill_worker(deployed.attempts(run)[0])
    dead(visit)
    deployed.standalone.start()

    lost = deployed.attempt_ended(run)
    assert lost.state == "failed"
    assert lost.reason
    instance = eventually(lambda: (row := deployed.instance(run)).state == "up_for_retry" and row)
    assert (instance.author_failures, instance.infra_failures) == (0, 1)
    deployed.standalone.run("tasks", "mark", "retried", run, "work", "success")


def test_a_task_that_ends_while_the_server_is_down_loses_neither_result_nor_line(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "chatter")
    visit = deployed.visit(run)

    deployed.standalone.stop(signal.SIGKILL)
    visit.release()
    dead(visit)
    deployed.standalone.start()

    assert deployed.ended(run) == "success"
    (attempt,) = deployed.attempts(run)
    assert deployed.xcom(run) == "told"
    records = deployed.records(attempt.id)
    assert [record["offset"] for record in records] == list(range(len(records)))
    told = [record["message"] for record in records if record["message"].split()[0] in ("before", "after")]
    assert told == [f"{when} {number}" for when in ("before", "after") for number in range(100)]
    assert len(deployed.recorder.visits(run)) == 1


def test_a_worker_without_contact_kills_its_task_by_itself(deployed: Deployed) -> None:
    standalone = deployed.standalone
    standalone.stop()
    standalone.environment[SELF_FENCE] = "3"
    standalone.start()
    try:
        run = deployed.trigger("retried", "family")
        visit = deployed.visit(run)
        # After the first heartbeat, so that what is measured is the silence and not the start.
        eventually(lambda: deployed.attempts(run)[0].heartbeat_at != deployed.attempts(run)[0].running_at)

        with deployed.frozen():
            dead(visit)

        ended = deployed.attempt_ended(run)
        assert ended.state == "failed"
        assert "no contact with the API for 3 s" in ended.reason
        instance = deployed.instance(run)
        assert (instance.author_failures, instance.infra_failures) == (0, 1)
    finally:
        del standalone.environment[SELF_FENCE]
        standalone.stop()
        standalone.start()
    standalone.run("tasks", "mark", "retried", run, "work", "success")


def test_a_second_launch_of_the_same_attempt_is_refused_and_the_first_goes_on(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "hold")
    visit = deployed.visit(run)
    (attempt,) = deployed.attempts(run)

    code, said = deployed.launch_again(attempt)

    assert code == 64, said
    assert "The claim was refused" in said
    visit.release()
    assert deployed.ended(run) == "success"
    assert len(deployed.recorder.visits(run)) == 1
    (attempt,) = deployed.attempts(run)
    assert attempt.state == "success"
    story = deployed.query("SELECT * FROM execplane_attemptevent WHERE attempt_id = ?", attempt.id)
    assert any("claim refused" in event.reason for event in story), "the refusal is in the attempt's story"


def test_an_impostors_word_moves_nothing(deployed: Deployed) -> None:
    """A launch token of another attempt does not open this one."""
    held = deployed.trigger("plain", "hold")
    visit = deployed.visit(held)
    (attempt,) = deployed.attempts(held)

    code, said = deployed.launch_again(attempt, attempt_id=attempt.id + 1000)

    assert code == 64, said
    assert deployed.attempts(held)[0].state == "running"
    visit.release()
    assert deployed.ended(held) == "success"
