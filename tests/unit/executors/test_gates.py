"""Who may be claimed: no limit is ever exceeded, and nobody waits without a reason or for somebody else's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from execplane.executors.driver.gates import Limits, admit, free_slots, full_dags, full_pools
from execplane.store.launch_rows import Candidate, Occupied

EMPTY = Occupied(total=0, by_executor={}, by_pool={}, by_dag={}, by_task={})


def candidate(
    attempt_id: int, *, dag: str = "d", task: str = "t", pool: str = "p", slots: int = 1, per_dag: int | None = None
) -> Candidate:
    return Candidate(
        attempt_id=attempt_id,
        dag_id=dag,
        task_id=task,
        pool=pool,
        slots=slots,
        priority=1,
        max_per_dag=per_dag,
        not_claimed_reason="",
    )


def limits(
    *,
    slots: int | None = None,
    parallelism: int | None = None,
    pools: dict[str, int] | None = None,
    dags: dict[str, int] | None = None,
) -> Limits:
    return Limits(
        executor="local",
        executor_slots=slots,
        parallelism=parallelism,
        pools={"p": 100} if pools is None else pools,
        dags={} if dags is None else dags,
    )


def test_candidates_are_taken_in_their_order_while_they_fit() -> None:
    found = admit([candidate(n) for n in (3, 1, 2)], limits(slots=2), EMPTY)

    assert found.admitted == (3, 1)
    assert found.reasons == {2: "All 2 slots of the local executor are taken."}


def test_a_candidate_that_does_not_fit_blocks_nobody_behind_it() -> None:
    found = admit([candidate(1, slots=3), candidate(2)], limits(pools={"p": 2}), EMPTY)

    assert found.admitted == (2,)
    assert found.reasons == {1: "The task wants 3 slots and the pool p has 2 in all."}


def test_a_pool_that_does_not_exist_says_so() -> None:
    found = admit([candidate(1, pool="none")], limits(), EMPTY)

    assert found.reasons == {1: "The pool none does not exist: create it, or name another in the DAG file."}


def test_a_pool_without_limit_takes_all() -> None:
    found = admit([candidate(n, slots=50) for n in range(10)], limits(pools={"p": -1}), EMPTY)

    assert len(found.admitted) == 10


def test_parallelism_counts_what_other_executors_run() -> None:
    occupied = Occupied(total=4, by_executor={"kubernetes": 4}, by_pool={}, by_dag={}, by_task={})

    found = admit([candidate(1), candidate(2)], limits(parallelism=5, slots=10), occupied)

    assert found.admitted == (1,)
    full = Occupied(total=5, by_executor={"kubernetes": 5}, by_pool={}, by_dag={}, by_task={})
    assert admit([candidate(1)], limits(parallelism=5), full).reasons == {
        1: "All 5 slots of this deployment (parallelism) are taken."
    }


def test_max_active_tasks_and_max_active_tis_per_dag_name_themselves() -> None:
    waiting = [candidate(1, per_dag=1), candidate(2, per_dag=1), candidate(3, task="u"), candidate(4, task="v")]

    found = admit(waiting, limits(dags={"d": 2}), EMPTY)

    assert found.admitted == (1, 3)
    assert found.reasons == {
        2: "The task has 1 instances in flight, its max_active_tis_per_dag is 1.",
        4: "The DAG has 2 tasks in flight, its max_active_tasks is 2.",
    }


NAMES = st.sampled_from(["a", "b", "c"])
COUNTS = st.integers(0, 6)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        attempt_id=st.integers(1, 10**6),
        dag_id=NAMES,
        task_id=NAMES,
        pool=st.sampled_from(["a", "b", "missing"]),
        slots=st.integers(1, 4),
        priority=st.just(1),
        max_per_dag=st.none() | st.integers(1, 3),
        not_claimed_reason=st.just(""),
    ),
    max_size=25,
    unique_by=lambda one: one.attempt_id,
)


@st.composite
def occupancies(draw: st.DrawFn) -> Occupied:
    """What is alive, consistent in itself: so many attempts of each (executor, pool, dag, task)."""
    alive = draw(st.lists(st.tuples(NAMES, st.sampled_from(["a", "b"]), NAMES, NAMES), max_size=8))
    sums: list[dict[object, int]] = [{}, {}, {}, {}]
    for executor, pool, dag, task in alive:
        for counts, key in zip(sums, (executor, pool, dag, (dag, task)), strict=True):
            counts[key] = counts.get(key, 0) + 1
    by_executor, by_pool, by_dag, by_task = sums
    return Occupied(total=len(alive), by_executor=by_executor, by_pool=by_pool, by_dag=by_dag, by_task=by_task)  # type: ignore[arg-type]


LIMITS = st.builds(
    Limits,
    executor=st.just("a"),
    executor_slots=st.none() | COUNTS,
    parallelism=st.none() | COUNTS,
    pools=st.fixed_dictionaries({"a": st.integers(-1, 6), "b": st.integers(-1, 6)}),
    dags=st.dictionaries(NAMES, COUNTS),
)


@given(waiting=CANDIDATES, given_limits=LIMITS, occupied=occupancies())
def test_no_limit_is_exceeded_and_whoever_waits_would_exceed_one(
    waiting: list[Candidate], given_limits: Limits, occupied: Occupied
) -> None:
    found = admit(waiting, given_limits, occupied)

    assert set(found.admitted) | set(found.reasons) == {one.attempt_id for one in waiting}
    assert not set(found.admitted) & set(found.reasons)
    by_id = {one.attempt_id: one for one in waiting}
    taken = [by_id[pk] for pk in found.admitted]
    assert [one for one in waiting if one in taken] == taken, "the order of priority is kept"
    for position, one in enumerate(taken):
        assert fits(one, taken[:position], given_limits, occupied)
    for pk in found.reasons:
        before = [one for one in taken if waiting.index(one) < waiting.index(by_id[pk])]
        assert not fits(by_id[pk], before, given_limits, occupied)


@given(waiting=CANDIDATES, given_limits=LIMITS, occupied=occupancies())
def test_what_is_left_out_beforehand_would_not_have_been_admitted(
    waiting: list[Candidate], given_limits: Limits, occupied: Occupied
) -> None:
    pools, dags = full_pools(given_limits, occupied), full_dags(given_limits, occupied)
    seen = [one for one in waiting if one.pool not in pools and one.dag_id not in dags]

    assert admit(seen, given_limits, occupied).admitted == admit(waiting, given_limits, occupied).admitted


def fits(one: Candidate, taken: list[Candidate], given_limits: Limits, occupied: Occupied) -> bool:
    """The rules once more, slowly: count everything."""
    pool = given_limits.pools.get(one.pool)
    if pool is None:
        return False
    used = occupied.by_pool.get(one.pool, 0) + sum(other.slots for other in taken if other.pool == one.pool)
    in_dag = occupied.by_dag.get(one.dag_id, 0) + sum(other.dag_id == one.dag_id for other in taken)
    same = [other for other in taken if (other.dag_id, other.task_id) == (one.dag_id, one.task_id)]
    in_task = occupied.by_task.get((one.dag_id, one.task_id), 0) + len(same)
    free = free_slots(given_limits, occupied)
    return (
        (pool < 0 or used + one.slots <= pool)
        and in_dag < given_limits.dags.get(one.dag_id, in_dag + 1)
        and (one.max_per_dag is None or in_task < one.max_per_dag)
        and (free is None or len(taken) < free)
    )
