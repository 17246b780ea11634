"""The truth table of how attempts end: every witness under every stop, and what holds for all of them."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.categories import FINAL, Budget, Category
from execplane.contract.dag import DagSpec, ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.contract.messages import End, ErrorInfo, Verdict
from execplane.contract.observations import Diagnosis, Gone, LaunchRefused
from execplane.contract.states import (
    ATTEMPT_EDGES,
    ATTEMPT_ENDED,
    TASK_EDGES,
    TASK_IN_FLIGHT,
    AttemptState,
    Cause,
    TaskState,
)
from execplane.executors.failure_rules import FailureRule
from execplane.executors.task_policy import FailurePolicy, Stop, TaskPolicy
from execplane.executors.verdict import Ended, max_tries, refused, reported_tasks, verdict
from execplane.worker.endings import Death, conclude

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
BAD = ErrorInfo(type="ValueError", message="bad")


def policy(**fields: Any) -> TaskPolicy:
    known: dict[str, Any] = {
        "attempt_state": AttemptState.RUNNING,
        "task_state": TaskState.RUNNING,
        "key": "d/r/t",
        "retries": 2,
        "retry_delay_seconds": 60,
    }
    return TaskPolicy(**(known | fields))


def end(outcome: str, **fields: Any) -> End:
    return End(nonce="n", outcome=outcome, ended_at=NOW, **fields)


def words(outcome: str, **fields: Any) -> Verdict:
    return Verdict(attempt_id=1, nonce="n", outcome=outcome, **fields)


def gone(
    category: str = "error", exit_code: int | None = 1, *, infrastructure: bool = False, sentence: str = "It died."
) -> Gone:
    diagnosis = Diagnosis(category=category, sentence=sentence, exit_code=exit_code, infrastructure=infrastructure)
    return Gone(attempt_id=1, uid="u", at=NOW, diagnosis=diagnosis)


# attempt/task/category: S K R F C = success, skipped, rescheduled, failed, cancelled. Task: "retry" and "infra" are
# up_for_retry paid from that budget, "failed" the author's last failure, "stop" failed without a budget, "-" untouched.
TABLE = """
witness      | none                         | clear                      | mark                    | user                       | timeout                   | lost
success      | S/success/                   | S/none/                    | S/-/                    | S/success/                 | S/success/                | S/success/
skipped      | K/skipped/                   | K/none/                    | K/-/                    | K/skipped/                 | K/skipped/                | K/skipped/
reschedule   | R/resched/                   | R/none/                    | R/-/                    | C/stop/cancelled           | R/resched/                | R/resched/
failed       | F/retry/task_failed          | F/none/task_failed         | F/-/task_failed         | F/stop/task_failed         | F/retry/execution_timeout | F/retry/task_failed
oom          | F/retry/oom_killed           | F/none/oom_killed          | F/-/oom_killed          | F/stop/oom_killed          | F/retry/execution_timeout | F/retry/oom_killed
no_retry     | F/failed/failed_without_retry | F/none/failed_without_retry | F/-/failed_without_retry | F/stop/failed_without_retry | F/failed/failed_without_retry | F/failed/failed_without_retry
sensor       | F/failed/sensor_timeout      | F/none/sensor_timeout      | F/-/sensor_timeout      | F/stop/sensor_timeout      | F/failed/sensor_timeout   | F/failed/sensor_timeout
timeout      | F/retry/execution_timeout    | F/none/execution_timeout   | F/-/execution_timeout   | F/stop/execution_timeout   | F/retry/execution_timeout | F/retry/execution_timeout
terminated   | F/infra/terminated           | C/none/cancelled           | C/-/cancelled           | C/stop/cancelled           | F/retry/execution_timeout | F/infra/heartbeat_lost
lost_contact | F/infra/heartbeat_lost       | C/none/cancelled           | C/-/cancelled           | C/stop/cancelled           | F/retry/execution_timeout | F/infra/heartbeat_lost
no_files     | F/infra/no_files             | C/none/cancelled           | C/-/cancelled           | C/stop/cancelled           | F/retry/execution_timeout | F/infra/heartbeat_lost
newer        | F/retry/unknown_outcome      | F/none/unknown_outcome     | F/-/unknown_outcome     | F/stop/unknown_outcome     | F/retry/unknown_outcome   | F/retry/unknown_outcome
gone_author  | F/retry/oom_killed           | C/none/cancelled           | C/-/cancelled           | C/stop/cancelled           | F/retry/execution_timeout | F/infra/heartbeat_lost
gone_infra   | F/infra/evicted              | C/none/cancelled           | C/-/cancelled           | C/stop/cancelled           | F/retry/execution_timeout | F/infra/heartbeat_lost
gone_exit_0  | F/infra/unknown              | C/none/cancelled           | C/-/cancelled           | C/stop/cancelled           | F/retry/execution_timeout | F/infra/heartbeat_lost
"""  # noqa: E501 - a table is read by its columns
SAID: dict[str, tuple[str, ErrorInfo | None]] = {
    "success": ("success", None),
    "skipped": ("skipped", None),
    "reschedule": ("reschedule", None),
    "failed": ("failed", BAD),
    "oom": ("failed", ErrorInfo(type="OutOfMemory", message="The kernel killed it.")),
    "no_retry": ("fail_without_retry", BAD),
    "sensor": ("fail_without_retry", ErrorInfo(type="AirflowSensorTimeout", message="late")),
    "timeout": ("timeout", None),
    "terminated": ("terminated", None),
    "lost_contact": ("terminated", ErrorInfo(type="LostContact", message="Nobody answered.")),
    "no_files": ("no_files", BAD),
    "newer": ("teleported", None),
}
SEEN = {
    "gone_author": gone("oom_killed", 137),
    "gone_infra": gone("evicted", None, infrastructure=True),
    "gone_exit_0": gone("completed", 0),
}
ATTEMPTS = {
    "S": AttemptState.SUCCESS,
    "K": AttemptState.SKIPPED,
    "R": AttemptState.RESCHEDULED,
    "F": AttemptState.FAILED,
    "C": AttemptState.CANCELLED,
}
TASKS: dict[str, tuple[TaskState | None, Budget, Cause | None]] = {
    "success": (TaskState.SUCCESS, Budget.NONE, None),
    "skipped": (TaskState.SKIPPED, Budget.NONE, None),
    "resched": (TaskState.UP_FOR_RESCHEDULE, Budget.NONE, Cause.RESCHEDULE),
    "retry": (TaskState.UP_FOR_RETRY, Budget.AUTHOR, Cause.RETRY),
    "infra": (TaskState.UP_FOR_RETRY, Budget.INFRA, Cause.INFRA),
    "failed": (TaskState.FAILED, Budget.AUTHOR, None),
    "stop": (TaskState.FAILED, Budget.NONE, None),
    "none": (TaskState.NONE, Budget.NONE, Cause.CLEAR),
    "-": (None, Budget.NONE, None),
}


def cells() -> list[Any]:
    head, *lines = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
    return [
        pytest.param(row[0], None if stop == "none" else Stop(stop), cell, id=f"{row[0]}-{stop}")
        for row in lines
        for stop, cell in zip(head[1:], row[1:], strict=True)
    ]


@pytest.mark.parametrize(("witness", "stop", "cell"), cells())
def test_the_truth_table(witness: str, stop: Stop | None, cell: str) -> None:
    attempt, task, category = cell.split("/")
    state, budget, cause = TASKS[task]
    for found in told(
        witness, policy(stop=stop, attempt_state=AttemptState.STOPPING if stop else AttemptState.RUNNING)
    ):
        assert found.attempt_state is ATTEMPTS[attempt]
        assert (found.task_state, found.budget, found.next_cause) == (state, budget, cause)
        assert found.category == category
        assert (found.sentence != "") is (attempt in "FC")


def told(witness: str, task: TaskPolicy) -> list[Ended]:
    """The same message by all ways it may come: as report, as last words after the death, as what was seen."""
    if witness in SEEN:
        found = [verdict(None, SEEN[witness], None, task, NOW)]
    else:
        outcome, error = SAID[witness]
        dead = gone("completed", 0)
        found = [
            verdict(end(outcome, error=error), None, None, task, NOW),
            verdict(end(outcome, error=error), dead, words("success"), task, NOW),
            verdict(None, dead, words(outcome, error=error), task, NOW),
        ]
    assert all(each is not None for each in found)
    return [each for each in found if each is not None]


@pytest.mark.parametrize("witness", [*SAID, *SEEN])
def test_a_restarting_task_counts_as_cleared_and_a_settled_one_as_marked(witness: str) -> None:
    for stop in (None, *Stop):
        restarting = policy(stop=stop, task_state=TaskState.RESTARTING)
        assert {found.task_state for found in told(witness, restarting)} == {TaskState.NONE}
    for state in set(TaskState) - TASK_IN_FLIGHT:
        for stop in (None, Stop.MARK, Stop.USER, Stop.TIMEOUT, Stop.LOST):
            for found in told(witness, policy(stop=stop, task_state=state)):
                assert (found.task_state, found.budget) == (None, Budget.NONE)


@pytest.mark.parametrize("state", sorted(ATTEMPT_ENDED))
def test_what_comes_after_the_end_moves_nothing(state: AttemptState) -> None:
    assert verdict(end("success"), gone(), words("success"), policy(attempt_state=state), NOW) is None
    assert refused(refusal(), policy(attempt_state=state), NOW) is None


def test_nothing_ends_while_nobody_speaks() -> None:
    assert verdict(None, None, words("success"), policy(), NOW) is None


@pytest.mark.parametrize("state", [AttemptState.QUEUED, AttemptState.CLAIMED, AttemptState.LAUNCHED])
def test_before_the_fence_there_is_no_workers_word(state: AttemptState) -> None:
    task = policy(attempt_state=state, task_state=TaskState.QUEUED)
    assert verdict(end("success"), None, None, task, NOW) is None
    found = verdict(end("success"), gone("image_pull", None, infrastructure=True), words("success"), task, NOW)
    assert found is not None
    assert (found.attempt_state, found.category) == (AttemptState.FAILED, "image_pull")


def test_a_fenced_report_wins_over_what_was_seen() -> None:
    found = verdict(end("success"), gone("oom_killed", 137), words("failed"), policy(), NOW)
    assert found is not None
    assert (found.attempt_state, found.exit_code) == (AttemptState.SUCCESS, 137)


def test_success_carries_what_the_report_says_for_those_downstream() -> None:
    found = verdict(end("success", skip=("b", "c"), map_length=3), None, None, policy(), NOW)
    assert found is not None
    assert (found.skips, found.map_length) == (("b", "c"), 3)


def test_last_words_of_success_are_not_enough_when_others_need_the_result() -> None:
    found = verdict(None, gone("completed", 0), words("success"), policy(needs_report=True), NOW)
    assert found is not None
    assert (found.task_state, found.category, found.budget) == (TaskState.UP_FOR_RETRY, "result_lost", Budget.INFRA)
    reported = verdict(end("success"), gone("completed", 0), None, policy(needs_report=True), NOW)
    assert reported is not None
    assert reported.task_state is TaskState.SUCCESS


def test_the_results_that_others_need_are_known_from_the_dag() -> None:
    def plain(task_id: str, **fields: Any) -> TaskSpec:
        return TaskSpec(task_id=task_id, operator="Op", **fields)

    mapped = MappedSpec(args=(ExpandArg(name="x", refs=(XComRef(task_id="list"),)),))
    spec = DagSpec(
        dag_id="d",
        tasks=(
            plain("branch", kind="branch"),
            plain("gate", kind="short_circuit"),
            plain("list"),
            plain("value"),
            plain("m", mapped=mapped),
            plain("u", xcom_refs=(XComRef(task_id="value"),)),
        ),
    )
    assert reported_tasks(spec) == {"branch", "gate", "list", "value"}


def test_a_sigterm_from_outside_is_explained_by_what_the_executor_saw() -> None:
    evicted = gone("evicted_over_own_request", 143)
    found = verdict(end("terminated"), evicted, None, policy(), NOW)
    assert found is not None
    assert (found.category, found.budget) == ("evicted_over_own_request", Budget.AUTHOR)


def test_a_sigterm_is_explained_by_what_the_pods_status_said_by_then() -> None:
    drained = Diagnosis(category="drained", sentence="Evicted from n1 (a drain).", infrastructure=True)
    found = verdict(end("terminated"), None, None, policy(removed=drained), NOW)
    assert found is not None
    assert (found.category, found.budget, found.author_failures) == ("drained", Budget.INFRA, 0)
    done = verdict(end("success"), None, None, policy(removed=drained), NOW)
    assert done is not None
    assert done.task_state is TaskState.SUCCESS


def test_a_task_killed_for_memory_is_the_authors_to_mend_and_has_its_own_category() -> None:
    told = conclude(Death(status=int(signal.SIGKILL), out_of_memory=True))
    found = verdict(end(told.outcome, reason=told.reason, error=told.error), None, None, policy(retries=0), NOW)
    assert found is not None
    assert (found.category, found.budget) == ("oom_killed", Budget.AUTHOR)
    assert found.sentence == "The task's process was killed by the kernel (SIGKILL): it ran out of memory."
    assert "memory limit" in found.hint
    measured = end(told.outcome, reason=told.reason, error=told.error, peak_memory_bytes=61 << 20)
    found = verdict(measured, None, None, policy(retries=0), NOW)
    assert found is not None
    assert found.sentence.endswith("ran out of memory. The most that it was seen to use is 61 MiB.")


def test_a_worker_that_fenced_itself_points_at_its_way_to_the_api() -> None:
    told = conclude(Death(status=int(signal.SIGKILL), killed="lost", limit_seconds=600))
    for fate in (None, gone("exit", 65, infrastructure=True)):
        found = verdict(end(told.outcome, reason=told.reason, error=told.error), fate, None, policy(retries=0), NOW)
        assert found is not None
        assert (found.category, found.budget) == ("heartbeat_lost", Budget.INFRA)
        assert found.sentence.startswith("The worker had no contact with the API for 600 s and killed its task")
        assert found.hint == "Look at the node and at the worker's way to the API."


def test_a_told_sentence_has_one_full_stop() -> None:
    crashed = ErrorInfo(type="SIGSEGV", message="It was killed by SIGSEGV.")
    for outcome in ("failed", "fail_without_retry", "timeout", "no_files", "terminated"):
        found = verdict(end(outcome, reason="It was so.", error=crashed), None, None, policy(retries=0), NOW)
        assert found is not None
        assert ".)" not in found.sentence


def test_a_sensor_that_failed_by_its_timeout_is_not_tried_again_however_it_is_reported() -> None:
    late = ErrorInfo(type="execplane.sdk.errors.SensorTimeout", message="after 10 s")
    found = verdict(end("failed", error=late), None, None, policy(), NOW)
    assert found is not None
    assert (found.task_state, found.sentence) == (
        TaskState.FAILED,
        "The sensor timed out (execplane.sdk.errors.SensorTimeout: after 10 s).",
    )


# Budgets and delays


@pytest.mark.parametrize(
    ("failures", "state"), [(0, TaskState.UP_FOR_RETRY), (1, TaskState.UP_FOR_RETRY), (2, TaskState.FAILED)]
)
def test_retries_are_tries_after_the_first(failures: int, state: TaskState) -> None:
    found = verdict(end("failed", error=BAD), None, None, policy(author_failures=failures), NOW)
    assert found is not None
    assert (found.task_state, found.author_failures, found.infra_failures) == (state, failures + 1, 0)


@pytest.mark.parametrize(
    ("failures", "state"), [(0, TaskState.UP_FOR_RETRY), (2, TaskState.UP_FOR_RETRY), (3, TaskState.FAILED)]
)
def test_infrastructure_has_a_budget_of_its_own(failures: int, state: TaskState) -> None:
    task = policy(infra_failures=failures, author_failures=2, retries=0)
    found = verdict(None, SEEN["gone_infra"], None, task, NOW)
    assert found is not None
    assert (found.task_state, found.infra_failures, found.author_failures) == (state, failures + 1, 2)


def test_the_sentence_says_what_comes_next() -> None:
    first = verdict(end("failed", error=BAD), None, None, policy(), NOW)
    last = verdict(end("failed", error=BAD), None, None, policy(author_failures=2), NOW)
    alone = verdict(end("failed", error=BAD), None, None, policy(retries=0), NOW)
    assert [each.sentence if each else "" for each in (first, last, alone)] == [
        "The task failed (ValueError: bad). Next comes retry 1 of 2.",
        "The task failed (ValueError: bad). All 2 retry attempts are used up.",
        "The task failed (ValueError: bad).",
    ]


def test_a_retry_waits_for_its_delay_and_a_reschedule_for_its_moment() -> None:
    retry = verdict(end("failed"), None, None, policy(), NOW)
    again = verdict(end("reschedule", reschedule_at=LATER), None, None, policy(), NOW)
    lost = verdict(None, gone(), words("reschedule"), policy(), NOW)
    found = [each.eligible_at if each else None for each in (retry, again, lost)]
    assert found == [NOW + timedelta(seconds=60), LATER, NOW]


def test_max_tries_counts_on_from_what_is_left() -> None:
    spec = TaskSpec(task_id="t", operator="Op", retries=2)
    assert max_tries(spec, try_number=1, author_failures=0) == 3
    assert max_tries(spec, try_number=2, author_failures=1) == 3
    assert max_tries(spec, try_number=5, author_failures=0) == 7
    assert max_tries(spec, try_number=5, author_failures=9) == 5


# The operators' rules


def ruled(witness: str, *rules: FailureRule, **fields: Any) -> Ended:
    return told(witness, policy(failures=FailurePolicy(rules=rules), **fields))[0]


def test_a_rule_moves_a_failure_to_the_other_budget_with_its_own_name_and_hint() -> None:
    reclaimed = FailureRule(budget=Budget.INFRA, message="ValueError: b", name="spot_reclaimed", hint="It comes back.")
    found = ruled("failed", reclaimed)
    assert (found.budget, found.next_cause, found.infra_failures) == (Budget.INFRA, Cause.INFRA, 1)
    assert (found.category, found.hint) == ("spot_reclaimed", "It comes back.")
    found = ruled("gone_infra", FailureRule(budget=Budget.AUTHOR, category="evicted"))
    assert (found.budget, found.category, found.author_failures) == (Budget.AUTHOR, "evicted", 1)


def test_a_rule_of_no_budget_fails_the_task_at_once_and_counts_nothing() -> None:
    found = ruled("gone_author", FailureRule(budget=Budget.NONE, exit_codes=(136, 137)))
    assert (found.task_state, found.budget, found.author_failures) == (TaskState.FAILED, Budget.NONE, 0)


def test_the_first_rule_that_matches_counts_and_all_it_names_must_match() -> None:
    other_code = FailureRule(budget=Budget.NONE, category="oom_killed", exit_codes=(1,))
    by_reason = FailureRule(budget=Budget.NONE, reason="OOMKilled")
    first = FailureRule(budget=Budget.INFRA, category="oom_killed", name="small_nodes")
    second = FailureRule(budget=Budget.NONE, category="oom_killed")
    found = ruled("gone_author", other_code, by_reason, first, second)
    assert (found.category, found.budget) == ("small_nodes", Budget.INFRA)
    seen = Gone(
        attempt_id=1,
        uid="u",
        at=NOW,
        diagnosis=Diagnosis(category="oom_killed", sentence="It died.", data={"reason": "OOMKilled"}),
    )
    by_kubernetes_word = verdict(None, seen, None, policy(failures=FailurePolicy(rules=(by_reason,))), NOW)
    assert by_kubernetes_word is not None
    assert by_kubernetes_word.task_state is TaskState.FAILED


def test_no_rule_makes_a_task_run_again_that_asked_not_to() -> None:
    for category in FINAL:
        witness = "sensor" if category is Category.SENSOR_TIMEOUT else "no_retry"
        for budget in Budget:
            found = ruled(witness, FailureRule(budget=budget, category=category, hint="Ask the owner."))
            assert (found.task_state, found.hint) == (TaskState.FAILED, "Ask the owner.")


def test_no_rule_touches_an_end_that_was_asked_for() -> None:
    everything = FailureRule(budget=Budget.INFRA, message=".", name="mine")
    for stop in (Stop.CLEAR, Stop.MARK, Stop.USER):
        found = ruled("gone_author", everything, stop=stop, attempt_state=AttemptState.STOPPING)
        assert (found.category, found.budget) == ("cancelled", Budget.NONE)


# Refused launches


def refusal(*, infrastructure: bool = False, **fields: Any) -> LaunchRefused:
    diagnosis = Diagnosis(category="quota", sentence="No.", infrastructure=infrastructure)
    known: dict[str, Any] = {"attempt_id": 1, "diagnosis": diagnosis, "retry": False, "at": NOW}
    return LaunchRefused(**(known | fields))


@pytest.mark.parametrize(
    ("fact", "budget"),
    [
        (refusal(), Budget.AUTHOR),
        (refusal(infrastructure=True), Budget.INFRA),
        (refusal(new_attempt=True), Budget.INFRA),
        (refusal(new_attempt=True, retry=True), Budget.INFRA),
    ],
)
def test_a_refused_launch_fails_the_attempt(fact: LaunchRefused, budget: Budget) -> None:
    found = refused(fact, policy(attempt_state=AttemptState.LAUNCHED, task_state=TaskState.QUEUED), NOW)
    assert found is not None
    assert (found.attempt_state, found.task_state) == (AttemptState.FAILED, TaskState.UP_FOR_RETRY)
    assert (found.budget, found.category) == (budget, "quota")


def test_a_refusal_that_asks_for_the_same_launch_again_ends_nothing() -> None:
    assert refused(refusal(retry=True), policy(attempt_state=AttemptState.LAUNCHED), NOW) is None


def test_a_refused_launch_that_was_to_be_stopped_anyway_is_cancelled() -> None:
    task = policy(attempt_state=AttemptState.STOPPING, task_state=TaskState.RESTARTING, stop=Stop.CLEAR)
    found = refused(refusal(), task, NOW)
    assert found is not None
    assert (found.attempt_state, found.task_state) == (AttemptState.CANCELLED, TaskState.NONE)


# What holds for all

OUTCOMES = st.sampled_from([outcome for outcome, _ in SAID.values()])
ERRORS = st.sampled_from(
    [None, BAD, *(ErrorInfo(type=kind, message="") for kind in ("SensorTimeout", "OutOfMemory", "LostContact", ""))]
)
REPORTS = st.none() | st.builds(end, OUTCOMES, error=ERRORS, reschedule_at=st.none() | st.just(LATER))
WORDS = st.none() | st.builds(words, OUTCOMES, error=ERRORS)
FATES = st.none() | st.builds(
    gone,
    st.sampled_from(["a", "", *Category]),
    st.sampled_from([None, 0, 1, 137]),
    infrastructure=st.booleans(),
    sentence=st.sampled_from(["It died.", ""]),
)
RULES = st.builds(
    FailureRule,
    budget=st.sampled_from(Budget),
    category=st.sampled_from(["", "a", "task_failed", "failed_without_retry"]),
    exit_codes=st.sampled_from([(), (137,), (0, 1)]),
    message=st.sampled_from(["", "bad", "never said"]),
    name=st.sampled_from(["", "spot_reclaimed"]),
)
POLICIES = st.builds(
    policy,
    attempt_state=st.sampled_from(AttemptState),
    task_state=st.sampled_from(TaskState),
    retries=st.integers(0, 3),
    author_failures=st.integers(0, 4),
    infra_failures=st.integers(0, 4),
    failures=st.builds(FailurePolicy, infra_retries=st.integers(0, 3), rules=st.lists(RULES, max_size=2).map(tuple)),
    needs_report=st.booleans(),
    stop=st.none() | st.sampled_from(Stop),
)


@given(REPORTS, FATES, WORDS, POLICIES)
def test_an_attempt_ends_once_along_allowed_edges_and_pays_from_one_budget_at_most(
    report: End | None, fate: Gone | None, last_words: Verdict | None, task: TaskPolicy
) -> None:
    found = verdict(report, fate, last_words, task, NOW)
    if found is None:
        fenced = task.attempt_state in (AttemptState.RUNNING, AttemptState.STOPPING)
        assert task.attempt_state in ATTEMPT_ENDED or (fate is None and (report is None or not fenced))
        return
    assert found.attempt_state in ATTEMPT_ENDED
    if found.attempt_state in (AttemptState.FAILED, AttemptState.CANCELLED):
        assert found.category
        assert found.hint
        assert found.sentence.strip(" .()")
        assert "None" not in found.category + found.sentence
        assert "()" not in found.sentence
    if task.attempt_state not in (AttemptState.QUEUED, AttemptState.CLAIMED):
        assert found.attempt_state in ATTEMPT_EDGES[task.attempt_state]
    spent = (found.author_failures - task.author_failures, found.infra_failures - task.infra_failures)
    assert spent == {Budget.AUTHOR: (1, 0), Budget.INFRA: (0, 1), Budget.NONE: (0, 0)}[found.budget]
    assert (found.task_state is TaskState.UP_FOR_RETRY) is (found.next_cause in (Cause.RETRY, Cause.INFRA))
    assert (found.eligible_at is not None) is (
        found.task_state in (TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE)
    )
    assert found.eligible_at is None or found.eligible_at >= NOW
    if found.task_state is not None and task.task_state in TASK_IN_FLIGHT and task.stop not in (Stop.CLEAR, Stop.MARK):
        assert found.task_state in TASK_EDGES[task.task_state]
    again = verdict(report, fate, last_words, policy(attempt_state=found.attempt_state), NOW)
    assert again is None


@given(FATES.filter(bool), POLICIES)
def test_what_is_not_the_authors_fault_never_counts_as_a_failed_try(fate: Gone, task: TaskPolicy) -> None:
    task = replace(task, failures=FailurePolicy())
    blameless = fate.diagnosis.infrastructure or fate.diagnosis.exit_code == 0
    found = verdict(None, fate, None, task, NOW)
    if found is not None and blameless and task.stop is not Stop.TIMEOUT:
        assert found.author_failures == task.author_failures
