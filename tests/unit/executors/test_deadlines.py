"""Deadlines, pure: which clock an attempt is under, what it ends as, when nobody is ended, what time counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from execplane.contract.categories import FATAL_STATE_REASONS, MEANING, Budget, Category
from execplane.contract.observations import Diagnosis, Gone
from execplane.contract.states import AttemptState, TaskState
from execplane.executors.driver.deadlines import (
    DeadlineOptions,
    Do,
    Overdue,
    Phase,
    breaker,
    in_words,
    judge,
    limit_of,
    phase_of,
)
from execplane.executors.driver.deadlines_clock import Moved, WellTime
from execplane.executors.task_policy import Stop, TaskPolicy
from execplane.executors.verdict import Ended, verdict
from execplane.store.deadline_rows import Standing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEFAULTS = DeadlineOptions()
CAPPED = DeadlineOptions(task_queued_timeout_seconds=7200, unscheduled_seconds=3600)


def standing(state: AttemptState = AttemptState.LAUNCHED, **known: Any) -> Standing:
    given: dict[str, Any] = {
        "attempt_id": 1,
        "state": state,
        "seq": 2,
        "is_pod": True,
        "queued_at": NOW,
        "launched_at": NOW,
        "acknowledged": True,
        "node": "",
        "started": False,
        "heartbeat_at": NOW if state in (AttemptState.RUNNING, AttemptState.STOPPING) else None,
        "not_claimed_reason": "",
        **known,
    }
    return Standing(**given)


PULL: dict[str, Any] = {
    "node": "n1",
    "waits_reason": "ErrImagePull",
    "waits_sentence": "Image x does not exist: not found",
}
MISSING = standing(**PULL, waits_code=Category.IMAGE_MISSING)
LIMITED = standing(**PULL, waits_code=Category.IMAGE_RATE_LIMITED)
QUOTA = standing(acknowledged=False, waits_code=Category.QUOTA, waits_sentence="The quota is used up.")
NO_NODE = standing(waits_code=Category.UNSCHEDULABLE, waits_sentence="No node fits: 0/3 nodes.")


@pytest.mark.parametrize(
    ("one", "phase"),
    [
        (standing(AttemptState.QUEUED), Phase.QUEUED),
        (standing(AttemptState.CLAIMED), None),
        (standing(acknowledged=False), Phase.LAUNCHING),
        (standing(acknowledged=False, waits_code=Category.API_UNAVAILABLE), None),
        (QUOTA, Phase.UNSCHEDULED),
        (NO_NODE, Phase.UNSCHEDULED),
        (standing(), Phase.UNSCHEDULED),
        (standing(node="n1", waits_code=Category.STARTING), Phase.STARTING),
        (MISSING, Phase.FATAL_STATE),
        (LIMITED, Phase.STARTING),
        (standing(node="n1", started=True), Phase.CLAIMING),
        (standing(is_pod=False), Phase.CLAIMING),
        (standing(AttemptState.RUNNING), Phase.SILENT),
        (standing(AttemptState.STOPPING), Phase.STOPPING),
        (standing(AttemptState.STOPPING, is_pod=False), None),
    ],
)
def test_each_place_has_its_clock(one: Standing, phase: Phase | None) -> None:
    assert phase_of(one, DEFAULTS) is phase


def over(
    one: Standing, options: DeadlineOptions = DEFAULTS, seconds: float = 1e7, waited: float = 0.0
) -> Overdue | None:
    phase = phase_of(one, options)
    assert phase is not None
    return judge(one, phase, seconds, waited, options)


def test_an_image_that_does_not_exist_ends_as_such_at_its_authors_cost() -> None:
    assert over(MISSING, seconds=59) is None
    found = over(MISSING, seconds=60)
    assert found is not None
    assert (found.do, found.category) == (Do.STOP, Category.IMAGE_MISSING)
    assert found.sentence == "Image x does not exist: not found. It stayed so for 60 s."


def test_a_registry_that_limits_pulls_has_as_long_as_any_start_and_costs_infrastructure() -> None:
    assert over(LIMITED, seconds=1799) is None
    found = over(LIMITED, seconds=1800)
    assert found is not None
    assert found.category == Category.IMAGE_RATE_LIMITED
    assert MEANING[Category(found.category)].budget is Budget.INFRA


def test_a_reason_that_the_operators_do_not_call_fatal_has_as_long_as_any_start() -> None:
    options = DeadlineOptions(worker_pod_pending_fatal_container_state_reasons=["InvalidImageName"])
    assert over(MISSING, options, seconds=61) is None
    found = over(MISSING, options)
    assert found is not None
    assert (found.phase, found.category) == (Phase.STARTING, Category.IMAGE_MISSING)


@pytest.mark.parametrize("one", [QUOTA, NO_NODE, standing(AttemptState.QUEUED)])
@given(seconds=st.floats(0, 1e9), waited=st.floats(0, 1e9))
def test_waiting_for_capacity_ends_nobody_by_default(one: Standing, seconds: float, waited: float) -> None:
    assert over(one, seconds=seconds, waited=waited) is None


@pytest.mark.parametrize("one", [QUOTA, NO_NODE])
def test_an_operators_cap_on_waiting_ends_it_for_nobodys_money_and_says_what_it_waited_for(one: Standing) -> None:
    found = over(one, CAPPED, seconds=3600)
    assert found is not None
    assert (found.do, found.category) == (Do.STOP, Category.QUEUED_TIMEOUT)
    assert found.sentence.startswith("The attempt waited 60 min, and unscheduled_seconds allows 60 min.")
    assert one.waits_sentence.rstrip(".") in found.sentence
    assert settled(found).budget is Budget.NONE


def test_the_cap_on_queueing_counts_all_phases_and_ends_what_was_never_launched_here_and_now() -> None:
    queued = standing(AttemptState.QUEUED, not_claimed_reason="The pool wide is full.")
    found = over(queued, CAPPED, waited=7200)
    assert found is not None
    assert (found.do, found.category) == (Do.END, Category.QUEUED_TIMEOUT)
    assert found.sentence.endswith("It waits for this: The pool wide is full.")
    starting = over(standing(node="n1"), CAPPED, seconds=1, waited=7200)
    assert starting is not None
    assert (starting.do, starting.phase) == (Do.STOP, Phase.QUEUED)
    running = over(standing(AttemptState.RUNNING), CAPPED, seconds=1, waited=7200)
    assert running is None


@pytest.mark.parametrize(
    ("one", "category"),
    [
        (standing(acknowledged=False), Category.LAUNCH_TIMEOUT),
        (standing(node="n1", waits_code=Category.STARTING), Category.START_TIMEOUT),
        (standing(node="n1", started=True), Category.CLAIM_TIMEOUT),
        (standing(is_pod=False), Category.CLAIM_TIMEOUT),
    ],
)
def test_what_hangs_on_its_way_is_infrastructures_and_named_by_the_phase(one: Standing, category: Category) -> None:
    found = over(one)
    assert found is not None
    assert (found.do, found.category) == (Do.STOP, category)
    ended = settled(found)
    assert (ended.budget, ended.task_state) == (Budget.INFRA, TaskState.UP_FOR_RETRY)
    assert ended.sentence.startswith(found.sentence)
    assert ended.hint


def settled(found: Overdue) -> Ended:
    """What the verdict makes of the stop once the attempt is dead."""
    task = TaskPolicy(
        attempt_state=AttemptState.STOPPING,
        task_state=TaskState.QUEUED,
        key="k",
        retries=1,
        stop=Stop.WAITED,
        stop_reason=found.sentence,
        stop_category=found.category,
    )
    killed = Diagnosis(category=Category.KILLED_BY_OPERATOR, sentence="It was stopped.", exit_code=137)
    ended = verdict(None, Gone(attempt_id=1, uid="u", at=NOW, diagnosis=killed), None, task, NOW)
    assert ended is not None
    return ended


def test_a_launch_that_waits_in_the_executor_is_queued_and_only_a_cap_on_queueing_ends_it() -> None:
    one = standing(acknowledged=False)
    phase = phase_of(one, DEFAULTS, unsent=True)
    assert phase is Phase.QUEUED
    assert judge(one, phase, 1e7, 1e7, DEFAULTS) is None
    capped = judge(one, phase, 0.0, 7200, CAPPED)
    assert capped is not None
    assert (capped.do, capped.category) == (Do.STOP, Category.QUEUED_TIMEOUT)
    assert phase_of(QUOTA, DEFAULTS, unsent=True) is Phase.UNSCHEDULED


def test_a_wait_that_an_operator_capped_fails_the_task_without_a_retry_and_without_a_failure_counted() -> None:
    found = over(NO_NODE, CAPPED)
    assert found is not None
    ended = settled(found)
    assert (ended.attempt_state, ended.task_state) == (AttemptState.FAILED, TaskState.FAILED)
    assert (ended.author_failures, ended.infra_failures) == (0, 0)


@given(
    timeout=st.floats(0.001, 1e5),
    self_fence=st.floats(0.1, 1e5),
    seconds=st.floats(0, 1e6),
)
def test_a_silent_worker_is_never_lost_before_it_must_have_fenced_itself(
    timeout: float, self_fence: float, seconds: float
) -> None:
    options = DeadlineOptions(task_instance_heartbeat_timeout_seconds=timeout, self_fence_seconds=self_fence)
    for state in (AttemptState.RUNNING, AttemptState.STOPPING):
        if over(standing(state), options, seconds) is not None:
            assert seconds > self_fence


def test_a_silent_worker_counts_for_the_breaker_before_it_is_ended() -> None:
    one = standing(AttemptState.RUNNING)
    first, later = over(one, seconds=660), over(one, seconds=690)
    assert first is not None
    assert later is not None
    assert (first.do, first.settled, later.settled) == (Do.LOSE, False, True)


def test_a_stopped_pod_that_never_claimed_needs_no_fence() -> None:
    options = DeadlineOptions(stopping_seconds=5)
    never = replace(standing(AttemptState.STOPPING), heartbeat_at=None)
    assert limit_of(never, Phase.STOPPING, options) == 5
    assert limit_of(standing(AttemptState.STOPPING), Phase.STOPPING, options) == pytest.approx(660)


NEVER = DeadlineOptions(
    launch_seconds=0,
    starting_seconds=0,
    fatal_state_seconds=0,
    claim_seconds=0,
    task_instance_heartbeat_timeout_seconds=0,
    stopping_seconds=0,
)


OPERATORS_ENDS = (Category.SUCCEEDED, Category.KILLED_BY_OPERATOR, Category.STOPPED, Category.CANCELLED)
"""Nothing waits for these."""


@given(
    state=st.sampled_from(AttemptState),
    is_pod=st.booleans(),
    acknowledged=st.booleans(),
    node=st.sampled_from(["", "n1"]),
    started=st.booleans(),
    code=st.sampled_from(["", "made_by_a_newer_version", *(one for one in Category if one not in OPERATORS_ENDS)]),
    reason=st.sampled_from(["", "ContainerCreating", *FATAL_STATE_REASONS]),
    counted=st.floats(0, 1e9),
    waited=st.floats(0, 1e9),
)
def test_whatever_stands_wherever_is_named_and_zero_means_never(
    state: AttemptState,
    is_pod: bool,
    acknowledged: bool,
    node: str,
    started: bool,
    code: str,
    reason: str,
    counted: float,
    waited: float,
) -> None:
    one = standing(
        state,
        is_pod=is_pod,
        acknowledged=acknowledged,
        node=node,
        started=started,
        waits_code=code,
        waits_reason=reason,
        waits_sentence="It waits.",
    )
    phase = phase_of(one, CAPPED)
    assume(phase is not None)
    assert phase is not None
    assert judge(one, phase, counted, waited, NEVER) is None
    found = judge(one, phase, counted, waited, CAPPED)
    if found is None:
        return
    assert found.sentence
    if found.do in (Do.END, Do.STOP):
        assert found.category in set(Category)
    capacity = found.category == Category.QUEUED_TIMEOUT
    assert capacity == (MEANING[Category(found.category or Category.HEARTBEAT_LOST)].budget is Budget.NONE)
    assert capacity or phase is not Phase.UNSCHEDULED


def overdue(state: AttemptState, count: int) -> list[Overdue]:
    return [Overdue(standing=standing(state), phase=Phase.QUEUED, do=Do.STOP)] * count


@given(
    late=st.integers(0, 300),
    active=st.integers(0, 1500),
    confirmed=st.none() | st.integers(0, 300),
    queued=st.integers(0, 100_000),
)
def test_the_breaker_opens_on_a_mass_only_and_a_confirmation_is_for_as_many_as_were_shown(
    late: int, active: int, confirmed: int | None, queued: int
) -> None:
    among = {AttemptState.RUNNING: max(active, late), AttemptState.QUEUED: queued, AttemptState.LAUNCHED: queued}
    found = breaker(overdue(AttemptState.RUNNING, late), among, confirmed, DEFAULTS)
    mass = late >= 10 and late > max(active, late) / 5
    assert found.is_open == mass
    assert found.may_end == (not mass or (confirmed is not None and late <= confirmed + 10))
    assert found.mass == (f"{late} of {max(active, late)} running attempts" if mass else "")


def test_the_pods_of_one_dead_node_are_no_mass_among_all_that_run() -> None:
    among = {AttemptState.RUNNING: 500, AttemptState.STOPPING: 12}
    assert not breaker(overdue(AttemptState.STOPPING, 12), among, None, DEFAULTS).is_open
    assert breaker(overdue(AttemptState.STOPPING, 12), {AttemptState.STOPPING: 12}, None, DEFAULTS).is_open


@pytest.mark.parametrize("then", list(Stop))
def test_an_end_that_nobody_confirms_is_news_unless_a_deadline_stopped_it(then: Stop) -> None:
    found = over(standing(AttemptState.STOPPING, stop_then=then))
    assert found is not None
    assert found.is_news == (then not in (Stop.LOST, Stop.WAITED))
    launched = over(standing(acknowledged=False, stop_then=then))
    assert launched is not None
    assert launched.is_news


def test_a_share_of_one_means_no_breaker() -> None:
    among = {AttemptState.RUNNING: 3000}
    assert not breaker(overdue(AttemptState.RUNNING, 3000), among, None, DeadlineOptions(breaker_share=1)).is_open


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "0.5 s"), (60, "60 s"), (660, "11 min"), (7200, "2 h"), (259200, "3 days")]
)
def test_times_are_said_as_one_says_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


# The clock

LOOKS = st.lists(st.tuples(st.floats(0.1, 100), st.booleans()), min_size=1, max_size=80)


@given(looks=LOOKS, start=st.floats(-500, 3000))
def test_only_time_between_two_good_looks_counts(looks: list[tuple[float, bool]], start: float) -> None:
    clock, moment, counted = WellTime(), 0.0, 0.0
    before: tuple[float, bool] | None = None
    for step, well in looks:
        moment += step
        clock.note(moment, well=well)
        if before is not None and before[1] and well and step <= 60:
            counted += max(0.0, moment - max(before[0], start))
        before = (moment, well)
    assert clock.since(start) == pytest.approx(counted)


def test_a_clock_that_has_just_begun_counts_nothing_of_the_time_before() -> None:
    clock = WellTime()
    assert clock.since(0.0) == 0.0
    clock.note(1000.0, well=True)
    assert clock.since(0.0) == 0.0
    clock.note(1010.0, well=True)
    assert clock.since(0.0) == 10.0


@given(pauses=st.integers(501, 1200))
def test_pauses_without_end_are_not_kept_for_ever_and_never_make_time_out_of_nothing(pauses: int) -> None:
    clock = WellTime()
    for moment in range(pauses):
        clock.note(moment * 10.0, well=True)
        clock.note(moment * 10.0 + 5, well=False)
        clock.note(moment * 10.0 + 6, well=True)
    assert len(clock._pauses) <= 500
    assert clock.since(0.0) <= pauses * 4.0
    assert clock.since(pauses * 10.0 - 20) == pytest.approx(4.0)


def test_a_wall_time_long_ago_counts_no_more_than_what_was_seen() -> None:
    """The queue's cap counts from a wall time, and still no more than was seen."""
    clock = WellTime()
    clock.note(0.0, well=True)
    clock.note(30.0, well=True)
    assert clock.since(30.0 - timedelta(days=1).total_seconds()) == 30.0


@pytest.mark.parametrize(
    ("looks", "moved"),
    [
        ([(0, 5)], False),  # nobody knows when it advanced
        ([(0, 5), (10, 5)], False),
        ([(0, 5), (10, 6)], True),
        ([(0, None), (10, 6)], True),
        ([(0, 5), (10, 6), (40, 6)], True),
        ([(0, 5), (10, 6), (40, 6), (41, 6)], False),
        ([(0, 5), (31, 6)], False),  # sometime in too long a time
        ([(0, 5), (10, 4)], False),  # whoever wrote 5 has gone
        ([(0, 5), (10, 4), (20, 5)], True),
        ([(0, 5), (10, None)], False),
    ],
)
def test_a_time_advances_when_it_is_seen_to_whatever_it_says(
    looks: list[tuple[float, int | None]], moved: bool
) -> None:
    watch = Moved(30.0)
    for moment, value in looks:
        found = watch.look(None if value is None else NOW + timedelta(seconds=value), moment)
    assert found == moved
