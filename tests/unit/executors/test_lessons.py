"""What earlier attempts teach the next one."""

from __future__ import annotations

from execplane.contract.states import AttemptState, Cause
from execplane.executors.driver.lessons import Lessons, lessons
from execplane.store.earlier_attempts import Earlier


def story(*attempts: tuple[str, str, str], then: str, state: str = "failed") -> Lessons:
    """Of (cause, category, node), the oldest first, and the new attempt's cause."""
    rows = [
        Earlier(attempt_no=number, cause=Cause(cause), state=AttemptState(state), category=category, node=node)
        for number, (cause, category, node) in enumerate(attempts, start=1)
    ]
    new = Earlier(attempt_no=len(rows) + 1, cause=Cause(then), state=AttemptState.QUEUED, category="", node="")
    return lessons([new, *reversed(rows)])


def test_nodes_of_infrastructure_failures_are_avoided_the_latest_first_and_once() -> None:
    found = story(("first", "node_lost", "a"), ("infra", "drained", "b"), ("infra", "evicted", "a"), then="infra")
    assert found.avoid_nodes == ("a", "b")


def test_a_failure_that_the_author_paid_for_says_nothing_about_its_node() -> None:
    assert story(("first", "evicted", "a"), then="retry").avoid_nodes == ()
    assert story(("first", "task_failed", "a"), ("retry", "node_lost", "b"), then="infra").avoid_nodes == ("b",)


def test_a_failure_that_is_not_the_nodes_says_nothing_about_it() -> None:
    assert story(("first", "result_lost", "a"), ("infra", "deleted", "b"), then="infra") == Lessons()


def test_a_category_of_the_operators_own_that_infrastructure_pays_speaks_against_its_node() -> None:
    assert story(("first", "spot_reclaimed", "a"), then="infra").avoid_nodes == ("a",)


def test_what_was_before_a_clear_is_forgotten() -> None:
    found = story(("first", "node_lost", "a"), ("infra", "oom_killed", "b"), ("clear", "drained", "c"), then="infra")
    assert found == Lessons(avoid_nodes=("c",))
    assert story(("first", "node_lost", "a"), then="clear") == Lessons()


def test_oom_kills_count_also_through_other_failures() -> None:
    found = story(("first", "oom_killed", "a"), ("retry", "node_lost", "b"), ("infra", "oom_killed", "a"), then="retry")
    assert found == Lessons(avoid_nodes=("b",), oom_kills=2)


def test_a_cancelled_attempt_teaches_nothing() -> None:
    assert story(("first", "oom_killed", "a"), then="retry", state="cancelled") == Lessons()
