"""Who is blamed when a hook breaks: nobody while it works for nobody, and in the end who really does it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from execplane.kube.mutation_suspects import Suspects


def batch(suspects: Suspects, names: list[str], hangs: set[str]) -> tuple[list[str], list[str], list[str]]:
    """One claim of these pods, as `build_all` makes it: built, refused, and back in the queue."""
    built: list[str] = []
    refused: list[str] = []
    paused = False

    def ask(name: str) -> bool:
        nonlocal paused
        if paused or not suspects.may_try(name):
            return False
        if name in hangs:
            paused = True
            if suspects.broke(name):
                refused.append(name)
                return True
            return False
        suspects.passed(name)
        built.append(name)
        return True

    waiting = [name for name in names if not ask(name)]
    waiting = [name for name in waiting if not ask(name)]
    return built, refused, [name for name in names if name in waiting]


def test_a_hook_that_works_for_nobody_fails_nobody() -> None:
    suspects, names = Suspects(), ["a", "b", "c"]
    for _ in range(20):
        assert batch(suspects, names, hangs=set(names)) == ([], [], names)


def test_the_first_in_line_that_hangs_the_hook_does_not_keep_the_others_from_starting() -> None:
    suspects = Suspects()
    assert batch(suspects, ["bad", "a", "b"], hangs={"bad"}) == ([], [], ["bad", "a", "b"])
    assert batch(suspects, ["bad", "a", "b"], hangs={"bad"}) == (["a", "b"], ["bad"], [])


def test_one_that_hangs_the_hook_waits_while_nobody_else_can_bear_witness() -> None:
    suspects = Suspects()
    for _ in range(5):
        assert batch(suspects, ["bad"], hangs={"bad"}) == ([], [], ["bad"])
    assert batch(suspects, ["bad", "a"], hangs={"bad"}) == (["a"], ["bad"], [])


def test_of_two_suspects_the_innocent_one_is_not_behind_the_other_for_ever() -> None:
    suspects = Suspects()
    batch(suspects, ["bad", "good"], hangs={"bad", "good"})
    batch(suspects, ["bad", "good"], hangs={"bad", "good"})
    built: list[str] = []
    for _ in range(4):
        built += batch(suspects, ["bad", "good"], hangs={"bad"})[0]
    assert built == ["good"]


def test_one_that_was_let_go_first_and_never_came_is_not_waited_for() -> None:
    suspects = Suspects()
    suspects.broke("waits")
    suspects.broke("waits")
    suspects.broke("gone")
    assert not suspects.may_try("gone")
    assert [suspects.may_try("waits") for _ in range(3)] == [False, False, True]


def test_pauses_grow_to_a_minute_and_begin_anew_when_the_hook_works() -> None:
    suspects = Suspects()
    pauses = []
    for number in range(9):
        suspects.broke(str(number))
        pauses.append(suspects.pause_seconds)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    suspects.passed("other")
    suspects.broke("9")
    assert suspects.pause_seconds == 1


@settings(deadline=None)
@given(
    waiting=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True),
    guilty=st.sets(st.sampled_from("abcdef"), max_size=5),
    out_of_order=st.integers(0, 3),
)
def test_after_an_outage_of_the_hook_all_innocent_pods_start_and_only_guilty_ones_fail(
    waiting: list[str], guilty: set[str], out_of_order: int
) -> None:
    suspects = Suspects()
    built: list[str] = []
    refused: list[str] = []
    for _ in range(out_of_order):
        _, failed, waiting = batch(suspects, waiting, hangs=set("abcdef"))
        assert failed == []
    innocent = set(waiting) - guilty
    for _ in range(40):
        done, failed, waiting = batch(suspects, waiting, hangs=guilty)
        built += done
        refused += failed
    assert set(built) == innocent
    # Those that nobody started after may wait still: nothing speaks against them yet.
    assert {*refused, *waiting} <= guilty
