"""One answer from many reasons: who is said first, and that every code is explained and documented."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.pending import CATALOGUE, Code, Reason, Source, Unread, ranked
from execplane.pods.pending_reference import render

REPOSITORY = Path(__file__).parents[2]
REASONS = st.builds(
    Reason,
    code=st.sampled_from(Code),
    sentence=st.text(min_size=1, max_size=20),
    unread=st.lists(st.builds(Unread, what=st.sampled_from(["Nodes", "Events"]), why=st.just("403")), max_size=2).map(
        tuple
    ),
)


def test_the_documentation_is_what_the_catalogue_says() -> None:
    written = (REPOSITORY / "docs" / "why-pending.md").read_text()

    assert written == render(), "run: python -m execplane.pods.pending_reference > docs/why-pending.md"


def test_every_code_is_explained_and_says_what_unblocks_it() -> None:
    assert set(CATALOGUE) == set(Code)
    without = [code for code, meaning in CATALOGUE.items() if not (meaning.means and meaning.unblocks)]
    assert without == [Code.NOT_PENDING]


@given(st.lists(REASONS, max_size=12))
def test_whatever_is_found_there_is_one_first_sentence_and_each_code_once(reasons: list[Reason]) -> None:
    answer = ranked(reasons)
    everything = (answer.first, *answer.others)

    assert answer.sentence.startswith(answer.first.sentence)
    assert sorted({one.code for one in reasons} or {Code.UNKNOWN}) == sorted(one.code for one in everything)
    assert [one.rank for one in everything] == sorted(one.rank for one in everything)
    assert all(one in answer.unread for kept in everything for one in kept.unread)


def test_what_a_person_must_change_is_said_before_what_passes_by_itself() -> None:
    full = Reason(code=Code.POOL_FULL, sentence="full")
    paused = Reason(code=Code.DAG_PAUSED, sentence="paused")
    preparing = Reason(code=Code.NODE_PREPARING, sentence="preparing")

    assert [one.sentence for one in (ranked([preparing, full, paused]).first,)] == ["paused"]
    assert ranked([preparing, full]).others == (preparing,)


def test_the_sentence_says_what_it_could_not_look_at() -> None:
    nodes = Unread(what="Nodes", why="403 Forbidden", rule="a ClusterRole with list on nodes")
    events = Unread(what="Events", why="the API server is too slow")
    reason = Reason(code=Code.INSUFFICIENT_RESOURCES, sentence="No node fits.", unread=(nodes,))

    answer = ranked([reason], unread=[events])

    assert answer.sentence == (
        "No node fits. Nodes could not be read (403 Forbidden; allow it by a ClusterRole with list on nodes)."
    )
    assert answer.unread == (nodes, events)


def test_of_one_code_from_two_places_the_one_that_could_read_more_is_kept() -> None:
    missing = Unread(what="Nodes", why="403")
    blind = Reason(code=Code.UNTOLERATED_TAINTS, sentence="It has taints, which ones is not known.", unread=(missing,))
    sharp = Reason(code=Code.UNTOLERATED_TAINTS, sentence="It has gpu.")

    assert ranked([blind, sharp]).first == ranked([sharp, blind]).first == sharp


def test_the_sources_follow_the_way_of_an_attempt() -> None:
    order = [CATALOGUE[code].source for code in CATALOGUE]

    assert order == sorted(order, key=list(Source).index)
