"""Where several files claim a dag_id, one owns it, and which one does not depend on who was imported first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from execplane.parsing.owners import Claims, duplicate_error
from execplane.parsing.plan import FileRef

A, B, C = FileRef("one", "a.py"), FileRef("one", "b.py"), FileRef("two", "a.py")
ORDER = {"one": 0, "two": 1}
files = st.sampled_from([A, B, C])
claims = st.dictionaries(files, st.frozensets(st.sampled_from("xyz")))


@given(made=claims, order=st.permutations([A, B, C]), established=st.dictionaries(st.sampled_from("xyz"), files))
def test_the_order_of_imports_does_not_matter(
    made: dict[FileRef, frozenset[str]], order: list[FileRef], established: dict[str, FileRef]
) -> None:
    def owners(turn: list[FileRef]) -> dict[str, FileRef | None]:
        held = Claims(established, ORDER)
        for file in turn:
            if file in made:
                held.set(file, made[file])
            else:
                held.drop(file)
        return {dag_id: held.owner(dag_id) for dag_id in "xyz"}

    assert owners(order) == owners([A, B, C])
    for dag_id, owner in owners(order).items():
        claiming = [file for file in (A, B, C) if dag_id in made.get(file, ())]
        wanted = established.get(dag_id)
        assert owner == (wanted if wanted in claiming else next(iter(claiming), None))


def test_an_earlier_owner_is_waited_for() -> None:
    held = Claims({"x": B}, ORDER)
    held.set(A, ["x"])
    assert held.owner("x") == B
    held.set(B, [])
    assert held.owner("x") == A


def test_a_file_that_broke_keeps_what_it_defined() -> None:
    held = Claims({"x": B}, ORDER)
    held.keep(B)
    held.set(A, ["x"])
    assert held.owner("x") == B
    held.set(B, ["x", "y"])
    held.keep(B)
    assert held.of(B) == {"x", "y"}


def test_once_settled_a_newcomer_earlier_in_order_takes_nothing() -> None:
    held = Claims({}, ORDER)
    held.set(B, ["x"])
    held.settle()
    held.set(A, ["x"])
    assert held.owner("x") == B
    held.drop(B)
    assert held.owner("x") == A


def test_the_error_names_both_files() -> None:
    assert duplicate_error(B, ["x"], {"x": A}) == (
        "The DAG 'x' is already defined in a.py (one), so the one in b.py (one) is left out. Rename one of them."
    )
