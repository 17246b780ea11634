"""Attempts that somebody stops: they hear of it, get their grace, and nothing of them is left."""

from __future__ import annotations

from tests.conformance.deployed import Deployed
from tests.parts.eventually import eventually


def test_a_cancelled_attempt_is_told_and_says_by_whom(deployed: Deployed) -> None:
    run = deployed.trigger("retried", "family")
    visit = deployed.visit(run)
    (attempt,) = deployed.attempts(run)

    deployed.cancel(attempt.id)

    ended = deployed.attempt_ended(run)
    deployed.dead(visit)
    assert (ended.state, ended.category) == ("cancelled", "cancelled")
    assert "cancelled by admin: enough" in ended.reason
    assert visit.notes == ["on_kill"]
    assert deployed.ended(run) == "failed"
    assert len(deployed.attempts(run)) == 1, "a cancelled attempt is not retried"
    lines = deployed.messages(attempt.id)
    assert "on_kill was called" in lines
    # On its own line after the SIGTERM, or in the first one when a heartbeat was faster.
    assert any("cancelled by admin: enough" in line for line in lines), lines


def test_a_task_marked_by_hand_keeps_its_mark_and_its_process_ends(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "hold")
    visit = deployed.visit(run)

    deployed.standalone.run("tasks", "mark", "plain", run, "work", "success")

    assert deployed.ended(run) == "success"
    deployed.dead(visit)
    ended = deployed.attempt_ended(run)
    assert ended.state == "cancelled"
    assert "marked success by" in ended.reason
    assert deployed.instance(run).state == "success"


def test_a_task_that_ignores_sigterm_is_killed_after_its_grace(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "deaf")
    visit = deployed.visit(run)

    deployed.standalone.run("tasks", "mark", "plain", run, "work", "failed")

    deployed.dead(visit)
    ended = deployed.attempt_ended(run)
    assert ended.state == "cancelled"
    assert ended.reason
    assert deployed.ended(run) == "failed"


def test_a_cleared_task_starts_again_only_when_the_old_one_is_dead(deployed: Deployed) -> None:
    run = deployed.trigger("plain", "family")
    first = deployed.visit(run)

    deployed.standalone.run("tasks", "clear", "plain", run, "work")

    second = deployed.visit(run, 2)
    assert deployed.dead(first) <= second.began
    assert first.notes == ["on_kill"]
    old = deployed.attempt_ended(run)
    assert (old.state, old.category) == ("cancelled", "cancelled")
    assert "cleared by" in old.reason
    new = deployed.attempts(run)[1]
    assert (new.cause, new.attempt_no) == ("clear", 2)
    deployed.standalone.run("tasks", "mark", "plain", run, "work", "success")
    deployed.dead(second)


def test_a_worker_that_gets_sigterm_from_outside_says_so_and_spends_no_retry_of_the_author(deployed: Deployed) -> None:
    run = deployed.trigger("retried", "hold")
    visit = deployed.visit(run)

    deployed.terminate_worker(deployed.attempts(run)[0])

    ended = deployed.attempt_ended(run)
    deployed.dead(visit)
    assert ended.state == "failed"
    assert "terminated" in ended.reason
    assert "SIGTERM" in ended.reason
    assert visit.notes == ["on_kill"]
    instance = eventually(lambda: (row := deployed.instance(run)).state == "up_for_retry" and row)
    assert (instance.author_failures, instance.infra_failures) == (0, 1)
    deployed.standalone.run("tasks", "mark", "retried", run, "work", "success")
