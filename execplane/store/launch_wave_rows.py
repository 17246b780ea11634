"""Launch waves in the ledger: where each executor's wave stands, what waits, and what became of what was launched."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from execplane.contract.states import ATTEMPT_ENDED, AttemptState, Cause
from execplane.store.database import nudge, write
from execplane.store.models import Attempt, Dag, LaunchWave
from execplane.store.prepared import Parameter, Select, SelectIn
from execplane.store.queries.literal import is_active

TOPIC = "holds"
MOST_COUNTED = 100_000


@dataclass(frozen=True, kw_only=True)
class WaveRow:
    """As it stands in the ledger. Field names are the columns'."""

    executor: str
    cause: str
    began_at: datetime
    total: int
    size: int
    number: int
    before: int
    launched: int
    well: int
    failed: int


_COLUMNS = tuple(WaveRow.__dataclass_fields__)


def waves() -> tuple[WaveRow, ...]:
    """At most one an executor (the primary key)."""
    rows = LaunchWave.objects.order_by("executor").values_list(*_COLUMNS)[:100]
    return tuple(WaveRow(**dict(zip(_COLUMNS, row, strict=True))) for row in rows)


_WAVE = Select(lambda: LaunchWave.objects.filter(pk=Parameter("executor")).values_list(*_COLUMNS))


def wave(executor: str) -> WaveRow | None:
    found = _WAVE.first(executor=executor)
    return None if found is None else WaveRow(**dict(zip(_COLUMNS, found, strict=True)))


def begin(row: WaveRow) -> None:
    """It takes the place of one that was under way."""
    with write():
        values = {name: getattr(row, name) for name in _COLUMNS}
        LaunchWave.objects.update_or_create(executor=values.pop("executor"), defaults=values)
        nudge(TOPIC)


def go_on(row: WaveRow) -> bool:
    """Note how it stands; False when somebody let all go meanwhile."""
    with write():
        counts = {name: getattr(row, name) for name in ("size", "number", "before", "launched", "well", "failed")}
        nudge(TOPIC)
        return bool(LaunchWave.objects.filter(pk=row.executor).update(**counts))


def end(executor: str) -> bool:
    """All that waits may go; whether there was a wave. Inside the caller's `write()`, or in one of its own."""
    with write():
        deleted, _ = LaunchWave.objects.filter(pk=executor).delete()
        nudge(TOPIC, "driver")
        return bool(deleted)


# What waits, and what became of it


@cache
def _first_queued(limit: int) -> Select:
    rows = Attempt.objects.filter(is_active(), executor=Parameter("executor"), state=AttemptState.QUEUED)
    return Select(lambda: rows.order_by().values_list("pk")[:limit])


def more_waiting_than(executor: str, number: int) -> bool:
    """Reads attempt_active, as many entries."""
    return len(_first_queued(number + 1)(executor=executor)) > number


def count_waiting(executor: str, *, cause: Cause | None = None, without: Collection[str] = ()) -> int:
    """Without those of these DAGs. Counted up to MOST_COUNTED (attempt_active)."""
    rows = Attempt.objects.filter(is_active(), executor=executor, state=AttemptState.QUEUED)
    rows = rows.exclude(dag_id__in=without)
    if cause is not None:
        rows = rows.filter(cause=cause)
    return rows.order_by().values("pk")[:MOST_COUNTED].count()


def unpaused(dag_ids: Collection[str]) -> list[str]:
    """Those of these DAGs that are not paused (the primary key)."""
    if not dag_ids:
        return []
    return list(Dag.objects.filter(pk__in=dag_ids, paused=False).order_by("pk").values_list("pk", flat=True)[:10])


_ENDS = SelectIn(lambda keys: Attempt.objects.filter(pk__in=keys).values_list("pk", "state", "running_at", "category"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a launch went. `failed`: the category; "" where its worker came to run, or somebody stopped it before."""

    attempt_id: int
    failed: str = ""


def outcomes(attempt_ids: Iterable[int]) -> list[Outcome]:
    """Of those launches that are settled, by the primary key."""
    return [
        Outcome(
            attempt_id=pk,
            failed=(category or "unknown") if running_at is None and state == AttemptState.FAILED else "",
        )
        for pk, state, running_at, category in _ENDS(attempt_ids)
        if running_at is not None or AttemptState(state) in ATTEMPT_ENDED
    ]
