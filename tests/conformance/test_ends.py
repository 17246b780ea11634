"""How attempts end by themselves: the same on every executor."""

from __future__ import annotations

import json

import pytest

from tests.conformance.deployed import Deployed


def test_a_task_that_succeeds_leaves_log_xcom_and_rendered_fields(deployed: Deployed) -> None:
    run = deployed.trigger("plain")

    assert deployed.ended(run) == "success"
    (attempt,) = deployed.attempts(run)
    assert (attempt.state, attempt.try_number, attempt.attempt_no) == ("success", 1, 1)
    lines = deployed.messages(attempt.id)
    for line in ("printed by the task", "logged by the task", "written by a subprocess"):
        assert line in lines
    assert deployed.xcom(run) == {"run": run}
    assert json.loads(attempt.rendered)["note"] == f"{run} of plain"
    assert f"{run} of plain" in deployed.standalone.get(f"/attempts/{attempt.id}/rendered")
    assert len(deployed.recorder.visits(run)) == 1


def test_a_task_that_fails_says_why_and_is_tried_again(deployed: Deployed) -> None:
    run = deployed.trigger("retried", "fail_once")

    assert deployed.ended(run) == "success"
    first, second = deployed.attempts(run)
    assert (first.state, first.category) == ("failed", "task_failed")
    assert "ValueError: a bad day" in first.reason
    assert "retry 1 of 1" in first.reason
    assert any("a bad day" in line for line in deployed.messages(first.id))
    assert (second.state, second.try_number, second.cause) == ("success", 2, "retry")
    assert [visit.try_number for visit in deployed.recorder.visits(run)] == [1, 2]
    assert deployed.xcom(run) == "better"


def test_a_task_that_goes_on_failing_fails_the_run(deployed: Deployed) -> None:
    run = deployed.trigger("retried", "fail")

    assert deployed.ended(run) == "failed"
    assert [attempt.try_number for attempt in deployed.attempts(run)] == [1, 2]
    instance = deployed.instance(run)
    assert (instance.state, instance.author_failures, instance.infra_failures) == ("failed", 2, 0)
    assert "a bad day" in instance.reason


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("killed", "killed by SIGKILL"),
        ("crash", "killed by SIGSEGV"),
        ("left", "exited with code 3"),
        ("left_well", "exited with code 0"),
        ("sys_exit", "4"),
    ],
)
def test_a_task_whose_process_dies_is_classified_in_a_sentence(deployed: Deployed, how: str, sentence: str) -> None:
    run = deployed.trigger("plain", how)

    assert deployed.ended(run) == "failed"
    (attempt,) = deployed.attempts(run)
    assert (attempt.state, attempt.category) == ("failed", "task_failed")
    assert sentence in attempt.reason
    assert "None" not in attempt.reason
    assert any(sentence in line for line in deployed.messages(attempt.id))
    assert len(deployed.recorder.visits(run)) == 1


def test_a_task_that_runs_out_of_memory_says_so_and_hurts_nobody_else(deployed: Deployed) -> None:
    zygotes = deployed.zygotes()
    other = deployed.trigger("plain", "hold") if deployed.executor != "sequential" else ""
    visit = deployed.visit(other) if other else None
    with deployed.little_memory(256 << 20):
        run = deployed.trigger("greedy", "hog")
        assert deployed.ended(run) == "failed"
    (attempt,) = deployed.attempts(run)
    assert attempt.category == "oom_killed"
    assert (attempt.state, deployed.instance(run).author_failures) == ("failed", 1)
    assert "memory" in attempt.reason
    if not deployed.makes_pods:  # a pod may be killed whole, its worker included
        shown = json.loads(deployed.standalone.get(f"/attempts/{attempt.id}/log.json"))["page"]
        assert shown["gaps"] == [], "its worker told its last line"

    if visit is not None:
        assert visit.ended is None
        visit.release()
        assert deployed.ended(other) == "success"
    assert deployed.ended(deployed.trigger("plain")) == "success"
    assert deployed.zygotes() == zygotes


@pytest.mark.parametrize("how", ["hold", "family"])
def test_a_task_above_its_execution_timeout_ends_and_leaves_no_process(deployed: Deployed, how: str) -> None:
    run = deployed.trigger("limited", how)

    visit = deployed.visit(run)
    assert deployed.ended(run) == "failed"
    (attempt,) = deployed.attempts(run)
    assert (attempt.state, attempt.category) == ("failed", "execution_timeout")
    assert "execution_timeout" in attempt.reason
    deployed.dead(visit)
    assert visit.notes == ["on_kill"]
