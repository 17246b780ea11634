"""Four processes write as fast as they can: nobody sees "database is locked", and nothing is claimed twice."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from execplane.store.models import Attempt, Dag
from tests.integration.deployment_part import lines, logs, process
from tests.integration.driver.conftest import many
from tests.integration.store.conftest import Ledger
from tests.integration.store.invariants import violations
from tests.integration.store.play import Play
from tests.parts.eventually import eventually

STORM_SECONDS = "4"


@pytest.mark.django_db(transaction=True)
def test_four_processes_write_without_an_error(ledger: Ledger, tmp_path: Path) -> None:
    play = Play(run_pk=ledger.run_pk, clock=ledger.clock)
    Dag.objects.update(max_active_tasks=10_000)
    many(play, 10)
    play.claim()
    play.commit()
    play.fence()
    waiting = many(play, 600, first=100)

    with ExitStack() as storm:
        for number in range(4):
            storm.enter_context(process("storm", tmp_path, STORM_SECONDS, str(number)))
        eventually(lambda: len(lines(tmp_path, "storms")) == 4, 60, on_failure=lambda: logs(tmp_path))

    assert lines(tmp_path, "errors") == []
    claims = Counter(line["attempt"] for line in lines(tmp_path, "claims"))
    assert set(claims.values()) == {1}
    assert set(claims) <= set(waiting)
    assert Attempt.objects.filter(state="failed").count() == len(claims)
    assert min(line["writes"] for line in lines(tmp_path, "storms")) >= 1, "one of them was starved"
    assert violations() == []
