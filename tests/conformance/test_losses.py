"""Workers that die, servers that die, answers that never come: one start, one end, and nothing is lost."""

from __future__ import annotations

import signal

from tests.conformance.deployed import Deployed
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
    assert deployed.dead(first) <= second.began
    instance = deployed.instance(run)
    assert (instance.author_failures, instance.infra_failures) == (0, 1)
    again = deployed.attempts(run)[1]
    assert (again.cause, again.try_number, again.attempt_no) == ("infra", 1, 2)
    deployed.standalone.run("tasks", "mark", "retried", run, "work", "success")
    deployed.dead(second)


def test_a_stopped_server_leaves_its_tasks_running_and_the_next_adopts_them(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "hold")
    visit = deployed.visit(run)

    deployed.standalone.stop(signal.SIGTERM)
    deployed.standalone.start()
    visit.release()

    assert deployed.ended(run) == "success"
    assert len(deployed.recorder.visits(run)) == 1
    deployed.dead(visit)
    eventually(lambda: deployed.attempts(run)[0].cleaned_at, on_failure=lambda: deployed.evidence(run))


def test_a_killed_server_costs_no_start_no_result_and_no_line(deployed: Deployed) -> None:
    """Three tasks meet the same crash: one goes on, one ends while nobody listens, and one's worker dies unseen and
    leaves a process.

    The sequential executor has room for the first only.
    """
    alone = deployed.executor == "sequential"
    goes_on = deployed.trigger("plain", "hold")
    ends = "" if alone else deployed.trigger("plain", "chatter")
    dies = "" if alone else deployed.trigger("retried", "family")
    visits = {run: deployed.visit(run) for run in (goes_on, ends, dies) if run}

    deployed.standalone.stop(signal.SIGKILL)
    if not alone:
        visits[ends].release()
        deployed.kill_worker(deployed.attempts(dies)[0])
        deployed.dead(visits[ends])
    deployed.standalone.start()
    visits[goes_on].release()

    assert deployed.ended(goes_on) == "success"
    assert deployed.xcom(goes_on) == "held"
    if not alone:
        _whole(deployed, ends)
        _replaced(deployed, dies)
    for run in (goes_on, ends):
        assert len(deployed.recorder.visits(run)) == (1 if run else 0), "started once"


def _whole(deployed: Deployed, run: str) -> None:
    assert deployed.ended(run) == "success"
    (attempt,) = deployed.attempts(run)
    assert deployed.xcom(run) == "told"
    records = deployed.records(attempt.id)
    assert [record["offset"] for record in records] == list(range(len(records)))
    told = [record["message"] for record in records if record["message"].split()[0] in ("before", "after")]
    assert told == [f"{when} {number}" for when in ("before", "after") for number in range(100)]


def _replaced(deployed: Deployed, run: str) -> None:
    lost = deployed.attempt_ended(run)
    assert lost.state == "failed"
    assert lost.category
    assert lost.reason
    second = deployed.visit(run, 2)
    assert deployed.dead(deployed.visit(run)) <= second.began
    instance = deployed.instance(run)
    assert (instance.author_failures, instance.infra_failures) == (0, 1)
    deployed.standalone.run("tasks", "mark", "retried", run, "work", "success")
    deployed.dead(second)


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
            deployed.dead(visit)

        ended = deployed.attempt_ended(run)
        assert ended.state == "failed"
        assert "no contact with the API for 3 s" in ended.reason
        assert (ended.category, ended.hint) == (
            "heartbeat_lost",
            "Look at the node and at the worker's way to the API.",
        )
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
