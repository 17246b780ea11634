"""Which launches an operator's holds cover: nobody else's, and each with the sentence of a hold that covers it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.launch_holds import LaunchHold, Scope
from execplane.executors.driver.holds import covers, held, next_expiry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = st.sampled_from(["a", "b", "c"])
HOLDS = st.lists(
    st.builds(
        lambda number, scope, name, hours: LaunchHold(
            id=number,
            scope=scope,
            name="" if scope is Scope.ALL else name,
            reason="upgrade",
            author="ada",
            since=NOW,
            until=NOW + timedelta(hours=hours) if hours else None,
        ),
        st.integers(1, 1000),
        st.sampled_from(Scope),
        NAMES,
        st.integers(0, 3),
    ),
    max_size=6,
)


@given(
    holds=HOLDS,
    executor=NAMES,
    dag_id=NAMES,
    tags=st.sets(NAMES),
    cluster=st.one_of(st.just(""), NAMES),
    namespace=st.one_of(st.just(""), NAMES),
)
def test_what_a_claim_leaves_out_is_just_what_some_hold_covers(
    holds: list[LaunchHold],
    executor: str,
    dag_id: str,
    tags: set[str],
    cluster: str,
    namespace: str,
) -> None:
    covering = [
        hold
        for hold in holds
        if covers(hold, executor=executor, dag_id=dag_id, tags=tags, cluster=cluster, namespace=namespace)
    ]

    found = held(holds, executor=executor, tagged={dag_id: sorted(tags)})
    sentence = found.whole or found.dags.get(dag_id, "") or found.place(cluster, namespace)

    assert bool(sentence) == bool(covering)
    assert sentence in {"", *(hold.sentence for hold in covering)}


@given(HOLDS)
def test_the_first_expiry_is_the_next_moment_to_look(holds: list[LaunchHold]) -> None:
    ends = [hold.until for hold in holds if hold.until is not None]
    assert next_expiry(holds) == (min(ends) if ends else None)


def test_a_place_that_is_not_known_is_in_no_namespace_and_no_cluster() -> None:
    hold = LaunchHold(id=1, scope=Scope.NAMESPACE, name="etl", reason="r", author="ada", since=NOW)
    assert not covers(hold, executor="kubernetes", dag_id="d", tags=())
    assert covers(hold, executor="kubernetes", dag_id="d", tags=(), namespace="etl")
